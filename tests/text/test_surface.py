from jaxbert.text.extend import add_tokens
from jaxbert.text.surface import surfaces
from jaxbert.text.training import train_byte_level_bpe, train_unigram, train_wordpiece

TEXTS = ["the dog runs, the dogs run", "running dogs, thé"] * 3


def test_wordpiece_marks_what_continues():
    tokenizer = add_tokens(train_wordpiece(TEXTS, 60), ["##hash"])
    found = dict(zip(tokenizer.vocab(), surfaces(tokenizer), strict=True))
    assert found["dog"] == ("dog", False)
    assert found["##s"] == ("s", True)
    assert found["[CLS]"] == ("[CLS]", False)
    # An added token stands in text as it is.
    assert found["##hash"] == ("##hash", False)


def test_byte_level_pieces_are_bytes():
    tokenizer = train_byte_level_bpe(TEXTS, 300)
    found = dict(zip(tokenizer.vocab(), surfaces(tokenizer), strict=True))
    assert found["Ġdog"] == ("dog", False)
    assert found["s"] == ("s", True)
    assert found["<s>"] == ("<s>", False)
    # The first byte of é, and a space alone.
    assert found["Ã"].text == found["Ġ"].text == ""


def test_unigram_pieces_begin_with_their_space():
    tokenizer = train_unigram(TEXTS, 40)
    found = dict(zip(tokenizer.vocab(), surfaces(tokenizer), strict=True))
    begins = [token for token in found if token.startswith("▁") and len(token) > 1]
    assert begins
    assert all(found[token] == (token[1:], False) for token in begins)
    assert found["s"] == ("s", True)
