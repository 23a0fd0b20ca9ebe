"""Texts given word by word, with every family's tokenizer, against transformers' own."""

import pytest
from strings import LATIN, ODD, random_strings

from jaxbert.text.tokenizer import Tokenizer, load_tokenizer

MARKERS = ("<mask>", "</s>", "<unk>", "[SEP]", "[MASK]")


def is_word(text: str) -> bool:
    """Whether words have it: markers of a vocabulary stand alone, blanks between words."""
    return not text.startswith(" ") and not any(marker in text for marker in MARKERS)


SENTENCES = [
    [],
    [""],
    ["the", "", "naïve", "\x07", "Dogs"],
    [*LATIN.split(), "中文", "[SEP]", "</s>", "<mask>", "x" * 120],
    [word for word in ODD if is_word(word)],
    *([word for word in text.split() if is_word(word)] for text in random_strings(80, 41)),
]


@pytest.fixture
def ours(published) -> Tokenizer:
    return load_tokenizer(published)


def test_tokens_and_words_are_those_of_transformers(published, ours):
    transformers = pytest.importorskip("transformers")
    is_byte_level = (published / "vocab.json").exists()
    options = {"add_prefix_space": True} if is_byte_level else {}
    theirs = transformers.AutoTokenizer.from_pretrained(published, **options)
    expected = theirs(SENTENCES, is_split_into_words=True)
    for row, found in enumerate(ours.encode_words(SENTENCES)):
        assert found.input_ids.tolist() == expected["input_ids"][row]
        words = [-1 if word is None else word for word in expected.word_ids(row)]
        assert found.words.tolist() == words


def test_words_have_the_pieces_of_a_text(ours):
    words = ["the", "quick", "brown", "Fox", "naïve", "ÜNÏ"]
    [found] = ours.encode_words([words])
    text = " ".join(words)
    if ours.tells_leading_space:
        text = f" {text}"
    assert found.input_ids.tolist() == ours.encode([text])["input_ids"][0].tolist()
    assert sorted(set(found.words.tolist())) == list(range(-1, len(words)))
    assert found.token_type_ids.tolist() == [0] * len(found.words)
