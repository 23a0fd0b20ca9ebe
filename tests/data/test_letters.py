"""Places of tokens as whole letters, against walking over the characters."""

import random
import unicodedata

import numpy as np
import pytest

from jaxbert.data.letters import whole_letters

LETTERS = ["a", "b", "e\u0301", "e\u0301\u0323", "\u0926\u0940", "\u1100\u1161\u11a8", " ", "\t"]


def by_walking(text: str, offsets: list[tuple[int, int]]) -> list[list[int]]:
    found = []
    for first, last in offsets:
        end = min([start for start, _ in offsets if start >= last], default=len(text))
        while first < last and text[first].isspace():
            first += 1
        while last < end and (
            unicodedata.category(text[last]).startswith("M") or text[last] in "\u1161\u11a8"
        ):
            last += 1
        found.append([first, last])
    return found


def test_tokens_have_their_marks_and_no_space_before_them():
    generator = random.Random(3)
    for _ in range(300):
        text = "".join(generator.choices(LETTERS, k=generator.randint(0, 12)))
        places = [n for n in range(len(text)) if generator.random() < 0.7]
        offsets = [(n, min(len(text), n + generator.choice([1, 1, 2]))) for n in places]
        given = np.array(offsets, np.int32).reshape(-1, 2)
        found = whole_letters(text, given)
        assert found.dtype == np.int32
        assert found.tolist() == by_walking(text, offsets)


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("cafe\u0301 x", (0, 4), "cafe\u0301"),
        ("a\u0301", (0, 2), "a\u0301"),
        ("x cat", (1, 5), "cat"),
        ("x  y", (1, 3), ""),
        ("\u1100\u1161\u11a8 x", (0, 1), "\u1100\u1161\u11a8"),
        ("cat s", (0, 3), "cat"),
    ],
)
def test_a_token(text: str, offset: tuple[int, int], expected: str):
    ((first, last),) = whole_letters(text, np.array([offset], np.int32)).tolist()
    assert text[first:last] == expected
