"""A model whose tensors lie in several files, with an index that names the file of each."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxbert.errors import UserError
from jaxbert.hub.tensors import Shapes, Tensors
from jaxbert.text.remote import check_stays_inside


def open_shards(index: Path, open_file: Callable[[Path], Tensors]) -> Tensors:
    """The tensors of every file that an index names.

    Raises UserError where a file is not there or does not hold what the index says.
    """
    files = _read_index(index)
    opened: dict[Path, Tensors] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(set(files.values())):
        if not file.is_file():
            raise UserError(f"{index} names {file.name}, which is not there")
        opened[file] = open_file(file)
        _check(index, file, files, opened[file].shapes)
        shapes |= opened[file].shapes

    def read(key: str) -> np.ndarray:
        return opened[files[key]].read(key)

    return Tensors(shapes, read)


def _read_index(index: Path) -> dict[str, Path]:
    try:
        named = json.loads(index.read_text("utf-8"))["weight_map"]
        check_stays_inside(named.values(), str(index))
        return {key: index.parent / name for key, name in named.items()}
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{index}: expected JSON with a `weight_map` object") from None


def _check(index: Path, file: Path, files: dict[str, Path], inside: Shapes) -> None:
    promised = {key for key, its_file in files.items() if its_file == file}
    if promised != set(inside):
        odd = ", ".join(sorted(promised ^ set(inside)))
        raise UserError(f"{file} and {index.name} do not agree on which tensors it holds: {odd}")
