"""Pretraining rows: the row at a place of the stream is a function of (store, config, seed)."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Batch, Indices
from jaxbert.data.assembly import assemble
from jaxbert.data.masking import IGNORED, mask_tokens
from jaxbert.data.masking_config import MaskingConfig, PhraseUnits, Rates, Units
from jaxbert.data.offsets import Offsets
from jaxbert.data.order import visit
from jaxbert.data.packing import Layout, Limits, PackedRows, plan_rows
from jaxbert.data.pairs import (
    Corpus,
    Pairs,
    SentencePairs,
    Sizes,
    draw_next_sentences,
    draw_sentence_orders,
    drawn_lengths,
)
from jaxbert.data.phrases import Phrases
from jaxbert.data.segments import Segments, cut_into_segments
from jaxbert.data.spans import cut_into_spans, held_out, in_blocks
from jaxbert.data.store import TokenStore
from jaxbert.data.vocabulary import Vocabulary
from jaxbert.errors import UserError, nearest
from jaxbert.options import check_options
from jaxbert.text.tokenizer import load_tokenizer

Split = Literal["train", "validation"]

# Evaluation examples do not depend on the run's seed, so that runs can be compared. Neither do the
# lengths of packed examples: which of them share a row is decided before any seed is looked at.
_FIXED_SEED = 0
_SHORTEST_REST = {True: 16, False: 4}
"""Packed or not: which part of an example what is left of a document must be to be one. In a row
of its own a short one would be mostly padding."""
_PARTS = 2
"""A pair has a token in each."""
_TOKENS_PER_EXAMPLE = 8
# Numbers of predictions are rounded for every example, in a row of short ones always upwards.
_MORE_PREDICTIONS = 1.1


@dataclass(frozen=True)
class PretrainingDataConfig:
    """How a corpus becomes pretraining examples; the defaults are those of the original BERT."""

    max_seq_length: int = 128
    """Tokens of a row, with [CLS] and [SEP]."""
    packing: bool = False
    """Several examples in a row, so that next to nothing is padding."""
    max_examples_per_row: int | None = None
    """When packing; null: one for every 8 tokens."""
    short_sequence_probability: float = 0.1
    """Of an example to be cut to a random length, as the original BERT has it."""
    sentence_pairs: SentencePairs = "next_sentence"
    """next_sentence: BERT's; sentence_order: ALBERT's; none: masked words alone."""
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    validation_fraction: float = 0.0
    """Share of the documents that is held out to evaluate on, chosen by what is in them: equal ones
    stay together, and a store that has grown holds out those that it held out before."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.max_tokens < 2:
            shortest = self.max_seq_length - self.max_tokens + 2
            raise UserError(f"max_seq_length={self.max_seq_length}: must be at least {shortest}")
        for name in ("short_sequence_probability", "validation_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"{name}={getattr(self, name)}: must be from 0 to 1")
        if self.max_examples_per_row is not None:
            if not self.packing:
                raise UserError("max_examples_per_row is for packing=true, which it is not")
            if self.max_examples_per_row < 1:
                raise UserError(
                    f"max_examples_per_row={self.max_examples_per_row}: must be at least 1"
                )
        self.masking.check_length(self.max_seq_length)

    @property
    def max_tokens(self) -> int:
        """Tokens of text that fit an example beside [CLS] and one [SEP] per segment."""
        return self.max_seq_length - self.num_special

    @property
    def num_special(self) -> int:
        """[CLS], and one [SEP] per segment."""
        return 2 if self.sentence_pairs == "none" else 3

    @property
    def of_rows(self) -> "PretrainingDataConfig":
        """Equal where the same examples are in the rows, whatever is masked in them.

        A packed row is full when it has as many predictions as it may have.
        """
        return self if self.packing else replace(self, masking=MaskingConfig())

    @property
    def limits(self) -> Limits:
        """What a row holds at most."""
        if not self.packing:
            most = self.masking.most_predictions(self.max_seq_length)
            return Limits(self.max_seq_length, 1, most)
        examples = self.max_examples_per_row or max(1, self.max_seq_length // _TOKENS_PER_EXAMPLE)
        predictions = 1 + int(
            _MORE_PREDICTIONS * self.masking.most_predictions(self.max_seq_length)
        )
        return Limits(self.max_seq_length, examples, predictions)


class PretrainingData:
    """The rows of one split of a token store; immutable, so threads and processes may share it.

    A batch is a dict of int32 arrays: `input_ids`, `attention_mask`, `token_type_ids`
    [batch, seq]; `masked_lm_positions` (0 where unused) and `labels` (-100 where unused)
    [batch, predictions]; `next_sentence_label` [batch] (0 next; 1 random, or with sentence_order
    swapped; -100 where there is one part). Evaluation batches have `row_ids` [batch], the number
    of the example, -1 where there is none.

    With packing, `sequence_ids` [batch, seq] (1, 2, ... for the examples of a row; 0 for padding)
    and `sequence_starts` [batch, examples] take the place of `attention_mask`, and
    `next_sentence_label` and `row_ids` are [batch, examples].

    `vocabulary` defaults to that of the tokenizer in the store. Raises UserError for another split,
    and for one without the documents that `config` needs.
    """

    def __init__(
        self,
        store: TokenStore,
        config: PretrainingDataConfig,
        seed: int,
        split: Split = "train",
        vocabulary: Vocabulary | None = None,
    ):
        if split not in get_args(Split):
            raise UserError(f"split={split!r}: {nearest(str(split), get_args(Split))}")
        self.config = config
        self._limits = config.limits
        self.seed = seed
        self._store = store
        self._vocabulary = vocabulary or _vocabulary_of(store)
        self._phrases = _phrases_of(store, config.masking.units)
        self._cut = _cut(store, config, split)

    @property
    def num_examples(self) -> int:
        """Examples per epoch: every segment or span of the split gives one."""
        return len(self._cut)

    @property
    def num_rows(self) -> int:
        """Rows per epoch: as many as examples, or fewer where these are packed."""
        return len(self._packed) if self.config.packing else self.num_examples

    @property
    def num_evaluation_rows(self) -> int:
        """Rows that hold every example of the split exactly once."""
        return self.num_rows

    def rows(self, positions: Indices, step: int) -> Batch:
        """The rows at some positions of the stream, corrupted at the rates of `step`."""
        epochs, rows = visit(self.seed, self.num_rows, positions)
        if self.config.masking.num_duplicates is not None:
            epochs = epochs % self.config.masking.num_duplicates
        return self._rows(self.seed, epochs, rows, self.config.masking.rates(step))[0]

    def evaluation_rows(self, numbers: Indices) -> Batch:
        """The rows in corpus order, with pairs, masks and rates that never change; -1: filler."""
        rates = self.config.masking.rates()
        batch, row_ids = self._rows(_FIXED_SEED, np.zeros_like(numbers), numbers, rates)
        if not self.config.packing:
            # One position stays visible: a softmax over none is not a number.
            batch["attention_mask"][numbers < 0, 0] = 1
            batch["input_ids"][numbers < 0, 0] = self._vocabulary.cls_id
        return batch | {"row_ids": row_ids}

    def _rows(
        self, seed: int, epochs: Indices, numbers: Indices, rates: Rates
    ) -> tuple[Batch, NDArray[np.int32]]:
        """The rows by number, and their examples' numbers; an empty row where it is -1."""
        wanted = np.flatnonzero(numbers >= 0)
        if self.config.packing:
            found, places = self._packed.of(numbers[wanted])
            rows = wanted[places]
        else:
            found, rows = numbers[wanted], wanted
        epochs = epochs[rows]
        pairs = self._pairs(seed, epochs, found)
        input_ids, types, examples = assemble(self._store.read, pairs, self._vocabulary)
        masked = mask_tokens(
            input_ids,
            examples,
            self._vocabulary,
            epochs,
            found,
            seed=seed,
            config=self.config.masking,
            rates=rates,
            phrases=self._phrases,
        )
        limits = self._limits
        layout = Layout(examples.lengths, rows, len(numbers), limits.tokens, limits.examples)
        assert limits.predictions is not None
        positions, labels = layout.predictions(masked, limits.predictions)
        laid_ids = layout.tokens(masked.input_ids, self._vocabulary.pad_id)
        batch = {
            "input_ids": laid_ids,
            "token_type_ids": (
                np.zeros_like(laid_ids) if types is None else layout.tokens(types, 0)
            ),
            "masked_lm_positions": positions,
            "labels": labels,
        }
        per_example = {
            "next_sentence_label": layout.examples(pairs.label.astype(np.int32), IGNORED),
            "row_ids": layout.examples(found.astype(np.int32), -1),
        }
        if self.config.packing:
            batch["sequence_ids"] = layout.sequence_ids
            batch["sequence_starts"] = layout.sequence_starts
        else:
            batch["attention_mask"] = layout.sequence_ids
            per_example = {name: values[:, 0] for name, values in per_example.items()}
        batch["next_sentence_label"] = per_example["next_sentence_label"]
        return batch, per_example["row_ids"]

    def _pairs(self, seed: int, epochs: Indices, indices: Indices) -> Pairs:
        if isinstance(self._cut, Segments):
            return self._cut.drawn(epochs, indices, seed=seed)
        corpus, sizes = self._cut, self._sizes_of(seed, epochs, indices)
        if self.config.sentence_pairs == "next_sentence":
            fills = self.config.packing
            return draw_next_sentences(corpus, epochs, indices, sizes, seed=seed, fills=fills)
        return draw_sentence_orders(corpus, epochs, indices, sizes, seed=seed)

    def _sizes_of(self, seed: int, epochs: Indices, indices: Indices) -> Sizes:
        if self.config.packing:
            # Exactly what the plan of the rows has room for.
            sizes = self._sizes[indices].astype(np.int64)
            return Sizes(sizes, sizes)
        wanted = self._drawn_lengths(seed, epochs, indices)
        return Sizes(wanted, np.full_like(wanted, self.config.max_tokens))

    def _drawn_lengths(self, seed: int, epochs: Indices, indices: Indices) -> Indices:
        return drawn_lengths(
            epochs,
            indices,
            seed=seed,
            shortest=_PARTS,
            longest=self.config.max_tokens,
            short_probability=self.config.short_sequence_probability,
        )

    @cached_property
    def _sizes(self) -> NDArray[np.int32]:
        """Tokens of every packed example, the same in every epoch: int32 [examples]."""
        if isinstance(self._cut, Segments):
            return self._cut.sizes
        sizes = np.zeros(len(self._cut), np.int32)
        for indices in in_blocks(np.arange(len(sizes))):
            first, stop = self._cut.spans.sentences(indices)
            drawn = self._drawn_lengths(_FIXED_SEED, np.zeros_like(indices), indices)
            offsets = self._cut.sentence_offsets
            sizes[indices] = np.minimum(drawn, np.maximum(offsets[stop] - offsets[first], _PARTS))
        return sizes

    @cached_property
    def _packed(self) -> PackedRows:
        limits = self.config.limits
        predictions = self.config.masking.most_predictions(np.arange(limits.tokens + 1))
        return plan_rows(self._sizes + self._num_special, limits, predictions)

    @property
    def _num_special(self) -> NDArray[np.int64] | int:
        """[CLS], and one [SEP] per segment: of all examples, or of each."""
        if isinstance(self._cut, Segments):
            return 2
        # A lone sentence has no order.
        has_order = self.config.sentence_pairs == "sentence_order"
        return 2 + (self._cut.spans.counts > 1) if has_order else 3


def _vocabulary_of(store: TokenStore) -> Vocabulary:
    vocabulary = Vocabulary.of(load_tokenizer(store.tokenizer_directory))
    if len(vocabulary.is_special) < store.vocab_size:
        raise UserError(
            f"{store.tokenizer_directory}: has {len(vocabulary.is_special)} tokens, the store was"
            f" made with {store.vocab_size}; put the tokenizer that made it back"
        )
    return vocabulary


def _phrases_of(store: TokenStore, units: Units) -> Phrases | None:
    if not isinstance(units, PhraseUnits):
        return None
    return Phrases.read(units.file, load_tokenizer(store.tokenizer_directory))


def _cut(store: TokenStore, config: PretrainingDataConfig, split: Split) -> Segments | Corpus:
    """The documents of the split, cut into what an example is made of."""
    is_held_out = held_out(store.document_digests(), config.validation_fraction)
    documents = np.flatnonzero(is_held_out == (split == "validation"))
    needed = 2 if config.sentence_pairs == "next_sentence" else 1
    if len(documents) < needed:
        fraction = config.validation_fraction
        # A store that is evaluated whole has another fraction than the configuration.
        is_whole = split == "validation" and fraction == 1.0
        change = "" if is_whole else f"change validation_fraction={fraction}, "
        raise UserError(
            f"{store.path}: {store.num_documents} documents, {len(documents)} in the {split} split,"
            f" at least {needed} needed; {change}add documents or set sentence_pairs=none"
        )
    sentence_offsets = Offsets([shard.sentence_offsets for shard in store.shards])
    document_offsets = Offsets([shard.document_offsets for shard in store.shards])
    shortest_rest = config.max_tokens // _SHORTEST_REST[config.packing]
    if config.sentence_pairs == "none":
        return cut_into_segments(
            sentence_offsets,
            document_offsets,
            documents,
            longest=config.max_tokens,
            short_probability=config.short_sequence_probability,
            min_rest=shortest_rest,
        )
    spans = cut_into_spans(
        sentence_offsets,
        document_offsets,
        documents,
        min_tokens=config.max_tokens,
        min_rest=shortest_rest if config.packing else config.max_tokens,
    )
    # All pairs would be random, which evaluates well enough what has been learnt elsewhere.
    all_random = config.sentence_pairs == "next_sentence" and split == "validation"
    if spans.counts.max() < 2 and not all_random:
        raise UserError(
            f"sentence_pairs={config.sentence_pairs}: no document of the {split} split has two"
            " sentences; set sentence_pairs=none"
        )
    return Corpus(sentence_offsets, document_offsets, spans)
