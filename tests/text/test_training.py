import json
import subprocess
import sys

import pytest
from strings import random_strings

from jaxbert.errors import UserError
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_unigram, train_wordpiece

STRINGS = random_strings(150, seed=41)
TRAIN = """
import sys
from jaxbert.text import training
texts = sys.stdin.read().split("\\x1e")
print(training.{call}.backend.to_str())
"""
CALLS = [
    "train_wordpiece(texts, 1100)",
    "train_byte_level_bpe(texts, 700)",
    "train_unigram(texts, 700)",
    "train_unigram(texts, 700, family='deberta-v2', lowercase=False)",
]


def trained(texts):
    return {
        "mpnet": train_wordpiece(texts, 1200, family="mpnet"),
        "roberta": train_byte_level_bpe(texts, 500),
        "modernbert": train_byte_level_bpe(texts, 500, family="modernbert"),
        "deberta": train_byte_level_bpe(texts, 500, family="deberta"),
        "albert": train_unigram(texts, 700),
        "deberta-v2": train_unigram(texts, 700, family="deberta-v2", lowercase=False),
        "xlm-roberta": train_unigram(texts, 700, family="xlm-roberta"),
    }


@pytest.fixture(scope="module")
def tokenizers_by_family(texts):
    return trained(texts)


@pytest.mark.parametrize("call", CALLS)
def test_training_is_the_same_in_every_process(texts, call):
    stdin = "\x1e".join(text for text in texts if "\x1e" not in text).encode("utf-8", "replace")
    command = [sys.executable, "-X", "utf8", "-c", TRAIN.format(call=call)]
    runs = [
        subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout
        for _ in range(3)
    ]
    assert len(set(runs)) == 1
    assert len(json.loads(runs[0])["model"]["vocab"]) > 600


FIRST = {
    "mpnet": ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"],
    "roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    "modernbert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "deberta": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
    "albert": ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"],
    "deberta-v2": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "xlm-roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
}


@pytest.mark.parametrize("family", FIRST)
def test_special_tokens_come_first_and_stand_for_their_space(tokenizers_by_family, family):
    tokenizer = tokenizers_by_family[family]
    assert tokenizer.vocab()[:5] == FIRST[family]
    assert tokenizer.special_ids == {0, 1, 2, 3, 4}
    assert len(set(tokenizer.vocab())) == tokenizer.vocab_size
    mask = tokenizer.special_token("mask_token")
    with_mask = tokenizer.encode([f"the {mask} fox"])["input_ids"][0].tolist()
    the, fox = (tokenizer.encode([text])["input_ids"][0][1:-1].tolist() for text in ("the", " fox"))
    assert with_mask == [tokenizer.cls_id, *the, tokenizer.mask_id, *fox, tokenizer.sep_id]


@pytest.mark.parametrize("family", FIRST)
def test_transformers_loads_what_was_trained_with_the_same_ids(
    tokenizers_by_family, family, tmp_path
):
    transformers = pytest.importorskip("transformers")
    tokenizer = tokenizers_by_family[family]
    save_tokenizer(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    encoded = tokenizer.encode(STRINGS, STRINGS[::-1], padding=False)
    assert [r.tolist() for r in encoded["input_ids"]] == theirs(STRINGS, STRINGS[::-1])["input_ids"]
    again = load_tokenizer(tmp_path)
    assert json.loads(again.backend.to_str()) == json.loads(tokenizer.backend.to_str())


def test_byte_level_bpe_keeps_every_character(tokenizers_by_family):
    for family in ("roberta", "modernbert"):
        tokenizer = tokenizers_by_family[family]
        plain = [text for text in STRINGS if "Ｃ" not in text]
        ids = tokenizer.encode_plain(plain)
        if family == "roberta":
            assert [tokenizer.decode(row) for row in ids] == plain
        assert not any(tokenizer.unk_id in row for row in ids)


def test_common_words_become_one_piece():
    texts = ["a low lower b lowest c new d newer e newest"] * 30
    assert {"Ġlow", "Ġnew", "Ġlowest"} <= set(train_byte_level_bpe(texts, 300).vocab())
    assert {"▁low", "▁new"} <= set(train_unigram(texts, 40).vocab())


def test_training_learns_the_common_words():
    tokenizer = train_wordpiece(["low lower lowest new newer newest"] * 20, 60)
    assert {"low", "lower", "lowest", "new", "newest"} <= set(tokenizer.vocab())
    assert tokenizer.decode(tokenizer.encode_plain(["Newest LOW"])[0]) == "newest low"


def test_lowercasing_follows_the_option(texts):
    upper = [
        train_unigram(texts, 600, lowercase=flag).encode_plain(["FOX"]) for flag in (True, False)
    ]
    lower = [
        train_unigram(texts, 600, lowercase=flag).encode_plain(["fox"]) for flag in (True, False)
    ]
    assert upper[0] == lower[0]
    assert upper[1] != lower[1]


def test_rare_characters_leave_room_for_pieces(monkeypatch, texts):
    monkeypatch.setattr("jaxbert.text.alphabet.ALPHABET_LIMIT", 30)
    tokenizer = train_unigram(texts, 200)
    # 30, the mark of a space, and the quotation mark that two others become.
    assert sum(len(token) == 1 for token in tokenizer.vocab()) == 32
    assert tokenizer.encode_plain(["語"])[0][-1] == tokenizer.unk_id


@pytest.mark.parametrize("train", [train_wordpiece, train_byte_level_bpe, train_unigram])
def test_a_vocabulary_below_its_alphabet_is_refused(texts, train):
    with pytest.raises(UserError, match=r"--vocab-size 50 is below the \d+ special tokens and"):
        train(texts, 50)


@pytest.mark.parametrize("train", [train_wordpiece, train_unigram])
def test_training_on_nothing_is_refused(train):
    with pytest.raises(UserError, match="no text to train it on"):
        train([" ", "\n"], 100)


@pytest.mark.parametrize("train", [train_wordpiece, train_unigram])
def test_training_on_an_iterator_is_refused(train):
    with pytest.raises(TypeError, match="twice"):
        train(iter(["a b c"]), 100)
