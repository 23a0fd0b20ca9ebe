"""Offsets and overlapping windows of every family's tokenizer against transformers' own."""

import pytest
from strings import ODD, random_strings

from jaxbert.data.windows import windows
from jaxbert.text.tokenizer import load_tokenizer

transformers = pytest.importorskip("transformers")

STRINGS = ["", " ", "  two  spaces ", *ODD, *random_strings(300, seed=31)]
PAIRS = random_strings(len(STRINGS), seed=32)
LONG = [" ".join(random_strings(8, seed)) for seed in range(60)]
# Beside the first text there must be room for windows of the second.
QUESTIONS = ["", "the", "Ünïcödé"] * 20


def assert_equal(ours, theirs, row):
    assert ours.input_ids.tolist() == theirs["input_ids"][row]
    assert [tuple(pair) for pair in ours.offsets.tolist()] == theirs["offset_mapping"][row]
    members = [-1 if member is None else member for member in theirs.sequence_ids(row)]
    assert ours.members.tolist() == members


@pytest.mark.parametrize("pairs", [None, PAIRS])
def test_offsets_are_those_of_transformers(published, pairs):
    theirs = transformers.AutoTokenizer.from_pretrained(published)
    expected = theirs(STRINGS, pairs, return_offsets_mapping=True)
    for row, text in enumerate(load_tokenizer(published).encode_whole(STRINGS, pairs)):
        assert_equal(text, expected, row)


@pytest.mark.parametrize(("is_pair", "length", "stride"), [(0, 9, 3), (0, 24, 0), (1, 20, 7)])
def test_windows_are_those_of_transformers(published, is_pair, length, stride):
    ours, theirs = (
        load_tokenizer(published),
        transformers.AutoTokenizer.from_pretrained(published),
    )
    inputs = (QUESTIONS, LONG) if is_pair else (LONG, None)
    expected = theirs(
        *inputs,
        max_length=length,
        stride=stride,
        truncation="only_second" if is_pair else True,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    found = [
        (row, text.take(places))
        for row, text in enumerate(ours.encode_whole(*inputs))
        for places in windows(text, length, stride)
    ]
    assert len(found) > 2 * len(LONG)
    assert [row for row, _ in found] == expected["overflow_to_sample_mapping"]
    for number, (_, window) in enumerate(found):
        # Theirs takes the first token of every window for the first of the text, where byte-level
        # tokenizers may have added a space that is not there.
        first = window.members.tolist().index(is_pair)
        expected["offset_mapping"][number][first] = tuple(window.offsets[first].tolist())
        assert_equal(window, expected, number)
