"""Documents to token arrays, chunk by chunk, in this process or in several."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import connection
from typing import NamedTuple

import numpy as np

from jaxbert.data.chunks import Chunk
from jaxbert.data.filters import Examined, Examiner, Filters
from jaxbert.data.sources.document import Document
from jaxbert.data.sources.resolve import Sentences
from jaxbert.errors import UserError
from jaxbert.text.sentences import pieces, split_sentences
from jaxbert.text.tokenizer import Tokenizer

_CHUNKS_PER_PROCESS = 3
_LONGEST_SENTENCE = 128
"""Tokens. Text without punctuation would otherwise be one sentence, of which a row shows a part."""


class EncodedDocuments(NamedTuple):
    """Token ids of documents; one without any, or of bad quality, has the length 0."""

    tokens: np.ndarray  # uint16 or uint32 [tokens]
    sentence_lengths: np.ndarray  # int32 [sentences], from 1 to 128
    document_lengths: np.ndarray  # int32 [documents], in sentences
    examined: Examined

    def select(self, is_kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens, sentence and document lengths of some documents: bool [documents]."""
        of_sentences = np.repeat(is_kept, self.document_lengths)
        tokens, sentences = self.tokens, self.sentence_lengths
        if not of_sentences.all():
            tokens, sentences = (
                tokens[np.repeat(of_sentences, sentences)],
                sentences[of_sentences],
            )
        return tokens, sentences, self.document_lengths[is_kept]


@dataclass(frozen=True)
class DocumentEncoder:
    """From documents to token ids; can be sent to another process."""

    tokenizer: Tokenizer
    language: str
    sentences: Sentences
    filters: Filters

    def __call__(self, documents: Sequence[Document]) -> EncodedDocuments:
        """Token ids of documents, sentence by sentence."""
        examined = self._examine(documents)
        texts = [
            document.text if reason is None else ""
            for document, reason in zip(documents, examined.reasons, strict=True)
        ]
        # Byte-level pieces say whether a space was before them: a sentence after another has one.
        space = " " if self.tokenizer.tells_leading_space else ""
        divided = [self._split(text, space) for text in texts]
        counts = np.fromiter(map(len, divided), np.int64, len(divided))
        tokens, lengths = self.tokenizer.encode_flat([s for d in divided for s in d])
        # Control characters alone make a sentence without tokens.
        parts = -(-lengths // _LONGEST_SENTENCE)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(parts)])
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return EncodedDocuments(
            tokens.astype(np.uint16 if self.tokenizer.vocab_size <= 2**16 else np.uint32),
            _parted(lengths, parts).astype(np.int32),
            np.diff(before[bounds]).astype(np.int32),
            examined,
        )

    @cached_property
    def _examine(self) -> Examiner:
        return Examiner(self.filters)

    def _split(self, text: str, space: str) -> list[str]:
        if self.sentences == "lines":
            # Byte-level tokenizers would make tokens of carriage returns and indentation.
            parts = (part.strip() for line in text.split("\n") for part in pieces(line.strip()))
            found = [part for part in parts if part]
        else:
            found = split_sentences(text, self.language)
        return found[:1] + [space + sentence for sentence in found[1:]]


def _parted(lengths: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Every length in so many parts of the same length, or one more: [sum of parts]."""
    first = np.cumsum(parts) - parts
    number = np.arange(parts.sum()) - np.repeat(first, parts)
    whole, parts = np.repeat(lengths, parts), np.repeat(parts, parts)
    return whole // parts + (number < whole % parts)


def encode_chunks(
    chunks: Iterable[Chunk], encoder: DocumentEncoder, processes: int
) -> Iterator[tuple[Chunk, EncodedDocuments]]:
    """Encode chunks in order.

    At most three chunks a process are on their way at a time, so memory does not grow with the
    corpus. The result does not depend on `processes`.
    """
    if processes == 1:
        for chunk in chunks:
            yield chunk, encoder(chunk.documents)
        return
    # Not fork: the threads of the tokenizer and of JAX do not survive it.
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start_worker, (encoder,)
    ) as pool:
        try:
            yield from _in_order(chunks, pool, processes * _CHUNKS_PER_PROCESS)
        except BrokenProcessPool:
            raise UserError(
                "prepare: a worker process was killed, most likely for want of memory;"
                " use fewer --processes"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_order(
    chunks: Iterable[Chunk], pool: ProcessPoolExecutor, limit: int
) -> Iterator[tuple[Chunk, EncodedDocuments]]:
    under_way: deque[tuple[Chunk, Future[EncodedDocuments]]] = deque()
    for chunk in chunks:
        under_way.append((chunk, pool.submit(_work, chunk.documents)))
        while len(under_way) >= limit or (under_way and under_way[0][1].done()):
            first, future = under_way.popleft()
            yield first, future.result()
    while under_way:
        first, future = under_way.popleft()
        yield first, future.result()


_encoder: DocumentEncoder


def _start_worker(encoder: DocumentEncoder) -> None:
    global _encoder
    _encoder = encoder
    # The processes are the parallelism; threads inside each would only compete.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Ctrl-C goes to the whole group: the parent answers it for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker waits on a pipe that it holds open itself, so it would outlive a killed parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _work(documents: Sequence[Document]) -> EncodedDocuments:
    return _encoder(documents)
