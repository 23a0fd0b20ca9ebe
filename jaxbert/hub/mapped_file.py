"""A file seen as arrays, without holding it in memory."""

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from jaxbert.errors import UserError


class MappedFile:
    """A file whose arrays are read-only views of its pages.

    Overwriting or truncating the file in place changes such arrays, or ends the process.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise UserError(f"{path} is empty: fetch it again") from None

    def __len__(self) -> int:
        return len(self._map)

    def bytes_at(self, offset: int, size: int) -> bytes:
        """A copy of at most `size` bytes."""
        return self._map[offset : offset + size]

    def array(self, dtype: DTypeLike, shape: tuple[int, ...], offset: int) -> np.ndarray:
        """The array that begins at `offset`; raises UserError where the file ends before it does.

        The pages of the arrays before it are let go, so that a model that is read tensor by
        tensor never has the whole file in memory; a view still in use gets them back unasked.
        """
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)
        try:
            return np.ndarray(shape, dtype, buffer=self._map, offset=offset)
        except (TypeError, OverflowError):
            raise UserError(f"{self.path} is cut short: fetch it again") from None
