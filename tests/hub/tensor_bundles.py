"""An independent writer of TensorFlow's checkpoints, with several blocks even when they are small.

After LevelDB's doc/table_format.md and tensor_bundle.proto.
"""

import itertools
import struct
from collections.abc import Mapping
from pathlib import Path

import google_crc32c
import numpy as np

DATA_TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bfloat16": 14, "float16": 19}
PER_BLOCK, PER_RESTART = 7, 3


def write_bundle(prefix: Path, tensors: Mapping[str, np.ndarray], *, shards: int = 1) -> None:
    """Deals the tensors out to the shards in turn."""
    data = [b""] * shards
    entries = [(b"", field(1, shards) + field(3, field(1, 1)))]
    for turn, name in enumerate(sorted(tensors)):
        tensor, shard = tensors[name], turn % shards
        stored = tensor.tobytes()
        entries.append((name.encode(), entry(tensor, stored, shard, len(data[shard]))))
        data[shard] += stored
    for shard, content in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(entries))


def entry(tensor: np.ndarray, stored: bytes, shard: int, offset: int) -> bytes:
    shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
    message = field(1, DATA_TYPES[tensor.dtype.name]) + field(2, shape) + field(3, shard)
    message += field(4, offset) + field(5, len(stored))
    return message + bytes([6 << 3 | 5]) + struct.pack("<I", masked(stored))


def table(entries: list[tuple[bytes, bytes]]) -> bytes:
    content, handles = b"", []
    for start in range(0, len(entries), PER_BLOCK):
        chunk = entries[start : start + PER_BLOCK]
        added = block(chunk)
        handles.append((chunk[-1][0], number(len(content)) + number(len(added) - 5)))
        content += added
    meta, content = len(content), content + block([])
    index, content = len(content), content + block(handles)
    footer = number(meta) + number(len(block([])) - 5)
    footer += number(index) + number(len(content) - index - 5)
    return content + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    content, restarts, last = b"", [], b""
    for position, (key, value) in enumerate(entries):
        shared = 0
        if position % PER_RESTART == 0:
            restarts.append(len(content))
        else:
            pairs = zip(key, last, strict=False)
            shared = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        content += number(shared) + number(len(key) - shared) + number(len(value))
        content += key[shared:] + value
        last = key
    restarts = restarts or [0]
    content += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    return content + b"\0" + struct.pack("<I", masked(content + b"\0"))


def field(tag: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return number(tag << 3) + number(value)
    return number(tag << 3 | 2) + number(len(value)) + value


def number(value: int) -> bytes:
    """A varint."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(rest) if rest else bytes([low])


def masked(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF
