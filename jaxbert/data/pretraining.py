"""Pretraining batches: the batch of step s is a pure function of (store, config, seed, s)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from jaxbert.config import nearest
from jaxbert.data.masking import IGNORED, MaskedRows, mask_rows
from jaxbert.data.masking_config import MaskingConfig
from jaxbert.data.order import visit
from jaxbert.data.pairs import (
    Corpus,
    Pairs,
    SentencePairs,
    draw_next_sentences,
    draw_segments,
    draw_sentence_orders,
)
from jaxbert.data.spans import Indices, cut_into_spans, held_out
from jaxbert.data.store import TokenStore
from jaxbert.data.vocabulary import Vocabulary
from jaxbert.errors import UserError
from jaxbert.text.tokenizer import load_tokenizer

Batch = dict[str, NDArray[np.int32]]

_DRAWS = {
    "next_sentence": draw_next_sentences,
    "sentence_order": draw_sentence_orders,
    "none": draw_segments,
}

# Evaluation examples do not depend on the run's seed, so that runs can be compared.
_EVALUATION_SEED = 0


@dataclass(frozen=True)
class PretrainingDataConfig:
    """How a corpus becomes pretraining examples; the defaults are those of the original BERT."""

    max_seq_length: int = 128
    short_sequence_probability: float = 0.1
    sentence_pairs: SentencePairs = "next_sentence"
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    validation_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.max_tokens < 2:
            shortest = self.max_seq_length - self.max_tokens + 2
            raise UserError(f"max_seq_length={self.max_seq_length}: must be at least {shortest}")
        for name in ("short_sequence_probability", "validation_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"{name}={getattr(self, name)}: must be from 0 to 1")
        if self.sentence_pairs not in get_args(SentencePairs):
            hint = nearest(str(self.sentence_pairs), get_args(SentencePairs))
            raise UserError(f"sentence_pairs={self.sentence_pairs!r}: {hint}")
        self.masking.check_length(self.max_seq_length)

    @property
    def max_tokens(self) -> int:
        """Tokens of text that fit an example beside [CLS] and one [SEP] per segment."""
        return self.max_seq_length - (2 if self.sentence_pairs == "none" else 3)


class PretrainingData:
    """Batches of one split of a token store; immutable, so threads and processes may share it.

    Every batch is a dict of int32 arrays: `input_ids`, `attention_mask`, `token_type_ids`
    [batch, seq]; `masked_lm_positions` (0 where unused) and `labels` (-100 where unused)
    [batch, predictions]; `next_sentence_label` [batch] (0 next; 1 random, or with sentence_order
    swapped; -100 where there is one part).
    `vocabulary` defaults to that of the tokenizer in the store.
    """

    def __init__(
        self,
        store: TokenStore,
        config: PretrainingDataConfig,
        seed: int,
        batch_size: int,
        split: Literal["train", "validation"] = "train",
        vocabulary: Vocabulary | None = None,
    ):
        self.config = config
        self.seed = seed
        self.batch_size = batch_size
        self._tokens = np.asarray(store.tokens)
        self._vocabulary = vocabulary or _vocabulary_of(store)
        self._corpus = _corpus(store, config, split)

    @property
    def num_examples(self) -> int:
        """Examples per epoch: every span of the split gives one."""
        return len(self._corpus.spans)

    def batch(self, step: int) -> Batch:
        """The whole training batch of a step."""
        return self.rows(step, 0, self.batch_size)

    def rows(self, step: int, start: int, stop: int) -> Batch:
        """Rows [start, stop) of the batch of a step, without making the others."""
        assert 0 <= start <= stop <= self.batch_size, (start, stop)
        first = step * self.batch_size
        positions = np.arange(first + start, first + stop)
        epochs, indices = visit(self.seed, self.num_examples, positions)
        if self.config.masking.num_duplicates is not None:
            epochs = epochs % self.config.masking.num_duplicates
        return self._examples(self.seed, epochs, indices)

    @property
    def num_evaluation_batches(self) -> int:
        """Batches that hold every example of the split exactly once."""
        return -(-self.num_examples // self.batch_size)

    def evaluation_batch(self, number: int) -> Batch:
        """A whole batch of the evaluation."""
        return self.evaluation_rows(number, 0, self.batch_size)

    def evaluation_rows(self, number: int, start: int, stop: int) -> Batch:
        """Rows [start, stop) of an evaluation batch: the spans in corpus order, the masks fixed.

        `row_ids` [batch] tells the span; it is -1 in the rows that fill up the last batch, where
        all labels are -100 and only [CLS] is attended to.
        """
        assert 0 <= start <= stop <= self.batch_size, (start, stop)
        first = number * self.batch_size
        row_ids = np.arange(first + start, first + stop)
        is_real = row_ids < self.num_examples
        indices = np.where(is_real, row_ids, 0)
        batch = self._examples(_EVALUATION_SEED, np.zeros_like(indices), indices)
        _make_filler(batch, ~is_real, self._vocabulary)
        return batch | {"row_ids": np.where(is_real, row_ids, -1).astype(np.int32)}

    def evaluation_batches(self) -> Iterator[Batch]:
        """All evaluation batches in order."""
        return map(self.evaluation_batch, range(self.num_evaluation_batches))

    def _examples(self, seed: int, epochs: Indices, indices: Indices) -> Batch:
        config = self.config
        pairs = _DRAWS[config.sentence_pairs](
            self._corpus,
            epochs,
            indices,
            seed=seed,
            max_tokens=config.max_tokens,
            short_probability=config.short_sequence_probability,
        )
        batch, lengths = _assemble(self._tokens, pairs, config.max_seq_length, self._vocabulary)
        masked = mask_rows(
            batch["input_ids"],
            lengths,
            self._vocabulary,
            epochs,
            indices,
            seed=seed,
            config=config.masking,
        )
        return batch | _masked_columns(masked)


def _vocabulary_of(store: TokenStore) -> Vocabulary:
    vocabulary = Vocabulary.of(load_tokenizer(store.tokenizer_directory))
    if len(vocabulary.is_special) < store.vocab_size:
        raise UserError(
            f"{store.tokenizer_directory}: has {len(vocabulary.is_special)} tokens, the store was"
            f" made with {store.vocab_size}; put the tokenizer that made it back"
        )
    return vocabulary


def _corpus(store: TokenStore, config: PretrainingDataConfig, split: str) -> Corpus:
    is_held_out = held_out(store.num_documents, config.validation_fraction)
    documents = np.flatnonzero(is_held_out == (split == "validation"))
    needed = 2 if config.sentence_pairs == "next_sentence" else 1
    if len(documents) < needed:
        raise UserError(
            f"store of {store.num_documents} documents: {len(documents)} in the {split} split, at"
            f" least {needed} needed; change validation_fraction={config.validation_fraction},"
            " add documents or set sentence_pairs=none"
        )
    sentence_offsets = np.asarray(store.sentence_offsets)
    document_offsets = np.asarray(store.document_offsets)
    spans = cut_into_spans(
        sentence_offsets,
        document_offsets,
        documents,
        min_tokens=config.max_tokens,
        min_sentences=1 if config.sentence_pairs == "none" else 2,
    )
    if config.sentence_pairs == "sentence_order" and (spans.stop - spans.first).max() < 2:
        raise UserError(
            f"sentence_pairs=sentence_order: no document of the {split} split has two sentences;"
            " set sentence_pairs=none"
        )
    return Corpus(sentence_offsets, document_offsets, spans)


def _assemble(
    tokens: NDArray[np.unsignedinteger],
    pairs: Pairs,
    max_seq_length: int,
    vocabulary: Vocabulary,
) -> tuple[Batch, Indices]:
    """Lays the pairs out as [CLS] A [SEP] B [SEP]: the batch, and its rows' lengths [batch]."""
    a_end = 1 + pairs.a_length[:, None]
    lengths = 2 + pairs.a_length + np.where(pairs.b_length > 0, pairs.b_length + 1, 0)
    columns = np.arange(max_seq_length)
    is_a = (columns > 0) & (columns < a_end)
    is_b = (columns > a_end) & (columns < lengths[:, None] - 1)
    input_ids = np.full(is_a.shape, vocabulary.sep_id, dtype=np.int32)
    input_ids[:, 0] = vocabulary.cls_id
    is_real = columns < lengths[:, None]
    input_ids[~is_real] = vocabulary.pad_id
    a_source = pairs.a_start[:, None] + (columns - 1)
    b_source = pairs.b_start[:, None] + (columns - 1 - a_end)
    is_text = is_a | is_b
    input_ids[is_text] = tokens[np.where(is_a, a_source, b_source)[is_text]]
    batch = {
        "input_ids": input_ids,
        "attention_mask": is_real.astype(np.int32),
        "token_type_ids": (is_real & (columns > a_end)).astype(np.int32),
        "next_sentence_label": pairs.label.astype(np.int32),
    }
    return batch, lengths


def _masked_columns(masked: MaskedRows) -> Batch:
    return {
        "input_ids": masked.input_ids,
        "masked_lm_positions": masked.positions,
        "labels": masked.labels,
    }


def _make_filler(batch: Batch, is_filler: NDArray[np.bool_], vocabulary: Vocabulary) -> None:
    batch["labels"][is_filler] = IGNORED
    batch["next_sentence_label"][is_filler] = IGNORED
    batch["masked_lm_positions"][is_filler] = 0
    batch["token_type_ids"][is_filler] = 0
    batch["input_ids"][is_filler] = vocabulary.pad_id
    batch["input_ids"][is_filler, 0] = vocabulary.cls_id
    # One position stays visible: a softmax over none is not a number.
    batch["attention_mask"][is_filler] = 0
    batch["attention_mask"][is_filler, 0] = 1
