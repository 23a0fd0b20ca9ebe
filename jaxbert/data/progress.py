"""How far a store has come: what went into it, and what to go on from after an interruption."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from jaxbert.data.chunks import Chunk, Position
from jaxbert.data.encode import EncodedDocuments
from jaxbert.data.filters import Filters, Seen
from jaxbert.data.partial import PartialStore
from jaxbert.data.problems import PROBLEMS, Problem, Problems
from jaxbert.data.sources.document import utf8_size
from jaxbert.data.writer import StoreWriter

_COUNTS = ("documents", "sentences", "tokens", "text_bytes", "unknown")


@dataclass
class Dropped:
    """What a filter dropped for one reason; `text_bytes` is UTF-8."""

    documents: int = 0
    text_bytes: int = 0


@dataclass
class Summary:
    """What a store was made of; `text_bytes` is UTF-8, `unknown` counts [UNK].

    `dropped` is by reason; all else but `problems` is of what was kept.
    """

    vocab_size: int
    documents: int = 0
    sentences: int = 0
    tokens: int = 0
    text_bytes: int = 0
    unknown: int = 0
    dropped: dict[str, Dropped] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)


class Progress:
    """Takes encoded chunks into a store; after every finished shard it notes how to go on."""

    def __init__(
        self, partial: PartialStore, writer: StoreWriter, filters: Filters, unknown_id: int | None
    ):
        self._partial, self._writer, self._unknown_id = partial, writer, unknown_id
        self._noted = len(writer.finished)
        state = partial.journal.state if partial.journal else {}
        self.position = Position(*state.get("position", ()))
        self._log = _text_of_size(partial.directory / PROBLEMS, state.get("log_bytes", 0))
        self._seen = Seen(filters, partial.notes, state.get("seen_bytes", (0, 0)))
        self.summary = _restored(writer.vocab_size, Problems(self._log), state)
        self._remembers = filters.exact_duplicates or filters.near_duplicates is not None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def append(self, chunk: Chunk, encoded: EncodedDocuments) -> int:
        """Store what is to be kept of a chunk; how many bytes of text it had."""
        summary = self.summary
        summary.problems.extend(chunk.problems)
        sizes = np.array([utf8_size(d.text) for d in chunk.documents], np.int64)
        is_kept = self._is_kept(chunk, encoded, sizes)
        tokens, sentence_lengths, document_lengths = encoded.select(is_kept)
        self._writer.append_arrays(tokens, sentence_lengths, document_lengths)
        summary.documents += len(document_lengths)
        summary.sentences += len(sentence_lengths)
        summary.tokens += len(tokens)
        summary.text_bytes += int(sizes[is_kept].sum())
        summary.unknown += int(np.count_nonzero(tokens == self._unknown_id))
        self.position = chunk.end
        if len(self._writer.finished) > self._noted:
            self._note()
        return int(sizes.sum())

    def finish(self, description: Mapping[str, Any]) -> Summary:
        """Make the store whole."""
        # So that nothing is done again where the store cannot be moved to its path.
        self._writer.end_shard()
        self._note()
        self._close()
        summary = self.summary
        self._writer.finish(
            {
                **description,
                "text_bytes": summary.text_bytes,
                "unknown_tokens": summary.unknown,
                "problems": dict(sorted(summary.problems.counts.items())),
                "dropped": {k: asdict(v) for k, v in sorted(summary.dropped.items())},
            }
        )
        return summary

    def _is_kept(self, chunk: Chunk, encoded: EncodedDocuments, sizes: np.ndarray) -> np.ndarray:
        """Decides in the order of the corpus: bool [documents]."""
        has_tokens = encoded.document_lengths > 0
        is_kept = has_tokens.copy()
        asked = range(len(sizes)) if self._remembers else np.flatnonzero(~has_tokens).tolist()
        for index in asked:
            document = chunk.documents[index]
            reason = encoded.examined.reasons[index]
            if reason is None and has_tokens[index]:
                reason = self._seen(encoded.examined, index)
            if reason is not None:
                is_kept[index] = False
                dropped = self.summary.dropped.setdefault(reason, Dropped())
                dropped.documents += 1
                dropped.text_bytes += int(sizes[index])
                self.summary.problems.write(
                    Problem("dropped", document.file, document.line, reason)
                )
            elif not has_tokens[index]:
                detail = "no tokens in its text"
                self.summary.problems.add("empty document", document.file, document.line, detail)
        return is_kept

    def _note(self) -> None:
        self._noted = len(self._writer.finished)
        self._log.flush()
        os.fsync(self._log.fileno())
        summary = self.summary
        state = {
            "position": self.position,
            "log_bytes": os.fstat(self._log.fileno()).st_size,
            "seen_bytes": self._seen.flush(),
            "counts": {name: getattr(summary, name) for name in _COUNTS},
            "dropped": {reason: asdict(of) for reason, of in summary.dropped.items()},
            "problems": summary.problems.state(),
        }
        self._partial.note([asdict(shard) for shard in self._writer.finished], state)

    def _close(self) -> None:
        self._log.close()
        self._seen.close()


def _text_of_size(path: Path, size: int) -> IO[str]:
    """A file of JSON cut to a size, to be gone on with.

    Names of files may hold what is no Unicode, which is written as JSON's own escapes.
    """
    path.touch()
    os.truncate(path, size)
    return open(path, "a", encoding="utf-8", errors="backslashreplace")


def _restored(vocab_size: int, problems: Problems, state: Mapping[str, Any]) -> Summary:
    if not state:
        return Summary(vocab_size, problems=problems)
    problems.restore(state["problems"])
    dropped = {reason: Dropped(**of) for reason, of in state["dropped"].items()}
    return Summary(vocab_size, **state["counts"], dropped=dropped, problems=problems)
