import pytest
from strings import random_strings

from jaxbert.errors import UserError
from jaxbert.text.extend import add_tokens, pieces_of
from jaxbert.text.tokenizer import Tokenizer, save_tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_unigram, train_wordpiece

WORDS = ["CRISPR", "Foxhole", "C++"]
FAMILIES = {
    "bert": train_wordpiece,
    "roberta": train_byte_level_bpe,
    "albert": train_unigram,
    "deberta-v2": lambda texts, size: train_unigram(texts, size, family="deberta-v2"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def old(request, texts) -> Tokenizer:
    return FAMILIES[request.param](texts, 1100)


def pieces(tokenizer, text):
    vocab = tokenizer.vocab()
    return [vocab[i] for i in tokenizer.encode([text])["input_ids"][0][1:-1]]


def test_new_ids_follow_the_old_ones_and_old_text_keeps_its_ids(old):
    new = add_tokens(old, WORDS)
    assert new.vocab() == [*old.vocab(), *WORDS]
    assert new.special_ids == old.special_ids
    assert old.vocab_size == new.vocab_size - 3
    strings = random_strings(300, seed=51)
    assert new.encode_plain(strings) == old.encode_plain(strings)


def test_a_word_is_found_between_word_boundaries_only(old):
    new = add_tokens(old, WORDS)
    ids = [new.backend.token_to_id(word) for word in WORDS]
    assert pieces(new, "the CRISPR Foxhole") == [*pieces(old, "the"), "CRISPR", "Foxhole"]
    assert pieces(new, "CRISPR") == ["CRISPR"]
    for text in ("CRISPRs", "xCRISPR", "C++x"):
        assert not set(ids) & set(new.encode_plain([text])[0])
        assert new.encode_plain([text]) == old.encode_plain([text])


def test_an_uncased_tokenizer_finds_every_spelling(texts):
    new = add_tokens(train_wordpiece(texts, 1100), ["Café-Noir", "CRISPR"])
    assert pieces(new, "cafe-noir, CAFÉ-NOIR crispr (Crispr)") == [
        "Café-Noir",
        ",",
        "Café-Noir",
        "CRISPR",
        "(",
        "CRISPR",
        ")",
    ]
    cased = add_tokens(train_wordpiece(texts, 1100, lowercase=False), ["CRISPR"])
    assert "CRISPR" not in pieces(cased, "crispr Crispr")


def test_pieces_are_those_of_the_word_within_a_text(old):
    framed = old.encode(["the Foxhole"])["input_ids"][0][1:-1].tolist()
    alone = old.encode(["the"])["input_ids"][0][1:-1].tolist()
    assert pieces_of(old, "Foxhole") == framed[len(alone) :]


def test_new_words_begin_words(old):
    new = add_tokens(old, WORDS)
    assert new.is_continuation()[: old.vocab_size].tolist() == old.is_continuation().tolist()
    assert not new.is_continuation()[old.vocab_size :].any()


def test_transformers_loads_the_new_tokenizer_with_the_same_ids(old, tmp_path):
    transformers = pytest.importorskip("transformers")
    new = add_tokens(old, WORDS)
    save_tokenizer(new, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    strings = [
        f"{a} crispr {b} C++, Foxhole {a}" for a in random_strings(60, seed=52) for b in WORDS
    ]
    encoded = new.encode(strings, padding=False)
    assert [row.tolist() for row in encoded["input_ids"]] == theirs(strings)["input_ids"]


@pytest.mark.parametrize(
    ("tokens", "fault"),
    [
        (["CRISPR", "the", "fox"], r"'the' is a token already \(and 1 more\); leave it out"),
        (["[MASK]"], r"'\[MASK\]' is a token already"),
        (["CRISPR", "Crispr"], r"'CRISPR' is given twice; leave it out"),
        (["CRISPR", " \n"], r"' \\n' holds no text"),
    ],
)
def test_tokens_that_are_none_are_refused(texts, tokens, fault):
    with pytest.raises(UserError, match=fault):
        add_tokens(train_wordpiece(texts, 1100), tokens)


def test_gaps_among_the_ids_are_refused(texts):
    whole = train_wordpiece(["low lower"] * 9, 40)
    state = whole.backend.to_str().replace('"##w":', '"##w":9')
    gapped = Tokenizer(type(whole.backend).from_str(state), whole.config)
    with pytest.raises(UserError, match="gaps among"):
        add_tokens(gapped, ["CRISPR"])
