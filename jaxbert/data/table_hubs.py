"""Rows of `datasets` and TensorFlow Datasets, both optional packages, as (row number, values)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxbert.data.problems import Problems
from jaxbert.data.table_files import Reading, Rows, check_columns
from jaxbert.errors import UserError

_ROWS_AT_ONCE = 1000


def is_saved_dataset(path: Path) -> bool:
    """Whether a directory was written by `datasets`' save_to_disk."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def read_hub(name: str, reading: Reading) -> Rows:
    """Rows of `NAME[:CONFIG[:SPLIT]]` or `DIRECTORY[:SPLIT]`; the split is `train` if not said."""
    dataset = _load(name)
    place = f"hub:{name}"
    check_columns(reading.columns, dataset.column_names, place)
    if reading.columns is not None:
        dataset = dataset.select_columns(list(reading.columns))
    number = 0
    for batch in dataset.iter(batch_size=_ROWS_AT_ONCE):
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield number, dict(zip(batch, values, strict=True))


def _load(name: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise UserError(f"hub:{name}: needs the package datasets; install jaxbert[hub]") from None
    path, _, rest = name.partition(":")
    if is_saved_dataset(Path(path)):
        return _load_saved(datasets, Path(path), rest or "train")
    config, _, split = rest.partition(":")
    try:
        return datasets.load_dataset(path, config or None, split=split or "train")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"hub:{name}: {reason} (expected hub:NAME[:CONFIG[:SPLIT]])") from None


def _load_saved(datasets: Any, path: Path, split: str) -> Any:
    saved = datasets.load_from_disk(str(path))
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    if split not in saved:
        raise UserError(f"{path}: no split {split}; the splits are: {', '.join(saved)}")
    return saved[split]


def read_tfds(name: str, reading: Reading) -> Rows:
    """Rows of `NAME[/CONFIG[:VERSION]][:SPLIT]`; the split is `train` if not said."""
    try:
        import tensorflow_datasets
    except ModuleNotFoundError:
        raise UserError(
            f"tfds:{name}: needs the package tensorflow_datasets; install jaxbert[tfds]"
        ) from None
    builder, split = split_tfds_name(name)
    try:
        source = tensorflow_datasets.data_source(builder, split=split)
    except (OSError, ValueError, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"tfds:{name}: {reason}") from None
    place = f"tfds:{name}"
    for number in range(1, len(source) + 1):
        row = source[number - 1]
        if number == 1:
            check_columns(reading.columns, list(row), place)
        names: Sequence[str] = list(row) if reading.columns is None else reading.columns
        yield number, {n: _plain(row[n], place, number, reading.problems) for n in names}


def split_tfds_name(name: str) -> tuple[str, str]:
    """Builder (with its version, `glue/mrpc:2.0.0`) and split."""
    # A version starts with a digit or an asterisk; a split may hold colons (`train[:10%]`).
    match = re.fullmatch(r"([^:]+(?::[\d*][\d.*]*)?)(?::(.+))?", name)
    if match is None:
        raise UserError(f"tfds:{name}: expected tfds:NAME[/CONFIG[:VERSION]][:SPLIT]")
    return match[1], match[2] or "train"


def _plain(value: Any, place: str, number: int, problems: Problems) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            detail = f"byte {error.start}: {error.reason}; kept with U+FFFD in its place"
            problems.add("invalid UTF-8", place, number, detail)
            return value.decode("utf-8", errors="replace")
    return value.tolist() if hasattr(value, "tolist") else value
