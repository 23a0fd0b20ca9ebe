"""The container safetensors: read as views of the file, written whole or in shards."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open

from jaxbert.errors import UserError
from jaxbert.hub.mapped_file import MappedFile
from jaxbert.hub.tensors import Tensors

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def open_safetensors(file: Path) -> Tensors:
    """The tensors of one file; raises UserError where it is damaged."""
    try:
        with safe_open(file, framework="numpy"):
            pass  # Opening checks the header against the size of the file.
    except SafetensorError as error:
        raise UserError(
            f"{file} is not a whole safetensors file ({error}): fetch it again"
        ) from None
    mapped = MappedFile(file)
    start = 8 + int.from_bytes(mapped.bytes_at(0, 8), "little")
    header = json.loads(mapped.bytes_at(8, start - 8))
    header.pop("__metadata__", None)

    def read(key: str) -> np.ndarray:
        entry = header[key]
        if entry["dtype"] not in DTYPES:
            raise UserError(
                f"{file}: {key} is of dtype {entry['dtype']}: expected one of {', '.join(DTYPES)}"
            )
        offset = start + entry["data_offsets"][0]
        return mapped.array(DTYPES[entry["dtype"]], tuple(entry["shape"]), offset)

    return Tensors({key: tuple(entry["shape"]) for key, entry in header.items()}, read)


def write_safetensors(
    tensors: Mapping[str, np.ndarray], directory: Path, max_shard_size: int | str | None = None
) -> None:
    """Writes model.safetensors, or shards of at most `max_shard_size` ("5GB") and their index.

    A tensor larger than that has a shard of its own.
    """
    total = sum(tensor.nbytes for tensor in tensors.values())
    try:
        split = split_state_dict_into_shards_factory(
            dict(tensors),
            get_storage_size=lambda tensor: tensor.nbytes,
            filename_pattern="model{suffix}.safetensors",
            max_shard_size=total if max_shard_size is None else max_shard_size,
        )
    except ValueError:
        raise UserError(
            f"max_shard_size={max_shard_size!r}: expected a number of bytes, or one such as '5GB'"
        ) from None
    for name, keys in split.filename_to_tensors.items():
        write_file({key: tensors[key] for key in keys}, directory / name)
    if len(split.filename_to_tensors) > 1:
        _write_index(tensors, split.tensor_to_filename, directory)


def write_file(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes the file that safetensors' own writer makes.

    That one holds all of it in memory once more; here views, such as transposed kernels, are copied
    one at a time.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    keys = sorted(tensors, key=lambda key: (-tensors[key].dtype.itemsize, key))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key in keys:
        tensor, start = tensors[key], end
        end += tensor.nbytes
        header[key] = {
            "dtype": names[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": (start, end),
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key in keys:
            file.write(np.ascontiguousarray(tensors[key]).view(np.uint8).data)


def _write_index(
    tensors: Mapping[str, np.ndarray], files: Mapping[str, str], directory: Path
) -> None:
    metadata = {
        "total_parameters": sum(tensor.size for tensor in tensors.values()),
        "total_size": sum(tensor.nbytes for tensor in tensors.values()),
    }
    text = json.dumps({"metadata": metadata, "weight_map": files}, indent=2, sort_keys=True)
    (directory / "model.safetensors.index.json").write_text(text + "\n", encoding="utf-8")
