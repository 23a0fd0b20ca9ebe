"""Tensors by name, whatever container they lie in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from jaxbert.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Tensors:
    """The tensors of a model's files; each is read from disk when it is asked for."""

    shapes: Shapes
    read: Callable[[str], np.ndarray]
    """One tensor in the dtype of the file: often a read-only view of the file itself."""


@dataclass(frozen=True)
class PyTorchName:
    """What PyTorch calls a tensor of another framework, and whether it holds the transpose."""

    key: str
    is_transposed: bool = False


def in_pytorch_names(tensors: Tensors, name: Callable[[str], PyTorchName | None]) -> Tensors:
    """The same tensors in the names and orientation of PyTorch; a name of None leaves one out."""
    others: dict[str, tuple[str, bool]] = {}
    for other in tensors.shapes:
        named = name(other)
        if named is not None and named.key in others:
            raise UserError(f"{other} and {others[named.key][0]} are two names of {named.key}")
        if named is not None:
            others[named.key] = (other, named.is_transposed)

    def read(key: str) -> np.ndarray:
        other, is_transposed = others[key]
        tensor = tensors.read(other)
        return tensor.T if is_transposed else tensor

    shapes = {
        key: tensors.shapes[other][:: -1 if is_transposed else 1]
        for key, (other, is_transposed) in others.items()
    }
    return Tensors(shapes, read)
