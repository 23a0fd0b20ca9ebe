"""Rows of `datasets`, from the Hugging Face hub, its cache, or a directory of save_to_disk."""

import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

from jaxbert.data.table_files import Reading, Rows, check_columns
from jaxbert.errors import UnreachableError, UserError

_ROWS_AT_ONCE = 1000
_SPELLING = "expected hf:NAME[/CONFIG][:SPLIT] or hf:NAME:CONFIG[:SPLIT]"
_SPLIT = re.compile("train|valid|dev|test")


class _Choice(NamedTuple):
    """One way to understand a name."""

    path: str
    config: str | None
    split: str


def is_saved_dataset(path: Path) -> bool:
    """Whether a directory was written by `datasets`' save_to_disk."""
    return (path / "state.json").is_file() or _has_splits(path)


def _has_splits(saved: Path) -> bool:
    return (saved / "dataset_dict.json").is_file()


def names_split_of_hf(name: str) -> bool:
    """Whether `read_hf` is told the split, or the data set was saved as a single one."""
    directory, _, split = name.partition(":")
    if is_saved_dataset(Path(directory)):
        return bool(split) or not _has_splits(Path(directory))
    return bool(parts_of_hf(name)[-1])


def read_hf(name: str, reading: Reading) -> Rows:
    """Rows of `NAME[/CONFIG][:SPLIT]`, `NAME:CONFIG[:SPLIT]` or `DIRECTORY[:SPLIT]`.

    The split is `train` if not said. `reading.streaming` reads from the hub as it goes; else the
    data set is downloaded and kept in the cache. Without a network, both read the cache.
    """
    dataset, number = _load(name, reading.streaming), 0
    try:
        # A stream may know its columns from its first row only.
        found = dataset.column_names or list(next(iter(dataset.take(1)), {}))
    except _failures() as error:
        raise _broken(name, number, error) from None
    if found and reading.columns is not None:
        check_columns(reading.columns, found, f"hf:{name}")
        dataset = dataset.select_columns(list(reading.columns))
    features = dataset.features or {}
    reading.classes.update(classes_of(features))
    lists = classes_in_lists(features)
    try:
        for batch in dataset.iter(batch_size=_ROWS_AT_ONCE):
            for name, names in lists.items():
                batch[name] = [named(row, names) for row in batch[name]]
            for values in zip(*batch.values(), strict=True):
                number += 1
                yield number, dict(zip(batch, values, strict=True))
    except _failures() as error:
        raise _broken(name, number, error) from None


def classes_of(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The names that each feature gives to its classes, of those that are classes (ClassLabel)."""
    named = {name: getattr(kind, "names", None) for name, kind in features.items()}
    return {name: tuple(found) for name, found in named.items() if found}


def classes_in_lists(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Likewise of those features that are lists of classes."""
    return classes_of({name: getattr(kind, "feature", None) for name, kind in features.items()})


def named(row: Sequence[Any] | None, names: Sequence[str]) -> list[Any] | None:
    """A list of classes by their names; None, and in it what is no known class, stay."""
    if row is None:
        return None
    return [names[n] if isinstance(n, int) and n >= 0 else n for n in row]


def _load(name: str, streaming: bool) -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise UserError(f"hf:{name}: needs the package datasets; install jaxbert[hub]") from None
    directory, _, split = name.partition(":")
    if is_saved_dataset(Path(directory)):
        return _load_saved(datasets, Path(directory), split or "train")
    failures: list[Exception] = []
    is_local = Path(directory).is_dir() or datasets.config.HF_HUB_OFFLINE
    with nullcontext() if is_local or _is_reachable() else _offline_mode(datasets):
        for path, config, split in _choices(name):
            try:
                return datasets.load_dataset(path, config, split=split, streaming=streaming)
            except _failures() as error:
                failures.append(error)
    raise _not_loaded(name, failures, streaming)


def _is_reachable() -> bool:
    """Whether the hub's name can be looked up; asking the hub itself takes a minute to give up."""
    from huggingface_hub.constants import ENDPOINT

    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(ENDPOINT).hostname, None)
    except OSError:
        return False
    return True


@contextmanager
def _offline_mode(datasets: Any) -> Iterator[None]:
    """Both libraries as HF_HUB_OFFLINE=1 would have them: what is in the cache is used."""
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _load_saved(datasets: Any, path: Path, split: str) -> Any:
    try:
        saved = datasets.load_from_disk(str(path))
    except _failures() as error:
        raise _broken(str(path), 0, error) from None
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    if split not in saved:
        raise UserError(f"{path}: no split {split}; the splits are: {', '.join(saved)}")
    return saved[split]


def _choices(name: str) -> Iterator[_Choice]:
    """What the name may mean, in the order of trying.

    A data set's own name may hold one slash: `a/b` is that data set, or else configuration b of a.
    """
    path, config, split = parts_of_hf(name)
    yield _Choice(path, config or None, split or "train")
    if path.count("/") == 1 and not config and not Path(path).is_dir():
        owner, _, config = path.partition("/")
        yield _Choice(owner, config, split or "train")


def parts_of_hf(name: str) -> tuple[str, str, str]:
    """Path, configuration and split of a name; empty where it does not say one.

    What follows a single colon is a split if it begins like one, or else a configuration.
    """
    path, *rest = name.split(":", 2)
    config = ""
    if path.count("/") > 1 and not Path(path).is_dir():
        owner, dataset, config = path.split("/", 2)
        path = f"{owner}/{dataset}"
    match rest:
        case [either] if config or _SPLIT.match(either):
            split = either
        case [either]:
            config, split = either, ""
        case [named, split]:
            config = named or config
        case _:
            split = ""
    return path, config, split


def _failures() -> tuple[type[Exception], ...]:
    # RuntimeError: what datasets raises of a data set that is a script.
    own = {"httpx": "HTTPError", "datasets.exceptions": "DatasetsError"}
    of_packages = [getattr(sys.modules[n], e) for n, e in own.items() if n in sys.modules]
    return (OSError, ValueError, RuntimeError, *of_packages)


def _not_loaded(name: str, failures: list[Exception], streaming: bool) -> UserError:
    for choice, error in zip(_choices(name), failures, strict=False):
        if isinstance(error, RuntimeError) and "scripts are no longer" in str(error):
            return UserError(f"hf:{name}: {_first_line(error)}; {_how_to_get_parquet(choice)}")
    if any(isinstance(error, ConnectionError) for error in failures):
        kind = UserError if sys.modules["datasets"].config.HF_HUB_OFFLINE else UnreachableError
        return kind(_what_to_download(name, streaming))
    # That there is no such data set says less than what one that exists lacks.
    specific = [error for error in failures if not isinstance(error, OSError)]
    reason = _first_line((specific or failures)[0]) if failures else "not a name"
    return UserError(f"hf:{name}: {reason} ({_SPELLING})")


def _broken(name: str, number: int, error: Exception) -> UserError:
    # The hub may answer again, and then the same command goes on.
    is_of_network = isinstance(error, ConnectionError | TimeoutError) or (
        "httpx" in sys.modules and isinstance(error, sys.modules["httpx"].TransportError)
    )
    kind = UnreachableError if is_of_network else UserError
    return kind(f"hf:{name}, after row {number}: cannot be read on: {_first_line(error)}")


def _what_to_download(name: str, streaming: bool) -> str:
    choices = list(_choices(name))
    path, config, split = choices[-1]
    folder = "-".join(filter(None, (*path.split("/"), config)))
    if streaming:
        part = f" --include '{config}/*'" if config else ""
        command = f"hf download --repo-type dataset {path}{part} --local-dir {folder}"
        use = f"the files in {folder}"
    else:
        arguments = ", ".join(repr(part) for part in (path, config) if part)
        code = f"import datasets; datasets.load_dataset({arguments}).save_to_disk({folder!r})"
        command, use = f'python -c "{code}"', f"hf:{folder}:{split}"
    doubt = f" (with {path}/{config} alone if that is the name)" if len(choices) > 1 else ""
    return (
        f"hf:{name}: the hub cannot be reached and the data set is not in the cache; run"
        f" `{command}`{doubt} where there is a network, and name {use} instead"
    )


def _how_to_get_parquet(choice: _Choice) -> str:
    """The hub has converted most of the data sets that are scripts, on a branch of their own."""
    folder = choice.path.replace("/", "-")
    return (
        "the hub may have it in Parquet: run `hf download --repo-type dataset --revision"
        f" refs/convert/parquet {choice.path} --local-dir {folder}`, and name what is in there, as"
        f" hf:{folder}/{choice.config or 'default'}:{choice.split}"
    )


def _first_line(error: BaseException) -> str:
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__  # It says itself only that there was one.
    return (str(error).strip() or type(error).__name__).splitlines()[0]
