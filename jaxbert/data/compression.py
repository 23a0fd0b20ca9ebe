"""Files as they are behind their compression."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, cast

from jaxbert.errors import UserError

COMPRESSIONS = (".gz", ".xz", ".bz2", ".zst")
UNREADABLE = (EOFError, lzma.LZMAError, zlib.error, OSError)
"""What reading a file may raise; `read_error` says it to the user."""


def decompressed(disk: IO[bytes], file: Path) -> IO[bytes]:
    """What the open file holds, by the suffix of its name; may close the file when let go of."""
    match file.suffix:
        case ".gz":
            return cast(IO[bytes], gzip.open(disk, "rb"))
        case ".xz":
            return cast(IO[bytes], lzma.open(disk, "rb"))
        case ".bz2":
            return cast(IO[bytes], bz2.open(disk, "rb"))
        case ".zst":
            import pyarrow

            stream = pyarrow.input_stream(disk, compression="zstd", buffer_size=2**20)
            return cast(IO[bytes], io.BufferedReader(stream, 2**20))
        case _:
            return disk


def first_bytes(file: Path, count: int) -> bytes:
    """At most `count` bytes of the beginning, decompressed; a UserError where they are damaged."""
    try:
        with open(file, "rb") as disk:
            return decompressed(disk, file).read(count)
    except UNREADABLE as error:
        raise read_error(file, "at its beginning", error) from None


def read_error(file: Path, place: str, error: Exception) -> UserError:
    """What to tell of one of `UNREADABLE`, met at this place of the file."""
    # Only the operating system numbers its errors; decompressors raise a plain OSError.
    if isinstance(error, OSError) and error.errno is not None:
        return UserError(f"{file}: cannot be read ({error.strerror or error})")
    if "too much memory" in str(error):
        return UserError(
            f"{file}: compressed with a window above 128 MiB; compress it again without --long"
            " (zstd --long=31 -dc FILE | zstd)"
        )
    return UserError(
        f"{file}, {place}: the compressed file is damaged or cut off ({error}); fetch it again"
    )
