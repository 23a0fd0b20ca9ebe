"""ERNIE's published sizes, and which configurations are its mathematics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import num_parameters
from transformers import ErnieConfig

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.ernie import ERNIE, config_from_hf
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.tree import flat

# config.json of nghuyong's files, in the fields that tell sizes.
FIRST: dict[str, Any] = {
    "model_type": "ernie",
    "hidden_act": "relu",
    "hidden_size": 768,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 513,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "position_embedding_type": "absolute",
    "task_type_vocab_size": 3,
    "type_vocab_size": 2,
    "use_task_id": False,
    "vocab_size": 18000,
}
SECOND = {
    "hidden_act": "gelu",
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "type_vocab_size": 4,
    "vocab_size": 30522,
}
THIRD = FIRST | {
    "hidden_act": "gelu",
    "max_position_embeddings": 2048,
    "type_vocab_size": 4,
    "use_task_id": True,
    "vocab_size": 40000,
}
SIXTEEN = THIRD | {"task_type_vocab_size": 16}
PUBLISHED: dict[str, dict[str, Any]] = {
    "ernie-1.0-base-zh": FIRST,
    "ernie-2.0-base-en": SECOND,
    "ernie-3.0-base-zh": THIRD,
    "ernie-3.0-medium-zh": SIXTEEN | {"num_hidden_layers": 6},
    "ernie-3.0-nano-zh": SIXTEEN
    | {"hidden_size": 312, "intermediate_size": 1248, "num_hidden_layers": 4},
    "ernie-3.0-xbase-zh": SIXTEEN
    | {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 20,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_are_the_configurations_on_the_hub(name: str):
    assert config_from_hf(PUBLISHED[name]) == preset(name)


@pytest.mark.parametrize(
    ("name", "count"), [("ernie-1.0-base-zh", 99_866_112), ("ernie-3.0-nano-zh", 17_912_232)]
)
def test_presets_have_the_parameter_counts_of_transformers_class(name: str, count: int):
    """Of ErnieModel, counted with torch on the meta device."""
    assert num_parameters(preset(name)) == count


def test_an_empty_config_means_what_it_means_to_transformers():
    read = config_from_hf(ErnieConfig().to_dict())
    assert config_from_hf({}) == read
    assert read.task_type_vocab_size == 0


@pytest.mark.parametrize("use_task_id", [True, False])
def test_every_field_of_transformers_class_comes_back(use_task_id: bool):
    given = {
        "vocab_size": 99,
        "hidden_size": 20,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "intermediate_size": 7,
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.3,
        "attention_probs_dropout_prob": 0.2,
        "max_position_embeddings": 50,
        "type_vocab_size": 3,
        "task_type_vocab_size": 5 if use_task_id else 3,
        "use_task_id": use_task_id,
        "initializer_range": 0.5,
        "layer_norm_eps": 1e-3,
        "pad_token_id": 4,
        "classifier_dropout": 0.4,
        "tie_word_embeddings": False,
        "use_cache": True,
    }
    written = ERNIE.config_to_hf(config_from_hf(given), Head())
    assert written == given
    # These say that it is no decoder, and are the tokenizer's.
    elsewhere = {"is_decoder", "add_cross_attention", "bos_token_id", "eos_token_id"}
    assert set(written) == {*ErnieConfig.__annotations__} - elsewhere


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_decoder", True),
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "mish"),
        ("use_task_id", 1),
        ("task_type_vocab_size", "3"),
        ("task_type_vocab_size", -1),
    ],
)
def test_a_field_that_is_not_implemented_is_refused_by_name(field: str, value: object):
    with pytest.raises(UserError, match=field):
        config_from_hf({"use_task_id": True, field: value})


def test_every_token_is_of_the_first_task_and_no_other_is_trained():
    sizes = {"num_hidden_layers": 0, "hidden_size": 8, "num_attention_heads": 2, "vocab_size": 9}
    config = config_from_hf({"use_task_id": True, "task_type_vocab_size": 3} | sizes)
    params, apply = init_params(config, Head(), 0), make_apply(config, Head())

    def total(params: Any) -> jax.Array:
        return jnp.sum(apply(params, np.array([[5, 6, 7]])).last_hidden_state ** 3)

    slope = flat(jax.grad(total)(params))["encoder/embeddings/task_type/embedding"]
    assert np.abs(slope[0]).min() > 0
    assert not slope[1:].any()
