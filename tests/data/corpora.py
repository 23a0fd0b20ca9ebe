"""Stores whose token ids tell where each token lies, so that a batch can be traced back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxbert.data.masking import mask_tokens
from jaxbert.data.masking_config import MaskingConfig
from jaxbert.data.offsets import Offsets
from jaxbert.data.packing import Layout
from jaxbert.data.ragged import Ragged
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


def sentence_offsets(store: TokenStore) -> np.ndarray:
    """Of all shards: sentence i is tokens [offsets[i], offsets[i + 1])."""
    offsets = Offsets([shard.sentence_offsets for shard in store.shards])
    return offsets[np.arange(len(offsets))]


def document_offsets(store: TokenStore) -> np.ndarray:
    """Of all shards: document i is sentences [offsets[i], offsets[i + 1])."""
    offsets = Offsets([shard.document_offsets for shard in store.shards])
    return offsets[np.arange(len(offsets))]


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


@dataclass(frozen=True)
class MaskedRows:
    """Masked examples, one in a row; unused predictions have position 0 and label -100."""

    input_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray


def mask_rows(
    input_ids: np.ndarray,
    lengths: np.ndarray,
    vocabulary: Vocabulary,
    epochs: np.ndarray,
    numbers: np.ndarray,
    *,
    config: MaskingConfig,
    **options,
) -> MaskedRows:
    """Masks rows of which the first `lengths` [rows] columns are the examples."""
    is_real = np.arange(input_ids.shape[1]) < lengths[:, None]
    masked = mask_tokens(
        input_ids[is_real], Ragged(lengths), vocabulary, epochs, numbers, config=config, **options
    )
    layout = Layout(lengths, np.arange(len(lengths)), *input_ids.shape, slots=1)
    positions, labels = layout.predictions(masked, config.most_predictions(input_ids.shape[1]))
    masked_ids = input_ids.copy()
    masked_ids[is_real] = masked.input_ids
    return MaskedRows(masked_ids, positions, labels)


def unmasked(batch: dict[str, np.ndarray]) -> np.ndarray:
    """The input ids before masking, put together from the labels."""
    ids = batch["input_ids"].copy()
    rows, slots = np.nonzero(batch["labels"] != -100)
    ids[rows, batch["masked_lm_positions"][rows, slots]] = batch["labels"][rows, slots]
    return ids


@dataclass(frozen=True)
class Example:
    """One example of a batch, without padding and masks."""

    ids: np.ndarray
    types: np.ndarray
    label: int
    """Of its sentence pair."""
    num_masked: int
    row_id: int | None = None


def examples_of(batch: dict[str, np.ndarray]) -> list[Example]:
    """The examples of a batch in order, however they lie in its rows; fillers left out."""
    ids, is_masked = unmasked(batch), np.zeros(batch["input_ids"].shape, bool)
    rows, slots = np.nonzero(batch["labels"] != -100)
    is_masked[rows, batch["masked_lm_positions"][rows, slots]] = True
    is_packed = "sequence_ids" in batch
    owners = batch["sequence_ids"] if is_packed else batch["attention_mask"]
    labels = batch["next_sentence_label"].reshape(len(ids), -1)
    row_ids = batch["row_ids"].reshape(labels.shape) if "row_ids" in batch else None
    found = []
    for row, owner in enumerate(owners):
        for slot in range(owner.max()):
            mine = owner == slot + 1
            row_id = None if row_ids is None else int(row_ids[row, slot])
            if row_id == -1:
                continue
            if is_packed:
                assert np.flatnonzero(mine)[0] == batch["sequence_starts"][row, slot]
            assert (np.diff(np.flatnonzero(mine)) == 1).all()
            types = batch["token_type_ids"][row, mine]
            label, masked = int(labels[row, slot]), int(is_masked[row, mine].sum())
            found.append(Example(ids[row, mine], types, label, masked, row_id))
        # Where no example is, there is nothing.
        assert (batch["input_ids"][row, owner == 0] == PAD).all()
        assert not batch["token_type_ids"][row, owner == 0].any()
        assert (labels[row, owner.max() :] == -100).all()
    return found


def parts(ids: np.ndarray) -> list[np.ndarray]:
    """The places in a numbered store of the tokens of each segment of one unmasked row."""
    assert ids[0] == CLS
    ends = np.flatnonzero(ids == SEP)
    starts = [1, *(ends[:-1] + 1)]
    return [ids[start:end] - NUM_SPECIAL for start, end in zip(starts, ends, strict=True)]
