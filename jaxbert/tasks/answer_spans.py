"""The best answers to a question among all spans of its windows."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
from numpy.typing import NDArray


class ContextTokens(NamedTuple):
    """Which columns of a window hold the context, and which characters of it they are."""

    columns: NDArray[np.int32]
    offsets: NDArray[np.int32]
    """[columns, 2]: first character, and the one after the last."""


class Spans(NamedTuple):
    """Some spans of a context, the best first, all of them different."""

    characters: NDArray[np.int32]
    """[spans, 2]: first character, and the one after the last."""
    scores: NDArray[np.float64]
    """Logit of the start plus logit of the end."""
    no_answer: float
    """The least such score of a window's [CLS], which stands for no answer there."""

    @property
    def no_answer_excess(self) -> float:
        """How much more no answer scores than the best; infinite where there is none."""
        return self.no_answer - float(self.scores[0]) if len(self.scores) else np.inf

    def probabilities(self, *, with_no_answer: bool) -> NDArray[np.float64]:
        """[spans]: a softmax over these; or [spans + 1], over these and, last, no answer."""
        scores = np.append(self.scores, self.no_answer) if with_no_answer else self.scores
        probabilities: NDArray[np.float64] = (
            scipy.special.softmax(scores) if len(scores) else scores
        )
        return probabilities


def best_spans(
    windows: Sequence[ContextTokens],
    start_logits: Sequence[NDArray[np.floating]],
    end_logits: Sequence[NDArray[np.floating]],
    *,
    count: int,
    max_tokens: int,
) -> Spans:
    """At most `count` spans of at most `max_tokens` tokens of one window each.

    Logits are [tokens], an array a window. Every span is looked at: run_qa.py of transformers
    looks at the spans from its `n_best_size` best starts to as many ends, and lists a span of two
    windows twice.
    """
    characters, scores = [np.zeros((0, 2), np.int32)], [np.zeros(0)]
    for (columns, offsets), start, end in zip(windows, start_logits, end_logits, strict=True):
        # Neither begins nor ends with a token of white space, which has no characters.
        begins = np.where(offsets[:, 0] < offsets[:, 1], start[columns], -np.inf)
        ends = np.where(offsets[:, 0] < offsets[:, 1], end[columns], -np.inf)
        found, values = _best_of_window(offsets, begins, ends, count, max_tokens)
        characters.append(found)
        scores.append(values)
    no_answer = min(
        float(start[0]) + float(end[0]) for start, end in zip(start_logits, end_logits, strict=True)
    )
    spans, totals = np.concatenate(characters), np.concatenate(scores)
    order = np.argsort(-totals, kind="stable")
    _, firsts = np.unique(spans[order], axis=0, return_index=True)
    kept = order[np.sort(firsts)[:count]]
    return Spans(spans[kept], totals[kept], no_answer)


def _best_of_window(
    offsets: NDArray[np.int32],
    start: NDArray[np.floating],
    end: NDArray[np.floating],
    count: int,
    max_tokens: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Spans and scores, `count` different spans among them where there are as many."""
    if not len(start):
        return np.zeros((0, 2), np.int32), np.zeros(0)
    width = min(max_tokens, len(start))
    beyond = np.full(width - 1, -np.inf)
    # [first token, tokens after it]
    ends = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([end.astype(np.float64), beyond]), width
    )
    scores = (start.astype(np.float64)[:, None] + ends).ravel()
    kept = min(count, len(scores))
    while True:
        best = np.argpartition(scores, -kept)[-kept:]
        best = best[scores[best] > -np.inf]
        first, more = np.divmod(best, width)
        spans = np.stack([offsets[first, 0], offsets[first + more, 1]], axis=1)
        # A character may be several tokens, each of which begins and ends the same spans.
        if kept == len(scores) or len(np.unique(spans, axis=0)) >= count:
            return spans, scores[best]
        kept = min(2 * kept, len(scores))
