"""Truncation and windows token by token, and answers against a walk over characters."""

import random

import numpy as np
import pytest

from jaxbert.data.reading import Reading, WindowConfig, encode, usual_length
from jaxbert.data.truncation import truncated
from jaxbert.data.windows import answer_labels, answer_tokens, windows
from jaxbert.errors import UserError
from jaxbert.text.encoded_text import EncodedText
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece

TEXT = "the old cat sees a green tree and finds nothing unbelievable straße Ünder 猫"
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece([TEXT] * 3, 90, min_frequency=1)


def made(first: int, second: int | None = None) -> EncodedText:
    """[CLS] 0 1 2 ... [SEP], or with a second member, 100 101 ... [SEP]."""
    members = [-1, *[0] * first, -1] + ([] if second is None else [*[1] * second, -1])
    ids = [-1, *range(first), -1] + ([] if second is None else [*range(100, 100 + second), -1])
    offsets = np.zeros((len(ids), 2), np.int32)
    return EncodedText(np.array(ids), np.array(members), np.array(members), offsets)


def kept(text: EncodedText, length: int, how: str, share: float = 0.25) -> list[list[int]]:
    found = truncated(text, length, how, share)
    assert (found.members < 0).sum() == (text.members < 0).sum()
    assert len(found.input_ids) == min(length, len(text.input_ids))
    return [found.input_ids[found.members == member].tolist() for member in (0, 1)]


def test_head_tail_of_512_is_128_and_382_as_published():
    (found, _) = kept(made(1000), 512, "head_tail")
    assert found == [*range(128), *range(1000 - 382, 1000)]


def test_head_and_tail_are_the_ends():
    assert kept(made(10), 6, "head")[0] == [0, 1, 2, 3]
    assert kept(made(10), 6, "tail")[0] == [6, 7, 8, 9]
    assert kept(made(10), 7, "head_tail", 0.6)[0] == [0, 1, 2, 8, 9]
    for how in ("head", "tail", "head_tail"):
        assert kept(made(4), 6, how)[0] == [0, 1, 2, 3]
        assert kept(made(0), 6, how)[0] == []


@pytest.mark.parametrize("length", [5, 8, 11, 64])
def test_the_head_of_a_pair_is_what_the_tokenizer_keeps(tokenizer: Tokenizer, length: int):
    generator = random.Random(length)
    texts, pairs = (
        [" ".join(generator.choices(WORDS, k=generator.randrange(12))) for _ in range(60)]
        for _ in range(2)
    )
    for second in (None, pairs):
        expected = tokenizer.encode(texts, second, max_length=length, padding=False)
        for row, text in enumerate(tokenizer.encode_whole(texts, second)):
            found = truncated(text, length, "head", 0.25)
            assert found.input_ids.tolist() == expected["input_ids"][row].tolist()
            assert found.token_type_ids.tolist() == expected["token_type_ids"][row].tolist()


def test_a_reading_cuts_as_it_says(tokenizer: Tokenizer):
    texts = [" ".join(WORDS * 3), "the cat"]
    for how, share in (("tail", 0.25), ("head_tail", 0.25), ("head_tail", 0.6)):
        found = encode(tokenizer, texts, None, Reading(12, how, share))["input_ids"]
        whole = tokenizer.encode_whole(texts, None)
        expected = [truncated(text, 12, how, share).input_ids.tolist() for text in whole]
        assert [ids.tolist() for ids in found] == expected


@pytest.mark.parametrize(("room", "stride"), [(1, 0), (4, 0), (4, 1), (4, 3), (7, 2)])
def test_windows_walk_over_the_text(room: int, stride: int):
    for size in range(30):
        found = [made(size).input_ids[places] for places in windows(made(size), room + 2, stride)]
        expected, start = [], 0
        while True:
            expected.append([-1, *range(start, min(start + room, size)), -1])
            if start + room >= size:
                break
            start += room - stride
        assert [row.tolist() for row in found] == expected


def test_windows_of_a_pair_repeat_the_first_text():
    text = made(2, 5)
    found = [text.input_ids[places].tolist() for places in windows(text, 8, 1)]
    assert found == [
        [-1, 0, 1, -1, 100, 101, 102, -1],
        [-1, 0, 1, -1, 102, 103, 104, -1],
    ]
    with pytest.raises(UserError, match=r"room for 0 of the long text beside 8 others"):
        windows(made(5, 5), 8, 0)


def test_a_stride_that_leaves_nothing_new_is_refused():
    assert len(windows(made(4), 6, 4)) == 1
    with pytest.raises(UserError, match=r"room for 4 .* stride=4 are to overlap: take a smaller"):
        windows(made(5), 6, 4)


def test_a_text_that_windows_have_no_room_for_is_called_by_its_place(tokenizer: Tokenizer):
    texts, pairs = ["cat", " ".join(WORDS)], [" ".join(WORDS * 2)] * 2
    reading = Reading(12, windows=WindowConfig(stride=2))
    with pytest.raises(UserError, match=r"^text 2: a window of 12 tokens has room for 0"):
        encode(tokenizer, texts, pairs, reading)
    with pytest.raises(UserError, match=r"^a.tsv:7: a window of 12 tokens has room for 0"):
        encode(tokenizer, texts, pairs, reading, ("a.tsv:5", "a.tsv:7").__getitem__)


def test_every_text_weighs_the_same_however_many_windows_it_has(tokenizer: Tokenizer):
    texts = [" ".join(WORDS * 3), "", "cat", " ".join(WORDS)]
    found = encode(tokenizer, texts, None, Reading(8, windows=WindowConfig(stride=2)))
    totals = np.bincount(found["document_ids"], weights=found["weights"])
    np.testing.assert_allclose(totals, totals[0], rtol=1e-6)
    assert found["weights"].mean() == pytest.approx(1)
    assert np.unique(found["document_ids"]).tolist() == [0, 1, 2, 3]
    assert max(map(len, found["input_ids"])) == 8
    assert [len(row) for row in found["input_ids"]][-1] <= 8
    alone = encode(tokenizer, texts[2:3], None, Reading(8))["input_ids"][0]
    (cat,) = np.flatnonzero(found["document_ids"] == 2)
    assert found["input_ids"][cat].tolist() == alone.tolist()


def by_walking(text: EncodedText, member: int, start: int, stop: int) -> list[int]:
    """Tokens of the context that share a character with [start, stop)."""
    return [
        token
        for token, (first, last) in enumerate(text.offsets.tolist())
        if text.members[token] == member and set(range(first, last)) & set(range(start, stop))
    ]


@pytest.mark.parametrize("question", [None, "what sees the cat"])
def test_answers_are_found_in_windows_and_lead_back_to_the_text(tokenizer, question):
    generator = random.Random(5)
    there = 0
    for _ in range(60):
        words = generator.choices(WORDS, k=generator.randint(1, 20))
        context = generator.choice([" ", "  ", "\t"]).join(words)
        first = generator.randrange(len(words))
        chosen = words[first : generator.randint(first, len(words)) + 1]
        start = context.index(words[first])
        stop = min(start + generator.randint(1, len(" ".join(chosen))), len(context))
        texts = [question or context], None if question is None else [context]
        (text,) = tokenizer.encode_whole(*texts)
        tokens = by_walking(text, 0 if question is None else 1, start, stop)
        answer = answer_tokens(text, start, stop)
        assert answer == (tokens[0], tokens[-1])
        for places in windows(text, 16, 3):
            window = text.take(places)
            labels = answer_labels(places, answer)
            if not set(tokens) <= set(places.tolist()):
                assert labels == (0, 0)
                continue
            there += 1
            assert [places[label] for label in labels] == [tokens[0], tokens[-1]]
            (first, _), (_, last) = window.offsets[list(labels)]
            assert context[start:stop].strip() in context[first:last]
    assert there > 20


def test_what_is_no_answer_has_no_tokens(tokenizer: Tokenizer):
    (text,) = tokenizer.encode_whole(["the cat"], ["a green tree"])
    assert answer_tokens(text, 1, 2) is None
    assert answer_labels(np.arange(len(text.input_ids)), None) == (0, 0)


def test_the_usual_length_is_that_of_95_in_100():
    assert usual_length([*range(1, 101)]) == 96
    assert usual_length([5]) == 8
    assert usual_length([64] * 95 + [500] * 5) == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_share": 1.0}, "head_share=1.0: must be between"),
        ({"truncation": "tail", "windows": WindowConfig()}, "truncation=tail a part: drop one"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Reading(64, **options)
    with pytest.raises(UserError, match="stride=-1: must be at least 0"):
        WindowConfig(stride=-1)
