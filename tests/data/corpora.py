"""Stores whose token ids tell where each token lies, so that a batch can be traced back."""

from pathlib import Path

import numpy as np

from jaxbert.data.store import TokenStore
from jaxbert.data.vocabulary import Vocabulary
from jaxbert.data.writer import StoreWriter

NUM_SPECIAL = 5
PAD, UNK, CLS, SEP, MASK = range(NUM_SPECIAL)


def numbered_store(path: Path, documents: list[list[int]]) -> TokenStore:
    """A store of documents given by their sentence lengths; token i of the store has id 5 + i."""
    lengths = np.array([length for document in documents for length in document])
    num_tokens = int(lengths.sum())
    with StoreWriter(path, vocab_size=NUM_SPECIAL + num_tokens) as writer:
        writer.append_arrays(
            NUM_SPECIAL + np.arange(num_tokens),
            lengths,
            np.array([len(document) for document in documents]),
        )
        writer.finish()
    return TokenStore.open(path)


def random_lengths(seed: int, num_documents: int, max_sentences: int, max_tokens: int):
    generator = np.random.default_rng(seed)
    return [
        generator.integers(1, max_tokens + 1, generator.integers(1, max_sentences + 1)).tolist()
        for _ in range(num_documents)
    ]


def vocabulary(vocab_size: int, continuation_every: int = 4) -> Vocabulary:
    """Ids 0 to 4 are special; every `continuation_every`-th of the others continues a word."""
    ids = np.arange(vocab_size)
    return Vocabulary(
        pad_id=PAD,
        cls_id=CLS,
        sep_id=SEP,
        mask_id=MASK,
        is_special=ids < NUM_SPECIAL,
        is_continuation=(ids >= NUM_SPECIAL) & (ids % continuation_every == 0),
        replacements=ids[NUM_SPECIAL:].astype(np.int32),
    )


def unmasked(batch: dict[str, np.ndarray]) -> np.ndarray:
    """The input ids before masking, put together from the labels."""
    ids = batch["input_ids"].copy()
    rows, slots = np.nonzero(batch["labels"] != -100)
    ids[rows, batch["masked_lm_positions"][rows, slots]] = batch["labels"][rows, slots]
    return ids


def parts(ids: np.ndarray) -> list[np.ndarray]:
    """The places in a numbered store of the tokens of each segment of one unmasked row."""
    assert ids[0] == CLS
    ends = np.flatnonzero(ids == SEP)
    starts = [1, *(ends[:-1] + 1)]
    return [ids[start:end] - NUM_SPECIAL for start, end in zip(starts, ends, strict=True)]
