"""Tensors by name in `model.safetensors`, whole or in shards."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes  # noqa: F401  gives numpy the name bfloat16, which safetensors asks for
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxbert.errors import UserError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
FOREIGN = ("flax_model.msgpack", "tf_model.h5", "model.ckpt.index", "bert_model.ckpt.index")


@dataclass(frozen=True)
class Tensors:
    """The tensors of a directory; each is read from disk when it is asked for."""

    files: Mapping[str, Path]
    shapes: Mapping[str, tuple[int, ...]]

    def read(self, key: str) -> np.ndarray:
        """One tensor in the dtype of the file."""
        with safe_open(self.files[key], framework="numpy") as file:
            return file.get_tensor(key)


def open_tensors(directory: Path) -> Tensors:
    """Reads the headers of a model's safetensors files.

    Raises UserError where there are none, where one is damaged, or where a shard is missing.
    """
    if (directory / SINGLE).is_file():
        shapes = _header(directory / SINGLE)
        return Tensors(dict.fromkeys(shapes, directory / SINGLE), shapes)
    if (directory / INDEX).is_file():
        return _open_shards(directory)
    raise UserError(_no_weights(directory))


def write_tensors(tensors: Mapping[str, np.ndarray], file: Path) -> None:
    """Writes one safetensors file with the metadata that PyTorch loaders ask for."""
    # safetensors writes the memory of a transposed view as it lies: other numbers, no error.
    whole = {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}
    save_file(whole, file, metadata={"format": "pt"})


def _open_shards(directory: Path) -> Tensors:
    try:
        named = json.loads((directory / INDEX).read_text("utf-8"))["weight_map"]
        files = {key: directory / name for key, name in named.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{directory / INDEX}: expected JSON with a `weight_map` object") from None
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(set(files.values())):
        if not file.is_file():
            raise UserError(f"{directory / INDEX} names {file.name}, which is not there")
        inside = _header(file)
        promised = {key for key, its_file in files.items() if its_file == file}
        if promised != set(inside):
            odd = ", ".join(sorted(promised ^ set(inside)))
            raise UserError(f"{file} and {INDEX} do not agree on which tensors it holds: {odd}")
        shapes |= inside
    return Tensors(files, shapes)


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, framework="numpy") as opened:
            return {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(
            f"{file} is not a whole safetensors file ({error}): fetch it again"
        ) from None


def _no_weights(directory: Path) -> str:
    pickled = next((name for name in PICKLED if (directory / name).is_file()), None)
    foreign = next((name for name in FOREIGN if (directory / name).is_file()), None)
    if pickled is not None:
        return (
            f"{directory / pickled} is a pickle, which can run code and is never read: convert it "
            f"once where torch is installed, with transformers' from_pretrained and "
            f"save_pretrained, which writes {SINGLE}"
        )
    if foreign is not None:
        return f"{directory / foreign} cannot be read: expected {SINGLE} beside config.json"
    return (
        f"{directory} holds no {SINGLE}: save the model with transformers' save_pretrained, or, "
        f'for a hub id, try revision="refs/pr/1", where the Hub\'s converter may have put it'
    )
