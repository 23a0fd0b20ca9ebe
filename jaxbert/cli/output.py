"""Where results go: standard output, or a file that is there as a whole or not at all."""

import os
import sys
from collections.abc import Iterable
from os.path import expanduser
from pathlib import Path

from jaxbert.data.compression import COMPRESSIONS
from jaxbert.errors import UserError
from jaxbert.text.remote import check_is_here

STANDARD_OUTPUT = "-"


def takes_all_characters() -> bool:
    """Whether standard output is in an encoding of Unicode."""
    # Of a buffer in memory it is None.
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")


def out_file(out: str | None, data: str) -> Path | None:
    """The file that --out names; None where that is standard output, under whatever name.

    Raises UserError where it is a file that --data reads, or a URL.
    """
    if out is None or out == STANDARD_OUTPUT:
        return None
    check_is_here(out)
    path = Path(out)
    if path.suffix.lower() in (".parquet", *COMPRESSIONS):
        raise UserError(f"--out {out}: is written as text: expected .jsonl, .csv or .tsv")
    check_is_not_read(path, data)
    return None if _is_standard_output(path) else path


def check_is_not_read(path: Path, data: str) -> None:
    """Raises UserError where a file to be written is one that --data reads."""
    from jaxbert.data.tables import is_pattern, matching

    one = Path("/dev/stdin" if data == "-" else expanduser(data))
    read = matching(data) if is_pattern(data) else [one]
    if path.is_file() and any(source.exists() and path.samefile(source) for source in read):
        raise UserError(f"--out {path}: is a file that --data reads: choose another")


def write_whole(path: Path, lines: Iterable[str]) -> None:
    """Writes lines to a file that appears, or replaces an older one, when all of it is there.

    A pipe or a device is written to as the lines come; of a symbolic link the file it leads to is
    replaced.
    """
    try:
        if path.exists() and not path.is_file():
            _write(path, lines)
        else:
            _replace(path.resolve(), lines)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written: {error.strerror}") from None


def _replace(path: Path, lines: Iterable[str]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        _write(partial, lines)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _is_standard_output(path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        # No such file yet, or standard output is closed.
        return False
