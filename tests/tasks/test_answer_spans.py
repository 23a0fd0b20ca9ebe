"""The best spans against all spans, walked one by one as run_qa.py of transformers does."""

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from jaxbert.tasks.answer_spans import ContextTokens, best_spans


def run_qa(
    windows: list[ContextTokens], starts: Any, ends: Any, n_best: int, longest: int
) -> tuple[list[tuple[int, int]], list[float], float]:
    """Its loops over the `n_best` best starts and ends; a span of two windows is listed once."""
    found, null = [], np.inf
    for (columns, offsets), start, end in zip(windows, starts, ends, strict=True):
        null = min(null, float(start[0]) + float(end[0]))
        places = dict(zip(columns.tolist(), offsets.tolist(), strict=True))
        for first in np.argsort(start)[-1 : -n_best - 1 : -1].tolist():
            for last in np.argsort(end)[-1 : -n_best - 1 : -1].tolist():
                if first not in places or last not in places:
                    continue
                if last < first or last - first + 1 > longest:
                    continue
                score = float(start[first]) + float(end[last])
                found.append((score, (places[first][0], places[last][1])))
    found.sort(key=lambda item: -item[0])
    spans, scores = [], []
    for score, span in found:
        if span not in spans:
            spans.append(span)
            scores.append(score)
    return spans[:n_best], scores[:n_best], null


def drawn(seed: int) -> tuple[list[ContextTokens], list[np.ndarray], list[np.ndarray]]:
    """Windows of 5 to 20 tokens over one context, some without any token of it."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 6, 40)
    stops = np.cumsum(lengths)
    offsets = np.stack([stops - lengths + generator.integers(0, 2, 40) * (lengths > 1), stops], 1)
    windows, starts, ends = [], [], []
    for number in range(generator.integers(1, 4)):
        asked, size = generator.integers(2, 5), generator.integers(0, 15)
        part = offsets[number * 9 : number * 9 + size].astype(np.int32)
        columns = np.arange(asked, asked + len(part), dtype=np.int32)
        windows.append(ContextTokens(columns, part))
        for logits in (starts, ends):
            logits.append(generator.normal(size=asked + len(part) + 1).astype(np.float32) * 3)
    return windows, starts, ends


@pytest.mark.parametrize("longest", [1, 4, 30])
def test_the_best_spans_are_those_of_the_loops(longest: int):
    several = 0
    for seed in range(60):
        windows, starts, ends = drawn(seed)
        spans, scores, null = run_qa(windows, starts, ends, 100, longest)
        for count in (1, 7):
            found = best_spans(windows, starts, ends, count=count, max_tokens=longest)
            assert [tuple(span) for span in found.characters.tolist()] == spans[:count]
            assert found.scores.tolist() == scores[:count]
            assert found.no_answer == null
            assert found.no_answer_excess == (null - scores[0] if scores else np.inf)
            several += len(windows) > 1 and len(found.scores) == count
    assert several > 20


def test_probabilities_are_a_softmax_with_and_without_no_answer():
    found = best_spans(*drawn(3), count=5, max_tokens=8)
    np.testing.assert_allclose(found.probabilities(with_no_answer=False), softmax(found.scores))
    everything = [*found.scores, found.no_answer]
    np.testing.assert_allclose(found.probabilities(with_no_answer=True), softmax(everything))


def test_a_context_without_tokens_has_no_spans():
    nothing = ContextTokens(np.zeros(0, np.int32), np.zeros((0, 2), np.int32))
    found = best_spans([nothing], [np.ones(4)], [np.ones(4)], count=5, max_tokens=8)
    assert found.characters.shape == (0, 2)
    assert found.probabilities(with_no_answer=False).tolist() == []
    assert found.probabilities(with_no_answer=True).tolist() == [1.0]


def test_pieces_of_one_character_take_no_place_from_other_answers():
    # Bytes of two letters, three tokens each, and of the space between them, which is no answer.
    offsets = np.array([[0, 1]] * 3 + [[1, 1]] + [[2, 3]] * 3, np.int32)
    context = ContextTokens(np.arange(1, 8, dtype=np.int32), offsets)
    start = np.array([0, 9, 9, 9, 20, 1, 1, 1, 0.0])
    end = np.array([0, 9, 9, 9, 20, 1, 1, 1, 0.0])
    found = best_spans([context], [start], [end], count=3, max_tokens=30)
    assert found.characters.tolist() == [[0, 1], [0, 3], [2, 3]]
    assert found.scores.tolist() == [18, 10, 2]
