import numpy as np
import pytest

from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
from jaxbert.data.store import TokenStore
from jaxbert.data.vocabulary import Vocabulary
from jaxbert.data.writer import StoreWriter
from jaxbert.errors import UserError
from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import train_wordpiece

TEXTS = ["the cat sat on the mat", "a dog barked at the cats", "mats and dogs and cats"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return train_wordpiece(TEXTS, 60)


def write_store(path, tokenizer, vocab_size):
    with StoreWriter(path, vocab_size=vocab_size) as writer:
        writer.append([tokenizer.encode_plain(TEXTS), tokenizer.encode_plain(TEXTS[:2])])
        save_tokenizer(tokenizer, writer.directory / "tokenizer")
        writer.finish()
    return TokenStore.open(path)


def test_the_roles_of_the_ids_are_those_of_the_tokenizer(tokenizer):
    vocabulary = Vocabulary.of(tokenizer)
    tokens = tokenizer.vocab()
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert {tokens[i] for i in np.flatnonzero(vocabulary.is_special)} == special
    assert {tokens[i] for i in vocabulary.replacements} == set(tokens) - special
    pieces = {token for token in tokens if token.startswith("##")}
    assert {tokens[i] for i in np.flatnonzero(vocabulary.is_continuation)} == pieces
    assert pieces
    assert tokens[vocabulary.mask_id] == "[MASK]"


def test_pretraining_reads_the_tokenizer_that_is_in_the_store(tokenizer, tmp_path):
    store = write_store(tmp_path / "store", tokenizer, tokenizer.vocab_size)
    config = PretrainingDataConfig(max_seq_length=32)
    ids = PretrainingData(store, config, seed=0).rows(np.arange(4), 0)["input_ids"]
    assert (ids[:, 0] == tokenizer.cls_id).all()
    assert ((ids == tokenizer.sep_id).sum(axis=1) == 2).all()


def test_a_tokenizer_that_did_not_make_the_store_is_refused(tokenizer, tmp_path):
    store = write_store(tmp_path / "store", tokenizer, tokenizer.vocab_size + 1)
    with pytest.raises(UserError, match="put the tokenizer that made it back"):
        PretrainingData(store, PretrainingDataConfig(), seed=0)
