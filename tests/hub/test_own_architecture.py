"""Architectures that no family has: kept in our own layout, and refused in Hugging Face's."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.own_architecture import ARCHITECTURE
from jaxbert.hub.save import beyond_family, layout_for, save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import functional, init_params
from jaxbert.nn.head import Head
from jaxbert.nn.parts import HeadStyle, RelativeBias, RotaryPositions
from jaxbert.tree import flat

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
MODERN: dict[str, Any] = {
    "norm_placement": "pre",
    "norm_kind": "rms_norm",
    "norm_bias": False,
    "rotary": RotaryPositions(rope_theta=5e4),
    "relative_bias": RelativeBias(8, 16),
    "position_embedding_type": "none",
    "type_vocab_size": 0,
    "gated_mlp": True,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "num_key_value_heads": 2,
    "layer_types": ("full_attention", "sliding_attention"),
    "local_attention": 4,
}
WITH_ROTARY = ["modernbert-base", "eurobert-210m", "nomic-bert-2048", "gte-multilingual-base"]
HEADS = [
    Head(),
    Head("masked_lm"),
    Head("sequence_classification", labels=("no", "yes"), pooling="mean"),
    Head("question_answering"),
]


def small(name: str, **options: Any) -> EncoderConfig:
    return replace(preset(name), **SMALL, **options)


def written(config: EncoderConfig, head: Head, directory: Path, **options: Any) -> Any:
    params = init_params(config, head, 0)
    save_params(params, config, head, None, directory, **options)
    return params


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
def test_what_no_family_has_comes_back_as_it_was(head: Head, tmp_path: Path):
    config = small("bert-tiny", **MODERN)
    assert layout_for(config, head) == "orbax"
    params = written(config, head, tmp_path / "model", layout="orbax")
    loaded = load_params(tmp_path / "model")
    assert (loaded.config, loaded.head, loaded.fresh) == (config, head, ())
    ours, theirs = flat(loaded.params), flat(params)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[path], theirs[path]) for path in ours)
    model = from_pretrained(tmp_path / "model")
    assert functional(model)[1].keys() == params.keys()
    assert model(np.ones((2, 5), np.int32)).last_hidden_state.shape == (2, 5, 16)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("bert-tiny", "norm_placement", "pre"),
        ("roberta-base", "rotary", RotaryPositions()),
        ("distilbert-base-uncased", "layer_norm_eps", 1e-5),
        ("electra-small-discriminator", "gated_mlp", True),
        ("modernbert-base", "num_key_value_heads", 2),
        ("eurobert-210m", "norm_kind", "layer_norm"),
        *((name, "rotary", None) for name in WITH_ROTARY),
    ],
)
def test_one_option_more_than_a_family_has_is_all_that_is_told(name, option, value, tmp_path):
    config = small(name, pad_token_id=1 if name == "roberta-base" else 0)
    assert beyond_family(config) == {}
    config = replace(config, **{option: value})
    assert {*beyond_family(config)} == {option}
    head = Head("masked_lm")
    with pytest.raises(UserError, match=f"{option}=.* has no such option in config.json"):
        written(config, head, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
    written(config, head, tmp_path / "model", layout="orbax")
    fields = json.loads((tmp_path / "model" / "config.json").read_text())
    assert {*fields[ARCHITECTURE]} == {option}
    assert fields["architectures"] == []
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"Of its own are `{option}`" in card
    assert "ForMaskedLM" not in card
    assert load_params(tmp_path / "model").config == config


def test_another_classifier_may_be_put_on_it(tmp_path: Path):
    config = small("bert-tiny", **MODERN)
    written(config, Head("masked_lm"), tmp_path / "model", layout="orbax")
    loaded = load_params(tmp_path / "model", head="sequence_classification", labels=["a", "b"])
    assert loaded.config == config
    assert all(path.startswith(("classifier/", "pooler/")) for path in loaded.fresh)


def test_styles_of_heads_are_options_too(tmp_path: Path):
    config = small("bert-tiny")
    styles = replace(config.heads, sequence_classification=HeadStyle("tanh", norm=True))
    config, head = replace(config, heads=styles), Head("sequence_classification", ("a", "b"))
    written(config, head, tmp_path / "model", layout="orbax")
    loaded = load_params(tmp_path / "model")
    assert loaded.config == config
    assert "pooler/norm/scale" in flat(loaded.params)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([1], "jaxbert_architecture is list: expected options by their names"),
        ({"norm_placment": "pre"}, "did you mean 'norm_placement'"),
        ({"norm_placement": "top"}, "norm_placement"),
        ({"hidden_size": 15}, "hidden_size=15 is not a multiple of num_attention_heads"),
    ],
)
def test_options_that_are_none_are_refused_with_the_file(own, message, tmp_path: Path):
    written(small("bert-tiny", norm_placement="pre"), Head(), tmp_path / "m", layout="orbax")
    file = tmp_path / "m" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {ARCHITECTURE: own}))
    with pytest.raises(UserError, match=f"config.json.*{message}"):
        load_params(tmp_path / "m")
