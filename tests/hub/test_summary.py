"""What a model is said to be, without its weights."""

from collections.abc import Callable
from dataclasses import replace
from math import prod

import pytest
import transformers
from torch_models import Saved

from jaxbert.families import preset
from jaxbert.hub.load import open_params
from jaxbert.hub.summary import by_part, options_of, parameters_of
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.tree import flat


@pytest.mark.parametrize(
    "name",
    [
        *("BertForMaskedLM", "AlbertForMaskedLM", "ModernBertForSequenceClassification"),
        *("DebertaV2ForMaskedLM", "DistilBertForQuestionAnswering", "ElectraForPreTraining"),
    ],
)
def test_the_number_of_parameters_is_that_of_transformers(saved: Callable[..., Saved], name: str):
    directory = saved(name).directory
    theirs = getattr(transformers, name).from_pretrained(directory)
    opened = open_params(directory)
    found = parameters_of(opened.config, opened.head)
    assert sum(each.size for each in found) == theirs.num_parameters()
    assert sum(by_part(found).values()) == theirs.num_parameters()


def test_layers_alike_are_one_row_and_others_their_own():
    sizes = {"vocab_size": 40, "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2}
    config = replace(preset("modernbert-base"), num_hidden_layers=3, pad_token_id=0, **sizes)
    found = {each.path: each for each in parameters_of(config, Head("masked_lm"))}
    # The first layer's attention has no norm.
    assert found["encoder/layers/{1..2}/attention_norm/scale"].count == 2
    assert found["encoder/layers/{0..2}/mlp_norm/scale"].count == 3
    assert found["encoder/embeddings/word/embedding"].shape == (40, 8)
    assert found["masked_lm/bias"].shape == (40,)
    leaves = flat(init_params(config, Head("masked_lm"), 0))
    assert sum(each.count for each in found.values()) == len(leaves)
    padded = sum(prod(leaf.shape) for leaf in leaves.values())
    assert sum(each.size for each in found.values()) == padded - (128 - 40) * (8 + 1)


def test_options_are_sizes_and_what_is_not_as_in_bert():
    assert list(options_of(preset("bert-base"))) == [
        *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
        *("intermediate_size", "max_position_embeddings"),
    ]
    assert options_of(preset("modernbert-base"))["norm_placement"] == "pre"
