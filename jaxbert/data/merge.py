"""One store from the parts that several hosts prepared, without reading their tokens."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxbert.data.partial import PartialStore
from jaxbert.data.problems import PROBLEMS
from jaxbert.data.shard import ShardRecord
from jaxbert.data.store import TOKENIZER, TokenStore, shard_name
from jaxbert.data.writer import write_metadata
from jaxbert.disk import sync
from jaxbert.errors import UserError

_COMMON = ("sources", "sources_digest", "options", "made_with", "tokenizer", "vocab_size")
_ADDED = ("text_bytes", "unknown_tokens")


def merge(paths: Sequence[str | Path], out: str | Path, *, overwrite: bool = False) -> TokenStore:
    """Make one store at `out` of all parts of `prepare --shard`, in whatever order they are given.

    Files are linked where the file system can, else copied; the parts stay as they are. A part
    that is missing, there twice or of another corpus is a UserError.
    """
    parts = _in_order([TokenStore.open(path) for path in paths])
    with PartialStore(out, overwrite=overwrite) as partial:
        records: list[ShardRecord] = []
        for part in parts:
            for shard in part.shards:
                _link(shard.path, partial.directory / shard_name(len(records)))
                records.append(shard.record)
        _link(parts[0].tokenizer_directory, partial.directory / TOKENIZER)
        with open(partial.directory / PROBLEMS, "wb") as log:
            for part in parts:
                with open(part.path / PROBLEMS, "rb") as one:
                    shutil.copyfileobj(one, log)
        first = parts[0]
        description = _described([part.metadata for part in parts])
        write_metadata(partial.directory, first.vocab_size, first.dtype, records, description)
        partial.publish()
    return TokenStore.open(out)


def _in_order(stores: Sequence[TokenStore]) -> list[TokenStore]:
    found: dict[int, TokenStore] = {}
    for store in stores:
        part = store.metadata.get("part")
        if part is None:
            raise UserError(f"{store.path}: not a part; merge what `prepare --shard i/n` made")
        if part["index"] in found:
            other = found[part["index"]].path
            raise UserError(f"{store.path}: part {_name(part)}, as {other} is; give each part once")
        found[part["index"]] = store
    first = stores[0]
    for store in stores[1:]:
        _check_alike(first, store)
    count = first.metadata["part"]["count"]
    missing = [f"{i}/{count}" for i in range(count) if i not in found]
    if missing:
        raise UserError(f"merge: no part {', '.join(missing)}; give all {count} parts")
    return [found[index] for index in range(count)]


def _check_alike(first: TokenStore, other: TokenStore) -> None:
    one, two = (_comparable(store) for store in (first, other))
    differing = [name for name in one if one[name] != two.get(name)]
    if differing:
        raise UserError(
            f"{other.path}: not a part of the same store as {first.path}: other"
            f" {', '.join(differing)}; prepare all parts by one command but for --shard and --out"
        )


def _comparable(store: TokenStore) -> dict[str, Any]:
    """What parts of one store have in common; each option by itself."""
    common = {name: store.metadata[name] for name in _COMMON}
    # The tokenizer is compared itself: on another host it may lie elsewhere.
    options = {k: v for k, v in common.pop("options").items() if k != "tokenizer"}
    return common | options | {"number of parts": store.metadata["part"]["count"]}


def _described(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    dropped: dict[str, Counter[str]] = {}
    for part in parts:
        for reason, counts in part["dropped"].items():
            dropped.setdefault(reason, Counter()).update(counts)
    return {
        **{name: parts[0][name] for name in _COMMON},
        "part": None,
        "merged_from": len(parts),
        **{name: sum(part[name] for part in parts) for name in _ADDED},
        "problems": _summed(part["problems"] for part in parts),
        "dropped": {reason: dict(counts) for reason, counts in sorted(dropped.items())},
    }


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return dict(sorted(total.items()))


def _link(source: Path, destination: Path) -> None:
    shutil.copytree(source, destination, copy_function=_link_file)
    sync(destination)


def _link_file(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(source, destination)
        sync(Path(destination))


def _name(part: Mapping[str, int]) -> str:
    return f"{part['index']}/{part['count']}"
