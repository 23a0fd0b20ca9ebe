"""Which devices exchange data in a collective, and along which mesh axes that is."""

import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_IOTA = re.compile(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"mesh\[([^\]]*)\](?:, device_ids=\(([^)]*(?:\([^)]*\))?)\))? \{([^}]*)\}")
_AXIS = re.compile(r"'?([\w.]+)'?(?::\((\d+)\)(\d+))?")


def groups_of(attributes: str, num_devices: int) -> NDArray[np.int64]:
    """[groups, devices of a group]: places in the mesh's flat order of devices.

    Reads all of XLA's ways to write them: lists, a transposed iota, mesh axes; of a permutation
    the pairs.
    """
    pairs = re.search(r"source_target_pairs=(\{\{.*?\}\}|\{\})", attributes)
    if pairs is not None:
        return _listed(pairs.group(1)).reshape(-1, 2)
    found = re.search(r"replica_groups=", attributes)
    assert found is not None, attributes[:200]
    text = attributes[found.end() :]
    if (mesh := _MESH.match(text)) is not None:
        return _of_mesh(*mesh.groups(default=""))
    if (iota := _IOTA.match(text)) is not None:
        shape, reshaped, order = (_numbers(part) for part in iota.groups(default=""))
        return _transposed(reshaped, order).reshape(shape)
    listed = re.match(r"\{\{.*?\}\}|\{\}", text)
    assert listed is not None, text[:200]
    if listed.group() == "{}":
        return np.arange(num_devices)[None]
    return _listed(listed.group())


def axes_of(groups: NDArray[np.int64], mesh: Mapping[str, int]) -> tuple[str, ...]:
    """The mesh axes along which the devices of a group differ; (): each is alone in its group."""
    places = np.stack(np.unravel_index(groups, tuple(mesh.values())), axis=-1)
    differs = (places != places[:, :1]).any(axis=(0, 1))
    return tuple(axis for axis, is_other in zip(mesh, differs.tolist(), strict=True) if is_other)


def _of_mesh(sizes: str, devices: str, wanted: str) -> NDArray[np.int64]:
    """`mesh['a'=4,'b'=2] {'a':(1)2}`: groups along the first two of the four of `a`."""
    pairs = (axis.split("=") for axis in sizes.split(","))
    names = [(name.strip("'"), int(size)) for name, size in pairs]
    taken = {name: (pre, size) for name, pre, size in _AXIS.findall(wanted)}
    shape, grouped = [], []
    for name, size in names:
        if name not in taken:
            shape.append(size)
            continue
        pre, part = (int(number) if number else 0 for number in taken[name])
        split = [size] if not part else [pre, part, size // (pre * part)]
        grouped.append(len(shape) + (1 if part else 0))
        shape += split
    order = [axis for axis in range(len(shape)) if axis not in grouped]
    array = _devices(devices, math.prod(shape)).reshape(shape).transpose(order + grouped)
    return array.reshape(-1, math.prod(shape[axis] for axis in grouped))


def _devices(text: str, count: int) -> NDArray[np.int64]:
    if not text:
        return np.arange(count)
    if (iota := re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text)) is not None:
        return _transposed(_numbers(iota.group(1)), _numbers(iota.group(2) or ""))
    return np.array(_numbers(text))


def _transposed(shape: list[int], order: list[int]) -> NDArray[np.int64]:
    array = np.arange(math.prod(shape)).reshape(shape)
    return array.transpose(order or range(len(shape)))


def _listed(text: str) -> NDArray[np.int64]:
    return np.array([_numbers(group) for group in re.findall(r"\{([\d,]+)\}", text)], np.int64)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]
