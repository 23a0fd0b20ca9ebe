"""Flax checkpoints, written by Flax's own serialisation from PyTorch's models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import ml_dtypes
import msgpack
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from torch_models import Saved

from jaxbert.errors import UserError
from jaxbert.hub.flax_msgpack import open_flax
from jaxbert.hub.flax_names import pytorch_name
from jaxbert.hub.load import load_params

CopyOf = Callable[[str], Path]


def flax_tree(model: Any) -> dict[str, Any]:
    """The parameters of a PyTorch model as Flax's classes held them."""
    flat = {}
    for name, parameter in model.named_parameters():
        *modules, leaf = name.split(".")
        array = parameter.detach().numpy()
        if leaf == "weight" and modules[-1].endswith("embeddings"):
            leaf = "embedding"
        elif leaf == "weight" and modules[-1] == "LayerNorm":
            leaf = "scale"
        elif leaf == "weight":
            leaf, array = "kernel", np.ascontiguousarray(array.T)
        flat[(*modules, leaf)] = array
    return unflatten_dict(flat)


def as_flax(directory: Path, tree: dict[str, Any]) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "flax_model.msgpack").write_bytes(flax.serialization.to_bytes(tree))


@pytest.mark.parametrize(
    "architecture", ["BertModel", "BertForPreTraining", "BertForSequenceClassification"]
)
def test_a_flax_checkpoint_is_the_model_it_was_made_from(
    saved: Callable[..., Saved], copy_of: CopyOf, architecture: str
):
    directory = copy_of(architecture)
    expected = load_params(directory)
    as_flax(directory, flax_tree(saved(architecture).model))
    loaded = load_params(directory)
    assert (loaded.fresh, loaded.unused) == ((), ())
    jax.tree.map(np.testing.assert_array_equal, loaded.params, expected.params)


def test_flax_shards_hold_the_same_model(saved: Callable[..., Saved], copy_of: CopyOf):
    directory = copy_of("BertModel")
    expected = load_params(directory)
    (directory / "model.safetensors").unlink()
    flat = flatten_dict(flax_tree(saved("BertModel").model), sep="/")
    names: dict[str, str] = {}
    for number, keys in enumerate((list(flat)[:10], list(flat)[10:])):
        name = f"flax_model-0000{number + 1}-of-00002.msgpack"
        tree = unflatten_dict({key: flat[key] for key in keys}, sep="/")
        (directory / name).write_bytes(flax.serialization.to_bytes(tree))
        names |= dict.fromkeys(keys, name)
    index = directory / "flax_model.msgpack.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    jax.tree.map(np.testing.assert_array_equal, load_params(directory).params, expected.params)


def test_every_kind_of_leaf_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 100)
    draws = np.random.default_rng(0)
    tree = {
        "chunked": draws.standard_normal((7, 11)).astype(np.float32),
        "half": {"b": draws.standard_normal((2, 3)).astype(ml_dtypes.bfloat16)},
        "scalar": np.float32(2.5),
        "one": np.asarray(3, np.int32),
        "empty": np.zeros((0, 4), np.float16),
        "many": {f"{i}": np.full(3, i, np.float32) for i in range(40)},
    }
    (tmp_path / "x").write_bytes(flax.serialization.msgpack_serialize(tree))
    tensors, expected = open_flax(tmp_path / "x"), flatten_dict(tree, sep="/")
    assert set(tensors.shapes) == set(expected)
    for name, array in expected.items():
        assert tensors.shapes[name] == tensors.read(name).shape == array.shape
        assert tensors.read(name).dtype == array.dtype
        np.testing.assert_array_equal(tensors.read(name), array)


@pytest.mark.parametrize(
    ("path", "key", "is_transposed"),
    [
        ("classifier/kernel", "classifier.weight", True),
        ("params/classifier/bias", "classifier.bias", False),
        ("embeddings/LayerNorm/scale", "embeddings.LayerNorm.weight", False),
        ("distilbert/embeddings/word_embeddings/embedding", "{0}.word_embeddings.weight", False),
        ("albert/encoder/albert_layer_groups/0/albert_layers/0/ffn/kernel", "{1}.weight", True),
        ("cls/predictions/bias", "cls.predictions.bias", False),
    ],
)
def test_flax_paths_have_pytorch_names(path: str, key: str, is_transposed: bool):
    named = pytorch_name(path)
    long = ("distilbert.embeddings", "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn")
    assert (named.key, named.is_transposed) == (key.format(*long), is_transposed)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path):
    whole = flax.serialization.to_bytes({"a": {"b": np.ones(3)}, "c": np.ones((), np.float32)})
    for left in range(1, len(whole)):
        (tmp_path / "x").write_bytes(whole[:left])
        with pytest.raises(UserError, match="is not a whole Flax msgpack file"):
            open_flax(tmp_path / "x")


@pytest.mark.parametrize("left", [1, 1000, -1])
def test_a_truncated_flax_checkpoint_is_refused(
    saved: Callable[..., Saved], copy_of: CopyOf, left: int
):
    directory = copy_of("BertModel")
    as_flax(directory, flax_tree(saved("BertModel").model))
    file = directory / "flax_model.msgpack"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(UserError, match=r"flax_model\.msgpack is not a whole Flax msgpack file"):
        load_params(directory)


def leaf(shape: tuple[Any, ...], dtype: str, values: bytes) -> dict[str, Any]:
    return {"a": msgpack.ExtType(1, msgpack.packb((shape, dtype, values)))}


def pieces(shape: dict[str, int], chunk: Any) -> dict[str, Any]:
    return {"a": {"__msgpack_chunked_array__": True, "shape": shape, "chunks": {"0": chunk}}}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": "text"}, "a is no array"),
        ({"a": {"b": msgpack.ExtType(7, b"0123456789")}}, "unknown extension type 7"),
        ([1, 2], "is not a whole Flax msgpack file"),
        (
            {"a": msgpack.ExtType(1, msgpack.packb(((9, 9), "float32", b"")))},
            r"not those of its shape \[9, 9\]",
        ),
        ({"a": msgpack.ExtType(1, msgpack.packb(((-1,), "float32", b"")))}, "not those of its"),
        ({"a": msgpack.ExtType(1, msgpack.packb(((1,), "text", b"1")))}, "Flax msgpack file"),
        # Read as such, the bytes would be taken for the addresses of Python's objects.
        (leaf((1,), "object", b"12345678"), "an array is of the data type object"),
        (leaf((1,), "O", b"12345678"), "an array is of the data type O"),
        (leaf((1,), "S8", b"12345678"), "an array is of the data type S8"),
        (leaf((1,), "V8", b"12345678"), "an array is of the data type V8"),
        (leaf((1.0,), "float32", b"1234"), r"the shape of an array is \[1.0\]"),
        (leaf((10**9, "a"), "float32", b"1234"), "the shape of an array is"),
        (pieces({"0": 9}, leaf((5,), "int8", b"12345")["a"]), r"not those of its shape \[9\]"),
        (pieces({"0": 1}, 7), "a piece of an array is no array"),
    ],
)
def test_something_else_in_msgpack_is_refused(tmp_path: Path, tree: Any, message: str):
    (tmp_path / "x").write_bytes(msgpack.packb(tree))
    with pytest.raises(UserError, match=message) as raised:
        open_flax(tmp_path / "x")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"\x80more", "something follows its end"),
        (b"\x82\xa1a\x80\xa1a\x80", "a is there twice"),
        (b"\x81\xa1a" * 5000 + b"\x80", "recursion depth"),
    ],
)
def test_an_odd_map_is_refused(tmp_path: Path, packed: bytes, message: str):
    (tmp_path / "x").write_bytes(packed)
    with pytest.raises(UserError, match=f"is not a whole Flax msgpack file .*{message}"):
        open_flax(tmp_path / "x")


def test_an_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match="is empty"):
        open_flax(tmp_path / "x")
