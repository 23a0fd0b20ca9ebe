"""Heads that transformers has no class for: into our own layout and out of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from torch_models import Saved, make_batch

from jaxbert.errors import UserError
from jaxbert.hub.config_file import read_description
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import layout_for, save_params
from jaxbert.nn.head import Head, LayerMixture
from jaxbert.tree import flat

Save = Callable[..., Saved]

POOLED = Head(
    "sequence_classification",
    ("a", "b"),
    pooling="attention",
    mixture=LayerMixture(2, "weighted"),
)
FRESH = {
    *("mixture/weights", "mixture/scale", "attention_pooling/score/kernel"),
    *("pooler/dense/kernel", "pooler/dense/bias"),
    *("classifier/dense/kernel", "classifier/dense/bias"),
}


@pytest.fixture
def native(saved: Save, tmp_path: Path) -> Path:
    """PyTorch's pretrained encoder under a pooled head, saved in our layout."""
    loaded = load_params(saved("BertForPreTraining").directory, head=POOLED)
    save_params(loaded.params, loaded.config, POOLED, None, tmp_path / "native", layout="orbax")
    return tmp_path / "native"


def test_a_new_pooled_head_takes_the_encoder_and_nothing_else(saved: Save):
    directory = saved("BertForPreTraining").directory
    loaded, plain = load_params(directory, head=POOLED), load_params(directory)
    assert set(loaded.fresh) == FRESH
    ours, theirs = flat(loaded.params), flat(plain.params)
    for path in ours:
        if path.startswith("encoder/"):
            np.testing.assert_array_equal(ours[path], theirs[path])
    assert "bert.pooler.dense.weight" in loaded.unused


def test_a_head_over_layers_side_by_side_needs_no_permission(saved: Save):
    head = replace(POOLED, pooling=None, mixture=LayerMixture(3, "concatenated"))
    loaded = load_params(saved("BertForPreTraining").directory, head=head)
    assert flat(loaded.params)["pooler/dense/kernel"].shape == (72, 24)
    assert loaded.head == head


def test_our_layout_gives_back_the_head_and_every_parameter(native: Path):
    fields = json.loads((native / "config.json").read_text())
    assert fields["jaxbert_pooling"] == "attention"
    assert fields["jaxbert_mixture"] == {"num_layers": 2, "how": "weighted"}
    loaded = load_params(native)
    assert (loaded.head.pooling, loaded.head.mixture) == (POOLED.pooling, POOLED.mixture)
    assert (loaded.head.labels, loaded.fresh, loaded.unused) == (("a", "b"), (), ())
    save_params(
        loaded.params, loaded.config, loaded.head, None, native.parent / "again", layout="orbax"
    )
    again = load_params(native.parent / "again")
    jax.tree.map(np.testing.assert_array_equal, again.params, loaded.params)
    assert from_pretrained(native)(**make_batch(2, 9)).logits.shape == (2, 2)


def test_the_card_says_what_the_head_reads(native: Path):
    text = (native / "README.md").read_text()
    assert "pools by `attention`" in text
    assert "the last 2 layers, weighted" in text


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (POOLED, "no class with a head over several layers"),
        (replace(POOLED, mixture=None), "no class with pooling='attention' for bert"),
        (Head(pooling="segments"), "no class with pooling='segments' for bert"),
        (Head("replaced_token_detection"), "a replaced_token_detection head for bert"),
    ],
)
def test_transformers_layout_refuses_what_it_cannot_hold(
    saved: Save, tmp_path: Path, head: Head, message: str
):
    loaded = load_params(saved("BertModel").directory, head=head)
    with pytest.raises(UserError, match=rf"{message}: save it with layout='orbax'"):
        save_params(loaded.params, loaded.config, head, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert layout_for(loaded.config, head) == "orbax"
    assert layout_for(loaded.config, Head()) == "huggingface"


def test_another_kind_of_head_reads_what_its_family_reads(native: Path):
    loaded = load_params(native, head="masked_lm")
    assert loaded.head == Head("masked_lm")
    assert "attention_pooling/score/kernel" in loaded.unused
    encoder = load_params(native, head="none")
    assert set(encoder.fresh) == {"pooler/dense/kernel", "pooler/dense/bias"}
    save_params(encoder.params, encoder.config, encoder.head, None, native.parent / "encoder")


def test_a_head_that_reads_something_else_starts_anew(native: Path):
    loaded = load_params(native, head=replace(POOLED, pooling="mean"))
    assert set(loaded.fresh) == FRESH - {"attention_pooling/score/kernel"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("jaxbert_pooling", "men", "jaxbert_pooling='men': expected one of cls, mean"),
        ("jaxbert_pooling", ["mean"], r"jaxbert_pooling=\['mean'\]: expected one of cls, mean"),
        ("jaxbert_mixture", {"layers": 2}, "jaxbert_mixture: unknown key 'layers'"),
        ("jaxbert_mixture", 2, "jaxbert_mixture: expected keys and values"),
        ("jaxbert_mixture", {"num_layers": 9}, "mixture.num_layers=9: the model has 2 layers"),
    ],
)
def test_what_config_json_says_of_the_head_is_checked(
    native: Path, field: str, value: Any, message: str
):
    fields = json.loads((native / "config.json").read_text())
    (native / "config.json").write_text(json.dumps(fields | {field: value}))
    with pytest.raises(UserError, match=message):
        load_params(native)


@pytest.mark.parametrize("pooling", [[], {}, "men"])
def test_a_classifier_of_transformers_has_no_pooling_of_ours(tmp_path: Path, pooling: Any):
    fields = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(fields | {"jaxbert_pooling": pooling}))
    assert read_description(tmp_path).head.pooling is None
