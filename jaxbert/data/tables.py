"""Rows of tables, whatever they are stored in, for `prepare` and for fine-tuning alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from glob import glob
from os.path import expanduser
from pathlib import Path
from typing import Any

from jaxbert.data.compression import COMPRESSIONS, first_bytes
from jaxbert.data.lines import STANDARD_INPUT as STANDARD_INPUT_FILE
from jaxbert.data.lines import Advance, name_of, no_advance
from jaxbert.data.problems import LEFT_OUT, Problems
from jaxbert.data.table_files import (
    READERS,
    Reading,
    Rows,
    read_jsonl,
    read_standard_input,
    read_text,
)
from jaxbert.data.table_hf import is_saved_dataset, names_split_of_hf, parts_of_hf, read_hf
from jaxbert.data.table_tfds import read_tfds, split_tfds_name
from jaxbert.data.whole_lines import (
    HARMLESS,
    check_is_not_empty,
    check_is_utf8,
    warn_of_kept,
)
from jaxbert.errors import UserError

DATA_SETS = ("hf:", "hub:", "tfds:")
"""How names of data sets begin; the second is an old spelling, refused with the new one."""


STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Row:
    """One row: values by column, and the file (or `hf:` name) and line that it stands at."""

    values: dict[str, Any]
    file: str
    line: int
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of data sets that name them, by column: the classes whose values are 0, 1, ..."""

    @property
    def place(self) -> str:
        """File and line, for a message."""
        return f"{self.file}:{self.line}"


def read_rows(
    spec: str | Path,
    *,
    columns: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    problems: Problems,
    advance: Advance = no_advance,
    streaming: bool = False,
) -> Iterator[Row]:
    """Rows of a CSV, TSV, JSON-lines (also compressed) or Parquet file, of `hf:` or `tfds:`.

    Of a pattern those of its files, one after another in sorted order, as if they were one table.
    Also of a text file, a row a line, where one column is asked for; and of standard input (`-`),
    which holds either JSON lines or such texts.

    `columns` are the ones that every row must have (Parquet and data sets read no others); without
    them rows have what they have. `names` names the columns of a CSV or TSV file that has no
    header, and without `columns` the one of a text file. Values of CSV and TSV are strings. A
    column that the table lacks is a UserError; a single malformed row is a problem, and is left
    out. `streaming` reads a data set of the hub as it comes, instead of downloading it first.
    """
    text = str(spec)
    for part in map(str, matching(text)) if is_pattern(text) else [text]:
        reading, name = Reading(names, columns, problems, advance, streaming, {}), _name(part)
        for number, values in _open(part, reading):
            yield Row(values, name, number, reading.classes)


def whole_rows(
    spec: str | Path,
    *,
    columns: Sequence[str],
    names: Sequence[str] | None = None,
    labelled: bool,
) -> Iterator[Row]:
    """`read_rows` where every row counts: a malformed one is a UserError.

    `labelled`: so are a table without rows and a row that is not UTF-8, which are warned of without
    labels: there may be nothing to predict.
    """
    problems, count = Problems(), 0
    for row in read_rows(spec, columns=columns, names=names, problems=problems):
        _check_all_are_there(problems, labelled=labelled)
        count += 1
        yield row
    _check_all_are_there(problems, labelled=labelled)
    warn_of_kept(problems)
    check_is_not_empty(count, "rows", _name(str(spec)), labelled=labelled)


def _check_all_are_there(problems: Problems, *, labelled: bool) -> None:
    if labelled:
        check_is_utf8(problems)
    for kind, problem in problems.first.items():
        if kind not in HARMLESS:
            raise UserError(
                f"{problem.place}: {problem.detail.removesuffix(LEFT_OUT)}; correct or remove the "
                "row, so that every row counts"
            )


def check_split(spec: str) -> None:
    """Refuses a data set without its split where it would be a mistake to read train's rows.

    So it is for what a model is evaluated on, or predicts. Raises UserError.
    """
    path = Path(expanduser(spec))
    name = f"hf:{path}" if is_saved_dataset(path) else spec
    kind, _, rest = name.partition(":")
    if kind == "hf":
        is_named = names_split_of_hf(rest)
    else:
        is_named = kind != "tfds" or bool(split_tfds_name(rest)[1])
    if not is_named:
        raise UserError(
            f"{spec}: says no split, and without one its rows are those of train; name one, as in "
            f"{name}:validation"
        )


def named_rows(spec: str) -> str:
    """The name of a data set with the split that it means, equal where the rows are."""
    kind, _, name = spec.partition(":")
    *parts, split = split_tfds_name(name) if kind == "tfds" else parts_of_hf(name)
    return ":".join([kind, *parts, split or "train"])


def column_names(spec: str | Path) -> tuple[str, ...]:
    """Columns of a table: its header, or what its first row has; () where it has no rows."""
    first = next(read_rows(spec, problems=Problems()), None)
    return () if first is None else tuple(first.values)


def _name(spec: str) -> str:
    return name_of(STANDARD_INPUT_FILE) if spec == STANDARD_INPUT else spec


def is_table(spec: str) -> bool:
    """Whether `read_rows` reads this kind of source."""
    return (
        spec.startswith(DATA_SETS)
        or file_kind(Path(spec)) in READERS
        or is_saved_dataset(Path(expanduser(spec)))
    )


def file_kind(path: Path) -> str:
    """The suffix that says what a file holds: `.csv` for `a.csv.gz`."""
    name = path.with_suffix("") if path.suffix in COMPRESSIONS else path
    return name.suffix.lower()


def holds_objects(path: Path) -> bool:
    """Whether this is a file without a suffix that begins as JSON lines (Spark's part-00000).

    An empty one holds none: Spark writes these, too.
    """
    return path.is_file() and file_kind(path) == "" and first_bytes(path, 1) in (b"{", b"")


def existing_file(path: Path) -> Path:
    """The path itself, or a UserError that names the nearest one there is."""
    if path.exists():
        return path
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, siblings, n=1)
    hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
    raise UserError(f"{path}: no such file{hint}")


def table_file(spec: str) -> Path:
    """The one file of a name, or a UserError that says what names a table may have."""
    path = Path(expanduser(spec))
    if "://" in spec:
        raise UserError(f"{spec}: tables are files on this machine, hf:NAME or tfds:NAME: copy it")
    if is_pattern(spec):
        raise UserError(
            f"{spec}: no such file, and patterns are for CSV, TSV, JSON lines and Parquet: put the "
            "files into one"
        )
    return existing_file(path)


def is_pattern(spec: str) -> bool:
    """Whether a name may stand for several files: it has a * or its like, and is no file itself."""
    if spec.startswith(DATA_SETS) or "://" in spec:
        return False
    return any(c in spec for c in "*?[") and not Path(expanduser(spec)).exists()


def matching(pattern: str) -> list[Path]:
    """Files and saved data sets that match, in sorted order, without other directories.

    Raises UserError where there is none.
    """
    # `**` gives directories too, and of several one path may come several times.
    paths = sorted(set(map(Path, glob(expanduser(pattern), recursive=True))), key=str)
    saved = {path for path in paths if is_saved_dataset(path)}
    # A saved data set is one source; its files and splits are none.
    outer = [path for path in paths if saved.isdisjoint(path.parents)]
    found = [path for path in outer if path in saved or not path.is_dir()]
    if not found:
        raise UserError(f"{pattern}: no file matches this pattern")
    return found


def _open(spec: str, reading: Reading) -> Rows:
    if spec.startswith("hub:"):
        raise UserError(f"{spec}: written hf:{spec.removeprefix('hub:')} now")
    if spec.startswith("hf:"):
        return read_hf(spec.removeprefix("hf:"), reading)
    if spec.startswith("tfds:"):
        return read_tfds(spec.removeprefix("tfds:"), reading)
    if spec == STANDARD_INPUT:
        return read_standard_input(STANDARD_INPUT_FILE, reading)
    path = table_file(spec)
    if is_saved_dataset(path):
        return read_hf(str(path), reading)
    if file_kind(path) == ".txt":
        return read_text(path, reading)
    reader = read_jsonl if holds_objects(path) else READERS.get(file_kind(path))
    if reader is None:
        known = ", ".join([*READERS, ".txt"])
        raise UserError(f"{path}: not a table; expected {known}, hf:NAME or tfds:NAME")
    if file_kind(path) == ".parquet" and path.suffix != ".parquet":
        raise UserError(f"{path}: Parquet is compressed inside; decompress the file itself")
    return reader(path, reading)
