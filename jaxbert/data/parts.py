"""Preparing a corpus in parts, each by another host: who takes what, and what belongs together."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxbert.data.sources.docs import Docs
from jaxbert.data.sources.document import Source
from jaxbert.errors import UserError


@dataclass(frozen=True)
class Part:
    """The part `index` (from 0) of `count` of the sources.

    Where there are at least `count` sources it is a run of whole ones, so that the parts one after
    the other are the corpus; else every `count`-th document of each source.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """From `i/n`."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise UserError(f"--shard {text}: expected i/n with i from 0 to n - 1, such as 0/8")
        return cls(int(index), int(count))

    def choose(self, sources: Sequence[Source]) -> "Share":
        """What of the sources this part is."""
        if len(sources) < self.count:
            return Share(sources, self.index, self.count)
        first, stop = (i * len(sources) // self.count for i in (self.index, self.index + 1))
        return Share(sources[first:stop])


@dataclass(frozen=True)
class Share:
    """Sources, and of each one every `step`-th document from `first` on."""

    sources: Sequence[Source]
    first: int = 0
    step: int = 1


def sources_digest(sources: Sequence[Source], *, with_times: bool = False) -> str:
    """Changes with the names and sizes of the sources, and on request with what may be in them."""
    marks = [[repr(s), s.size, _state(s) if with_times else None] for s in sources]
    return hashlib.sha256(json.dumps(marks).encode()).hexdigest()


def _state(source: Source) -> Any:
    """When a file changed, which versions are installed; None where nothing can be told."""
    if isinstance(source, Docs):
        return source.versions()
    path = source.path
    return path.stat().st_mtime_ns if path is not None and path.exists() else None
