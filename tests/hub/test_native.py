"""The Orbax layout."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.hub.load import load_params
from jaxbert.hub.save import layout_for, save_params
from jaxbert.nn.functional import functional, init_params
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.model import Model

Open = Callable[..., Model]


def save_native(model: Model, directory: Path, **options: str) -> None:
    params = functional(model)[1]
    save_params(params, model.config, model.head, None, directory, layout="orbax", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["BertForPreTraining", "BertForSequenceClassification"])
def test_a_native_directory_opens_as_the_model_that_was_saved(
    opened: Open, tmp_path: Path, architecture: str
):
    model = opened(architecture)
    save_native(model, tmp_path / "out")
    loaded = load_params(tmp_path / "out")
    assert (loaded.config, loaded.head, loaded.fresh) == (model.config, model.head, ())
    jax.tree.map(np.testing.assert_array_equal, loaded.params, functional(model)[1])


def test_orbax_alone_restores_the_tree(opened: Open, tmp_path: Path):
    params = functional(opened("BertModel"))[1]
    save_native(opened("BertModel"), tmp_path / "out")
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "out" / "params", jax.eval_shape(lambda: params))
    jax.tree.map(np.testing.assert_array_equal, restored, params)


def test_a_native_directory_gives_another_head(opened: Open, tmp_path: Path):
    save_native(opened("BertForPreTraining"), tmp_path / "out")
    loaded = load_params(tmp_path / "out", head="sequence_classification", labels=["a", "b", "c"])
    assert sorted(loaded.fresh) == ["classifier/dense/bias", "classifier/dense/kernel"]
    assert "masked_lm/bias" in loaded.unused


def test_a_directory_that_names_no_head_is_read_by_places(opened: Open, tmp_path: Path):
    model = opened("BertForSequenceClassification")
    save_native(model, tmp_path / "out")
    file = tmp_path / "out" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": None}))
    loaded = load_params(tmp_path / "out", head=model.head)
    # A classifier of whatever labels is drawn anew, the pooler below it is not.
    assert sorted(loaded.fresh) == ["classifier/dense/bias", "classifier/dense/kernel"]
    poolers = loaded.params["pooler"], functional(model)[1]["pooler"]
    jax.tree.map(np.testing.assert_array_equal, *poolers)


@pytest.mark.parametrize("kind", ["question_answering", "multiple_choice"])
def test_a_head_that_transformers_has_no_class_for_is_named(tmp_path: Path, kind: HeadKind):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16, "vocab_size": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "layer_types": None}
    config = replace(preset("eurobert-210m"), pad_token_id=0, **sizes, **heads)
    out = tmp_path / "out"
    params = init_params(config, Head(kind), 0)
    save_params(params, config, Head(kind), None, out, layout=layout_for(config, Head(kind)))
    loaded = load_params(out)
    assert (loaded.config, loaded.head, loaded.fresh) == (config, Head(kind), ())
    assert "classifier" not in load_params(out, head="none").params
    fields = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(fields | {"jaxbert_head": "multiple_choices"}))
    with pytest.raises(UserError, match="jaxbert_head='multiple_choices': did you mean 'multiple"):
        load_params(out)


@pytest.mark.parametrize(
    ("name", "saved", "wanted", "fresh"),
    [
        # RoBERTa's classifier begins with a dense layer, which is no pooler; EuroBERT's too, which
        # reads every token, where choices are scored by their first.
        ("roberta-base", "sequence_classification", "none", ["pooler"]),
        ("eurobert-210m", "multiple_choice", "sequence_classification", ["classifier", "pooler"]),
        # ModernBERT's classifiers go on with the dense layer of its masked language model.
        ("modernbert-base", "masked_lm", "sequence_classification", ["classifier"]),
    ],
)
def test_layers_of_another_head_are_taken_by_what_they_are(tmp_path, name, saved, wanted, fresh):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16, "vocab_size": 32}
    layers = ("full_attention",) if name == "modernbert-base" else None
    heads = {"num_attention_heads": 2, "num_key_value_heads": None, "layer_types": layers}
    config = replace(preset(name), pad_token_id=0, **sizes, **heads)
    head = Head(saved, ("a", "b") if saved == "sequence_classification" else ())
    params = init_params(config, head, 0)
    save_params(params, config, head, None, tmp_path / "out", layout="orbax")
    labels = ["a", "b"] if wanted == "sequence_classification" else None
    loaded = load_params(tmp_path / "out", head=wanted, labels=labels)
    assert sorted({path.partition("/")[0] for path in loaded.fresh}) == fresh
    if name == "modernbert-base":
        kernels = loaded.params["pooler"]["dense"], params["masked_lm"]["dense"]
        np.testing.assert_array_equal(*(dense["kernel"] for dense in kernels))


def test_a_native_directory_may_hold_bfloat16(opened: Open, tmp_path: Path):
    save_native(opened("BertModel"), tmp_path / "out", dtype="bfloat16")
    kernel = load_params(tmp_path / "out").params["pooler"]["dense"]["kernel"]
    exact = np.asarray(functional(opened("BertModel"))[1]["pooler"]["dense"]["kernel"])
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, exact, rtol=2**-8)
    assert not np.array_equal(kernel, exact)


def test_a_tree_that_orbax_alone_wrote_opens(opened: Open, tmp_path: Path):
    model = opened("BertModel")
    save_native(model, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "params")
    (tmp_path / "out" / "manifest.json").unlink()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "out" / "params", functional(model)[1])
    loaded = load_params(tmp_path / "out").params
    jax.tree.map(np.testing.assert_array_equal, loaded, functional(model)[1])


def test_a_tree_without_metadata_is_refused(opened: Open, tmp_path: Path):
    save_native(opened("BertModel"), tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "params" / "_METADATA").unlink()
    with pytest.raises(UserError, match="params is not a whole Orbax tree"):
        load_params(tmp_path / "out")


def test_a_file_that_is_cut_or_gone_is_named(opened: Open, tmp_path: Path):
    save_native(opened("BertModel"), tmp_path / "out")
    files = [file for file in (tmp_path / "out" / "params").rglob("*") if file.is_file()]
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        cut = f"{file} has {len(whole) // 2} bytes of {len(whole)}, so .*out is not whole"
        with pytest.raises(UserError, match=cut):
            load_params(tmp_path / "out")
        file.unlink()
        with pytest.raises(UserError, match=f"{file} is not there"):
            load_params(tmp_path / "out")
        file.write_bytes(whole)
    assert load_params(tmp_path / "out").fresh == ()
    (tmp_path / "out" / "manifest.json").write_text("[")
    with pytest.raises(UserError, match="cannot be read"):
        load_params(tmp_path / "out")
