import pytest
from strings import random_strings

from jaxbert.text.sentences import MAX_PIECE, pieces, split_sentences


def without_space(text):
    return "".join(text.split())


def test_abbreviations_do_not_end_sentences():
    text = "Dr. Smith arrived at 3.15 p.m. on Monday.  He left!\n\nA new paragraph? Yes."
    assert split_sentences(text) == [
        "Dr. Smith arrived at 3.15 p.m. on Monday.",
        "He left!",
        "A new paragraph?",
        "Yes.",
    ]


def test_no_character_but_white_space_is_lost():
    for text in random_strings(3000, seed=12):
        sentences = split_sentences(text)
        assert without_space("".join(sentences)) == without_space(text)
        assert all(sentence == sentence.strip() != "" for sentence in sentences)


@pytest.mark.parametrize("space", "\u00a0\u2009\u3000\u2028\u0085")
def test_wide_white_space_after_an_initial_does_not_break_the_segmenter(space):
    text = f"A{space}. \ta21 4{space}A\r\n{space}.] end"
    assert without_space("".join(split_sentences(text))) == without_space(text)


@pytest.mark.parametrize("unit", ["\u201ca. ", "word ", "x", "Dr. ", "a\n\n"])
def test_a_megabyte_without_proper_sentences_loses_nothing(unit):
    text = unit * (10**6 // len(unit))
    assert without_space("".join(split_sentences(text))) == without_space(text)


def test_pieces_join_to_the_text_and_are_cut_at_breaks_first():
    text = ("a" * 9 + " ") * 3 + "b" * 8 + "\n" + "c" * 20
    cut = list(pieces(text, 10))
    assert "".join(cut) == text
    assert cut == ["a" * 9 + " "] * 3 + ["b" * 8 + "\n", "c" * 10, "c" * 10]
    assert list(pieces("short")) == ["short"]
    assert max(map(len, pieces("x y" * 10**5))) <= MAX_PIECE
