"""Windows of words against a search over all windows, word by word."""

import random

import numpy as np
import pytest

from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.data.word_windows import WordWindows, word_windows
from jaxbert.errors import UserError
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece

WORDS = ["the", "cat", "unbelievable", "x", "", "\x07", "dogs", "thecatdogs", "ab1c"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(["the cat dogs abc " * 3, "x y z 1"], 60, lowercase=True)


def sentences(seed: int, number: int = 25) -> list[list[str]]:
    rng = random.Random(seed)
    return [rng.choices(WORDS, k=rng.choice((0, 1, 3, 9, 30))) for _ in range(number)]


def expected_places(
    tokenizer: Tokenizer, texts: list[list[str]], found: WordWindows, room: int, stride: int
) -> list[tuple[int, int]]:
    """Where each word begins, from the definition: a loop over words and over windows."""
    places, example = [], 0
    for words in texts:
        pieces = [len(tokenizer.encode_plain([word])[0]) for word in words]
        begins = np.cumsum([0, *pieces])
        total, starts = int(begins[-1]), [0]
        while starts[-1] + room < total:
            starts.append(starts[-1] + room - stride)
        for begin, size in zip(begins, pieces, strict=False):
            best = None
            for number, start in enumerate(starts):
                stop = min(start + room, total)
                if not (size and start <= begin < stop):
                    continue
                left = np.inf if start == 0 else begin - start
                right = np.inf if stop == total else stop - (begin + size)
                if best is None or min(left, right) > best[0]:
                    best = min(left, right), example + number, int(begin) - start + 1
            places.append((-1, -1) if best is None else best[1:])
        example += len(starts)
    assert example == len(found.input_ids)
    return places


@pytest.mark.parametrize(("length", "stride"), [(9, 0), (10, 3), (16, None), (400, None)])
def test_every_word_counts_once_where_it_has_most_context(tokenizer, length, stride):
    texts = sentences(seed=length)
    windows = None if stride is None else WindowConfig(stride)
    found = word_windows(tokenizer, texts, Reading(length, windows=windows))
    share = (length - 2) // 4 if stride is None else stride
    expected = expected_places(tokenizer, texts, found, length - 2, share)
    assert [tuple(place) for place in found.places.tolist()] == expected
    assert max(map(len, found.input_ids)) <= length
    counted = np.concatenate(found.words)
    began = np.flatnonzero(found.places[:, 0] >= 0)
    assert sorted(set(counted[counted >= 0].tolist())) == began.tolist()
    for word in began:
        example, token = found.places[word]
        assert found.words[example][token] == word
        assert all((row != word).all() for n, row in enumerate(found.words) if n != example)


def test_a_word_without_pieces_and_a_sentence_without_words_have_no_token(tokenizer):
    found = word_windows(tokenizer, [["the", "\x07"], []], Reading(8))
    assert found.firsts.tolist() == [0, 2, 2]
    assert found.places.tolist() == [[0, 1], [-1, -1]]
    assert [row.tolist() for row in found.words] == [[-1, 0, -1], [-1, -1]]


def test_no_sentences_give_no_windows(tokenizer):
    assert word_windows(tokenizer, [], Reading(8)).input_ids == []


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        (Reading(8, truncation="tail"), "truncation=tail: every word has a tag"),
        (Reading(2), "max_seq_length=2 leaves no room for words"),
        (Reading(8, windows=WindowConfig(6)), "take a smaller stride"),
    ],
)
def test_what_would_leave_words_out_is_refused(tokenizer, reading, message):
    with pytest.raises(UserError, match=message):
        word_windows(tokenizer, [["cat"] * 9], reading)
