"""Lines of text files, plain or compressed, with everything that is wrong with them reported."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from jaxbert.data.compression import UNREADABLE, decompressed, read_error
from jaxbert.data.problems import Problems
from jaxbert.errors import UserError

LONG_LINE = 2**20
STANDARD_INPUT = Path("/dev/stdin")
_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LINES_PER_REPORT = 256

Advance = Callable[[int], object]


def no_advance(_: int) -> None:
    """Where nobody watches how far reading has come."""


def name_of(file: Path) -> str:
    """What messages call a file."""
    return "standard input" if file == STANDARD_INPUT else str(file)


def read_lines(
    file: Path, problems: Problems, advance: Advance = no_advance, *, with_returns: bool = False
) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their ends; `advance` gets bytes of the file on disk.

    `with_returns`: they keep the carriage return before their end, which may be part of a text.
    Invalid UTF-8 becomes U+FFFD and is reported, as are lines beyond 1 MiB; a byte-order mark is
    taken off. A file that is UTF-16 or whose compression is damaged is a UserError.
    """
    number = reported = 0
    try:
        with open(file, "rb", buffering=2**20) as disk:
            stream = decompressed(disk, file)
            for number, line in enumerate(stream, start=1):
                if number == 1:
                    line = _without_mark(line, file)
                line = line.removesuffix(b"\n")
                line = line if with_returns else line.removesuffix(b"\r")
                yield number, _decoded(line, file, number, problems)
                if number % _LINES_PER_REPORT == 0:
                    advance(position(disk) - reported)
                    reported = position(disk)
            advance(position(disk) - reported)
    except UNREADABLE as error:
        raise read_error(file, f"after line {number}", error) from None


def carriage_returns(file: Path) -> UserError:
    """What to tell of a file whose only line has carriage returns within."""
    return UserError(
        f"{file}: its lines end in carriage returns alone, so that it is one line; convert it"
        r" (tr '\r' '\n')"
    )


def position(disk: IO[bytes]) -> int:
    """Bytes read of a file so far, as far as they can be told."""
    return disk.tell() if disk.seekable() else 0


def _without_mark(line: bytes, file: Path) -> bytes:
    if line.startswith(_OTHER_MARKS):
        raise UserError(
            f"{name_of(file)}: the file is UTF-16; convert it to UTF-8 (iconv -f utf-16)"
        )
    return line.removeprefix(_UTF8_MARK)


def _decoded(line: bytes, file: Path, number: int, problems: Problems) -> str:
    if len(line) > LONG_LINE:
        problems.add("long line", name_of(file), number, f"{len(line)} bytes, kept")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"byte {error.start} of the line: {error.reason}; kept with U+FFFD in its place"
        problems.add("invalid UTF-8", name_of(file), number, detail)
        return line.decode("utf-8", errors="replace")
