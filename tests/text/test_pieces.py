import pytest
import tokenizers
from strings import random_strings

from jaxbert.text import pieces
from jaxbert.text.pieces import BatchEncoder


def directly(backend, texts):
    plain = tokenizers.Tokenizer.from_str(backend.to_str())
    plain.encode_special_tokens = True
    return [encoding.ids for encoding in plain.encode_batch(texts, add_special_tokens=False)]


def as_lists(encoded):
    tokens, lengths = encoded
    ends = lengths.cumsum()
    return [tokens[end - n : end].tolist() for end, n in zip(ends, lengths, strict=True)]


def test_cached_words_give_the_ids_of_whole_texts(tokenizer):
    texts = random_strings(3000, seed=11)
    encoder = BatchEncoder(tokenizer.backend)
    assert as_lists(encoder.encode(texts)) == directly(tokenizer.backend, texts)
    assert as_lists(encoder.encode(texts[::-1])) == directly(tokenizer.backend, texts[::-1])


def test_a_full_cache_starts_anew(tokenizer, monkeypatch):
    monkeypatch.setattr(pieces, "_MAX_CACHED_CHUNKS", 10)
    encoder = BatchEncoder(tokenizer.backend)
    for seed in range(5):
        texts = random_strings(20, seed=seed)
        assert as_lists(encoder.encode(texts)) == directly(tokenizer.backend, texts)
        assert len(encoder._rows) < 10 + 20 * 60


def test_after_a_text_that_is_refused_others_are_whole(tokenizer):
    encoder = BatchEncoder(tokenizer.backend)
    with pytest.raises(TypeError):
        encoder.encode(["the quick \ud800 fox"])
    texts = ["the quick fox", "quick"]
    assert as_lists(encoder.encode(texts)) == directly(tokenizer.backend, texts)


def test_no_texts_give_no_tokens(tokenizer):
    tokens, lengths = BatchEncoder(tokenizer.backend).encode([])
    assert (len(tokens), len(lengths)) == (0, 0)


@pytest.mark.parametrize("blank", [[""], ["", ""], [" \n", "the fox", ""]])
def test_empty_texts_keep_their_places(tokenizer, blank):
    assert as_lists(BatchEncoder(tokenizer.backend).encode(blank)) == directly(
        tokenizer.backend, blank
    )


def test_a_tokenizer_that_looks_across_words_is_not_cached(texts):
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="?"))
    backend.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(show_progress=False))
    encoder = BatchEncoder(backend)
    assert as_lists(encoder.encode(texts[:50])) == directly(backend, texts[:50])
    assert not encoder._rows


def test_an_added_word_with_a_space_is_found(tokenizer):
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_tokens(["quick brown"])
    ids = as_lists(BatchEncoder(backend).encode(["the quick brown fox"]))
    assert backend.token_to_id("quick brown") in ids[0]
