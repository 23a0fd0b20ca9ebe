"""TensorFlow's checkpoints (`NAME.index`, `NAME.data-00000-of-00001`) without TensorFlow."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxbert.errors import UserError
from jaxbert.hub.mapped_file import MappedFile
from jaxbert.hub.sorted_table import masked_checksum, read_table
from jaxbert.hub.tensors import Tensors
from jaxbert.text.protocol_buffer import fields_of, integer, message

Fields = dict[int, list[int | bytes]]
"""The fields of a message by number, each as often as it occurs."""

# types.proto
DTYPES = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    9: np.dtype(np.int64),
    14: np.dtype(ml_dtypes.bfloat16),
    19: np.dtype(np.float16),
}
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


@dataclass(frozen=True)
class _Entry:
    """BundleEntryProto of tensor_bundle.proto."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    is_sliced: bool


def open_bundle(prefix: Path) -> Tensors:
    """The variables of a checkpoint by name; reading one verifies its checksum.

    Raises UserError where a file is missing or damaged, and for TensorFlow 2's object graphs.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    # Slices of a variable have binary keys, which begin with a zero.
    raw = {key: value for key, value in read_table(index).items() if not key.startswith(b"\0")}
    table = {key.decode("utf-8", "replace"): value for key, value in raw.items()}
    if OBJECT_GRAPH in table:
        raise UserError(
            f"{prefix} was saved by TensorFlow 2 as an object graph, whose names depend on the "
            f"program: expected one of TensorFlow 1, such as Google's bert_model.ckpt; for "
            "BERT of the Model Garden transformers 4 has a script, "
            "convert_bert_original_tf2_checkpoint_to_pytorch.py"
        )
    try:
        header = _fields(table.pop("", b""))
        count = _number(header, 1, 1)
        entries = {name: _entry(value, count) for name, value in table.items()}
    except (IndexError, ValueError, TypeError):
        raise UserError(f"{index} is no index of a TensorFlow checkpoint: fetch it again") from None
    if header.get(2):
        raise UserError(f"{prefix} was written by a big-endian machine, which is not implemented")
    shards = _shards(prefix, count)

    def read(name: str) -> np.ndarray:
        entry = entries[name]
        return _read(shards(entry.shard), name, entry)

    return Tensors({name: entry.shape for name, entry in entries.items()}, read)


def _shards(prefix: Path, count: int) -> Any:
    files = []
    for i in range(count):
        files.append(prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{count:05d}"))
        if not files[-1].is_file():
            raise UserError(f"{prefix}.index names {files[-1].name}, which is not there")
    return cache(lambda shard: MappedFile(files[shard]))


def _read(shard: MappedFile, name: str, entry: _Entry) -> np.ndarray:
    dtype = DTYPES.get(entry.dtype)
    if dtype is None or entry.is_sliced:
        fault = "is cut into slices" if entry.is_sliced else f"has the data type {entry.dtype}"
        raise UserError(f"{shard.path}: {name} {fault}, which is not implemented")
    if entry.size != math.prod(entry.shape) * dtype.itemsize:
        raise UserError(
            f"{shard.path}: {name} has {entry.size} bytes, which are not those of its shape "
            f"{[*entry.shape]}: fetch the checkpoint again"
        )
    stored = shard.array(np.uint8, (entry.size,), entry.offset)
    if masked_checksum(stored) != entry.checksum:
        raise UserError(f"{shard.path}: the checksum of {name} is wrong: fetch the file again")
    return stored.view(dtype).reshape(entry.shape)


def _entry(data: bytes, count: int) -> _Entry:
    fields = _fields(data)
    dimensions = _fields(message(fields.get(2, [b""])[0])).get(2, [])
    shard = _number(fields, 3)
    if shard >= count:
        raise ValueError(f"shard {shard} of {count}")
    return _Entry(
        dtype=_number(fields, 1),
        # proto3 leaves out a dimension of zero.
        shape=tuple(_number(_fields(message(dimension)), 1) for dimension in dimensions),
        shard=shard,
        offset=_number(fields, 4),
        size=_number(fields, 5),
        checksum=int.from_bytes(message(fields.get(6, [b""])[0]), "little"),
        is_sliced=7 in fields,
    )


def _number(fields: Fields, tag: int, default: int = 0) -> int:
    """The value of a field that is an integer; raises ValueError for another kind."""
    return integer(fields.get(tag, [default])[0])


def _fields(data: bytes) -> Fields:
    fields: Fields = {}
    for tag, value in fields_of(data):
        fields.setdefault(tag, []).append(value)
    return fields
