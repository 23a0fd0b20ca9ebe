"""Rows of TensorFlow Datasets, read from array_record files without TensorFlow."""

import re
from collections.abc import Sequence
from typing import Any

from jaxbert.data.problems import Problems
from jaxbert.data.table_files import Reading, Rows, check_columns
from jaxbert.data.table_hf import classes_in_lists, classes_of, named
from jaxbert.errors import UserError


def read_tfds(name: str, reading: Reading) -> Rows:
    """Rows of `NAME[/CONFIG][:VERSION][:SPLIT]`; the split is `train` if not said."""
    try:
        import tensorflow_datasets
    except ModuleNotFoundError:
        raise UserError(
            f"tfds:{name}: needs the package tensorflow_datasets; install jaxbert[tfds]"
        ) from None
    builder, split = split_tfds_name(name)
    split = split or "train"
    try:
        source = tensorflow_datasets.data_source(builder, split=split)
    except (OSError, ImportError, ValueError, NotImplementedError) as error:
        raise UserError(f"tfds:{name}: {_reason(error, builder)}") from None
    features = source.dataset_info.features
    reading.classes.update(classes_of(features))
    lists = classes_in_lists(features)
    place = f"tfds:{name}"
    for number in range(1, len(source) + 1):
        try:
            row = source[number - 1]
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{place}, before row {number}: damaged ({error}); fetch or build it again"
            ) from None
        if number == 1:
            check_columns(reading.columns, list(row), place)
        wanted: Sequence[str] = list(row) if reading.columns is None else reading.columns
        values = {n: _plain(row[n], place, number, reading.problems) for n in wanted}
        yield number, values | {n: named(values[n], lists[n]) for n in wanted if n in lists}


def _reason(error: Exception, builder: str) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    # A wrong split is a plain ValueError; everything else is a data set that is not there as yet.
    if type(error) is ValueError:
        return reason
    return (
        f"{reason.rstrip('.')}; if the name is right, run `tfds build {builder}"
        " --file_format=array_record` where TensorFlow and a network are, and copy"
        f" ~/tensorflow_datasets/{builder.partition(':')[0]} here (TFDS_DATA_DIR says where to)"
    )


def split_tfds_name(name: str) -> tuple[str, str]:
    """Builder (with its version, `glue/mrpc:2.0.0`) and split, which may be empty."""
    # A version starts with a digit or an asterisk; a split may hold colons (`train[:10%]`).
    match = re.fullmatch(r"([^:]+(?::[\d*][\d.*]*)?)(?::(.+))?", name)
    if match is None:
        raise UserError(f"tfds:{name}: expected tfds:NAME[/CONFIG][:VERSION][:SPLIT]")
    return match[1], match[2] or ""


def _plain(value: Any, place: str, number: int, problems: Problems) -> Any:
    """Python's own values and text, also within a sequence or a feature of several."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            detail = f"byte {error.start}: {error.reason}; kept with U+FFFD in its place"
            problems.add("invalid UTF-8", place, number, detail)
            return value.decode("utf-8", errors="replace")
    if isinstance(value, dict):
        return {name: _plain(part, place, number, problems) for name, part in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    # An array of objects: its texts are bytes still.
    return [_plain(p, place, number, problems) for p in value] if isinstance(value, list) else value
