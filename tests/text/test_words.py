import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from jaxbert.text.tokenizer import load_tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_unigram
from jaxbert.text.words import continues_word


def by_token(tokenizer):
    return dict(zip(tokenizer.vocab(), tokenizer.is_continuation().tolist(), strict=True))


def words(tokenizer, text):
    """The pieces of a text, gathered into words."""
    vocab, continues = tokenizer.vocab(), tokenizer.is_continuation()
    gathered = []
    for token_id in tokenizer.encode_plain([text])[0]:
        if continues[token_id] and gathered:
            gathered[-1] += vocab[token_id]
        else:
            gathered.append(vocab[token_id])
    return gathered


@pytest.fixture(scope="module")
def byte_level(texts):
    return train_byte_level_bpe(texts, 400)


@pytest.fixture(scope="module")
def albert(sentencepiece_models, tmp_path_factory):
    file = tmp_path_factory.mktemp("albert") / "spiece.model"
    file.write_bytes(sentencepiece_models["albert"].read_bytes())
    return load_tokenizer(file)


def test_byte_level_words_begin_at_spaces_and_lone_punctuation(byte_level):
    assert words(byte_level, " zebras, zoo. \n naïve") == [
        "Ġzebras",
        ",",
        "Ġzoo",
        ".",
        "Ġ",
        "Ċ",
        "ĠnaÃ¯ve",
    ]


def test_the_first_word_of_a_text_looks_like_a_continuation_without_a_prefix(byte_level):
    first = byte_level.encode_plain(["zebra"])[0]
    assert byte_level.is_continuation()[first].all()


def test_special_and_unused_ids_continue_nothing(byte_level):
    continues = by_token(byte_level)
    assert not any(continues[token] for token in ("<s>", "</s>", "<mask>", "<pad>", "<unk>"))


def test_unigram_words_begin_at_marks_punctuation_and_chinese(albert):
    assert words(albert, "The lazy runner, (running).") == [
        "▁the",
        "▁lazy",
        "▁runner",
        ",",
        "(",
        "▁running",
        ")",
        ".",
    ]
    assert not by_token(albert)["[MASK]"]


def test_a_piece_of_chinese_begins_a_word_and_one_of_japanese_does_not():
    pieces = ["?", "▁", "中文", "カタ", "ing", "…", "…a", "▁the"]
    backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], 0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    assert continues_word(backend, pieces).tolist() == [
        False,
        False,
        False,
        True,
        True,
        False,
        True,
        False,
    ]


def test_an_added_word_continues_nothing():
    backend = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel()])
    backend.add_tokens([AddedToken("word"), AddedToken("  ", normalized=False)])
    assert continues_word(backend, ["a", "b", "word", "  "]).tolist() == [True, True, False, False]


@pytest.mark.parametrize("family", ["albert", "deberta-v2", "xlm-roberta"])
def test_most_pieces_of_a_trained_vocabulary_are_of_either_kind(texts, family):
    continues = train_unigram(texts, 700, family=family).is_continuation()
    assert 20 < continues.sum() < len(continues) - 20
