"""PyTorch's bins, shards of every format, and which file wins."""

import copy
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch_models import Saved

from jaxbert.errors import UserError
from jaxbert.hub.contents import Stored, assemble
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head

CopyOf = Callable[[str], Path]
Save = Callable[..., Saved]


def as_torch_bin(directory: Path, model: Any, **options: Any) -> Path:
    (directory / "model.safetensors").unlink()
    torch.save(model.state_dict(), directory / "pytorch_model.bin", **options)
    return directory / "pytorch_model.bin"


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_torch_bin_is_the_model_it_was_made_from(saved: Save, copy_of: CopyOf, is_archive: bool):
    directory = copy_of("BertForPreTraining")
    expected = load_params(directory)
    model = saved("BertForPreTraining").model
    as_torch_bin(directory, model, _use_new_zipfile_serialization=is_archive)
    with warnings.catch_warnings():
        # PyTorch's own, about its own reader of the old format.
        warnings.filterwarnings("ignore", message=".*TypedStorage is deprecated")
        loaded = load_params(directory)
    assert (loaded.fresh, loaded.unused) == ((), ())
    jax.tree.map(np.testing.assert_array_equal, loaded.params, expected.params)


def test_torch_shards_hold_the_same_model(saved: Save, copy_of: CopyOf):
    directory = copy_of("BertModel")
    expected = load_params(directory)
    (directory / "model.safetensors").unlink()
    state = copy.deepcopy(saved("BertModel").model).bfloat16().state_dict()
    names: dict[str, str] = {}
    for number, keys in enumerate((list(state)[:10], list(state)[10:])):
        name = f"pytorch_model-0000{number + 1}-of-00002.bin"
        torch.save({key: state[key] for key in keys}, directory / name)
        names |= dict.fromkeys(keys, name)
    index = directory / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    for ours, exact in zip(
        jax.tree.leaves(load_params(directory).params),
        jax.tree.leaves(expected.params),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, torch.from_numpy(exact).bfloat16().float().numpy())


@pytest.mark.parametrize("name", ["../out.bin", "/etc/out.bin"])
def test_an_index_cannot_name_what_lies_elsewhere(copy_of: CopyOf, name: str):
    directory = copy_of("BertModel")
    (directory / "model.safetensors").unlink()
    index = directory / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}))
    with pytest.raises(UserError, match=r"index\.json: a file in it .*, which leads out of it"):
        load_params(directory)


@pytest.mark.parametrize("left", [0, 100, 5000])
def test_a_truncated_torch_bin_is_refused(saved: Save, copy_of: CopyOf, left: int):
    file = as_torch_bin(copy_of("BertModel"), saved("BertModel").model)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(UserError, match=r"pytorch_model\.bin is not a whole file of") as raised:
        load_params(file.parent)
    assert "\n" not in str(raised.value)
    assert "()" not in str(raised.value)


def test_a_training_checkpoint_in_a_torch_bin_is_refused(copy_of: CopyOf):
    directory = copy_of("BertModel")
    (directory / "model.safetensors").unlink()
    torch.save({"epoch": 3, "state_dict": {}}, directory / "pytorch_model.bin")
    with pytest.raises(
        UserError, match=r"by name.* found a dict of epoch, state_dict: of a training"
    ):
        load_params(directory)


def test_a_torch_bin_without_torch_names_the_extra(
    saved: Save, copy_of: CopyOf, monkeypatch: pytest.MonkeyPatch
):
    directory = copy_of("BertModel")
    as_torch_bin(directory, saved("BertModel").model)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install 'jaxbert\[parity\]'.*jaxbert convert"):
        load_params(directory)


def test_safetensors_win_over_every_other_file(copy_of: CopyOf):
    directory = copy_of("BertModel")
    for name in ("flax_model.msgpack", "pytorch_model.bin", "bert_model.ckpt.index"):
        (directory / name).write_bytes(b"never read")
    assert load_params(directory).fresh == ()


def test_flax_wins_over_a_torch_bin_and_that_over_tensorflow(copy_of: CopyOf):
    directory = copy_of("BertModel")
    (directory / "model.safetensors").unlink()
    (directory / "bert_model.ckpt.index").write_bytes(b"damaged")
    for name in ("bert_model.ckpt.index", "pytorch_model.bin", "flax_model.msgpack"):
        (directory / name).write_bytes(b"damaged")
        with pytest.raises(UserError, match=name):
            load_params(directory)


def test_a_shard_that_is_not_what_its_index_says_is_named(saved: Save, tmp_path: Path):
    saved("BertModel").model.save_pretrained(tmp_path, max_shard_size="20KB")
    file = sorted(tmp_path.glob("model-*.safetensors"))[1]
    tensors = load_file(file)
    lost = sorted(tensors)[0]
    save_file({key: value for key, value in tensors.items() if key != lost}, file)
    with pytest.raises(UserError, match=f"{file.name} and .*index.json do not agree.*{lost}"):
        load_params(tmp_path)


def test_a_dtype_that_numpy_has_not_is_named(copy_of: CopyOf):
    file = copy_of("BertModel") / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"dtype":"F32"', b'"dtype":"U32"'))
    with pytest.raises(UserError, match=r"is of dtype U32: expected one of F64, F32"):
        load_params(file.parent)


def test_each_parameter_is_placed_before_the_next_is_read():
    """So nothing but the placed ones and the present one is ever held; the largest comes first."""
    events: list[str] = []

    def entry(path: str, rows: int) -> Stored:
        def read() -> np.ndarray:
            events.append(f"read {path}")
            return np.ones((rows, 2), np.float16)

        return Stored(path, (rows, 2), (rows, 2), read)

    def place(path: str, array: np.ndarray) -> str:
        events.append(f"place {path} {array.dtype}")
        return path

    stored = {"a/b": entry("a/b", 1), "c": entry("c", 3), "a/d": entry("a/d", 2)}
    params = assemble(stored, (), EncoderConfig(), Head(), 0, place)
    assert params == {"a": {"b": "a/b", "d": "a/d"}, "c": "c"}
    kinds = [f"{verb} {path}" for path in ("c", "a/d", "a/b") for verb in ("read", "place")]
    assert [event.removesuffix(" float32") for event in events] == kinds


def test_parameters_go_straight_onto_a_sharding(saved: Save):
    directory = saved("BertModel").directory
    mesh = jax.make_mesh((8,), ("fsdp",))
    sharding = jax.NamedSharding(mesh, jax.P())
    model = from_pretrained(directory, place=lambda path, array: jax.device_put(array, sharding))
    kernel = model.pooler.dense.kernel[...]
    assert len(kernel.devices()) == 8
    expected = load_params(directory).params["pooler"]["dense"]["kernel"]
    np.testing.assert_array_equal(kernel, expected)


def test_numpy_parameters_do_not_depend_on_the_file(copy_of: CopyOf):
    directory = copy_of("BertModel")
    params = load_params(directory).params
    before = jax.tree.map(np.copy, params)
    file = directory / "model.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    jax.tree.map(np.testing.assert_array_equal, params, before)
    jax.tree.map(lambda leaf: leaf.fill(0), params)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (lambda tensor: tensor.to(torch.complex64), "complex64"),
        (lambda tensor: tensor.to_sparse(), "a sparse tensor"),
        (lambda tensor: tensor.to("meta"), "a tensor without values"),
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "qint8"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_torch_bin_of_other_tensors_names_one(saved: Save, copy_of: CopyOf, make: Any, kind: str):
    directory = copy_of("BertModel")
    key = "encoder.layer.1.output.dense.weight"
    model = saved("BertModel").model
    state = model.state_dict() | {key: make(model.state_dict()[key])}
    (directory / "model.safetensors").unlink()
    torch.save(state, directory / "pytorch_model.bin")
    with pytest.raises(UserError, match=rf"pytorch_model.bin: {key} is {kind}.*expected dense"):
        load_params(directory)
