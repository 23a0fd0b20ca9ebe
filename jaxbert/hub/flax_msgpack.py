"""Flax's msgpack checkpoints, read without Flax: a map of maps with arrays as extension types."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np

from jaxbert.errors import UserError
from jaxbert.hub.mapped_file import MappedFile
from jaxbert.hub.tensors import Tensors

# flax.serialization: arrays beyond 2**30 bytes are maps of their shape and their pieces.
CHUNKED = "__msgpack_chunked_array__"
ARRAY, SCALAR = 1, 3
_DTYPES: dict[str, np.dtype] = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    **{name: np.dtype(name) for name in ("float16", "float32", "float64", "bool")},
    **{name: np.dtype(name) for name in ("int8", "int16", "int32", "int64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
}
"""By name, and no others: of `object` NumPy would take the bytes of a file for addresses."""
_SIZE_BYTES = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_LONGEST_HEADER = 512

# What reading trips over in a file that is not whole.
_SPOILT = (msgpack.UnpackException, ValueError, TypeError, LookupError, RecursionError)


@dataclass(frozen=True)
class _Leaf:
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def open_flax(file: Path) -> Tensors:
    """The arrays of one file, named by their path: "bert/pooler/dense/kernel".

    Raises UserError where the file is damaged or holds something else than arrays.
    """
    mapped = MappedFile(file)
    leaves: dict[str, _Leaf] = {}
    try:
        with open(file, "rb") as stream:
            unpacker = msgpack.Unpacker(stream, max_buffer_size=0)
            _collect(_map(unpacker, mapped), (), leaves)
            if unpacker.tell() != len(mapped):
                raise ValueError("something follows its end")
    except _SPOILT as error:
        if isinstance(error, UserError):
            raise
        reason = str(error) or "it ends too early"
        raise UserError(f"{file} is not a whole Flax msgpack file ({reason})") from None
    shapes = {name: leaf.shape for name, leaf in leaves.items()}
    return Tensors(shapes, lambda name: leaves[name].read())


def _map(unpacker: msgpack.Unpacker, mapped: MappedFile) -> dict[str, Any]:
    """The map that comes next; bytes of arrays are skipped."""
    children: dict[str, Any] = {}
    for _ in range(unpacker.read_map_header()):
        name, start = unpacker.unpack(), unpacker.tell()
        if name in children:
            raise ValueError(f"{name} is there twice")
        kind = mapped.bytes_at(start, 1)[0]
        if kind & 0xF0 == 0x80 or kind in (0xDE, 0xDF):
            children[name] = _map(unpacker, mapped)
        elif kind in _SIZE_BYTES or 0xD4 <= kind <= 0xD8:
            unpacker.skip()
            children[name] = _array(mapped, start, unpacker.tell())
        else:
            children[name] = unpacker.unpack()
    return children


def _array(mapped: MappedFile, start: int, stop: int) -> _Leaf:
    """The array between two positions: its kind, then packed (shape, dtype name, bytes)."""
    head = mapped.bytes_at(start, min(_LONGEST_HEADER, stop - start))
    size_bytes = _SIZE_BYTES.get(head[0], 0)
    if head[1 + size_bytes] not in (ARRAY, SCALAR):
        raise ValueError(f"unknown extension type {head[1 + size_bytes]}")
    unpacker = msgpack.Unpacker()
    unpacker.feed(head[2 + size_bytes :])
    unpacker.read_array_header()
    shape, name = tuple(unpacker.unpack()), unpacker.unpack()
    if (dtype := _DTYPES.get(name)) is None:
        raise ValueError(f"an array is of the data type {name}")
    if not all(isinstance(size, int) for size in shape):
        raise ValueError(f"the shape of an array is {list(shape)}")
    # The bytes are last.
    offset = stop - math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or offset < start + 2 + size_bytes + unpacker.tell():
        raise ValueError(f"the bytes of an array are not those of its shape {list(shape)}")
    return _Leaf(shape, lambda: mapped.array(dtype, shape, offset))


def _collect(tree: dict[str, Any], path: tuple[str, ...], leaves: dict[str, _Leaf]) -> None:
    for name, child in tree.items():
        if isinstance(child, dict) and CHUNKED in child:
            leaves["/".join((*path, name))] = _joined(child)
        elif isinstance(child, dict):
            _collect(child, (*path, name), leaves)
        elif isinstance(child, _Leaf):
            leaves["/".join((*path, name))] = child
        else:
            raise ValueError(f"{'/'.join((*path, name))} is no array")


def _joined(chunked: dict[str, Any]) -> _Leaf:
    shape = tuple(chunked["shape"][str(axis)] for axis in range(len(chunked["shape"])))
    chunks = [chunked["chunks"][str(index)] for index in range(len(chunked["chunks"]))]
    if not all(isinstance(chunk, _Leaf) for chunk in chunks):
        raise ValueError("a piece of an array is no array")
    if sum(math.prod(chunk.shape) for chunk in chunks) != math.prod(shape):
        raise ValueError(f"the pieces of an array are not those of its shape {list(shape)}")
    return _Leaf(shape, lambda: np.concatenate([c.read() for c in chunks]).reshape(shape))
