"""Masked-LM corruption of a batch of token rows (Devlin et al. 2018, section 3.1 and A.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.draws import words
from jaxbert.data.mask_units import (
    Layout,
    Marks,
    choose_runs,
    choose_tokens,
    draw_run_lengths,
    run_length_shares,
    word_starts,
)
from jaxbert.data.masking_config import (
    MaskingConfig,
    PhraseUnits,
    SpanUnits,
    TokenUnits,
    Units,
)
from jaxbert.data.masking_rates import Rates, num_predictions
from jaxbert.data.phrases import Phrases
from jaxbert.data.vocabulary import Vocabulary

Ids = NDArray[np.int32]

IGNORED = -100
"""The label that counts for nothing (PyTorch's and transformers' convention)."""


@dataclass(frozen=True)
class MaskedRows:
    """Corrupted `input_ids` [rows, seq], the masked `positions` [rows, predictions] in ascending
    order (0 where unused) and their original ids as `labels` (-100 where unused); all int32."""

    input_ids: Ids
    positions: Ids
    labels: Ids


def mask_rows(
    input_ids: Ids,
    lengths: NDArray[np.int64],
    vocabulary: Vocabulary,
    epochs: NDArray[np.int64],
    examples: NDArray[np.int64],
    *,
    seed: int,
    config: MaskingConfig,
    rates: Rates | None = None,
    phrases: Phrases | None = None,
) -> MaskedRows:
    """Masks `num_predictions` tokens of every row, with the rates given or those of evaluation.

    `lengths` [rows] count the tokens with [CLS] and [SEP], as in BERT's code; special tokens are
    never chosen. A chosen token becomes [MASK] or a random non-special one with the shares of
    `rates`, else it stays; every token decides alone, of `SpanUnits` all neighbours together.
    Where units have several tokens fewer may be chosen, or none, since none is split.

    A row depends on (seed, epoch, example) and its own tokens, not on the padding behind them.
    """
    assert (phrases is not None) == isinstance(config.units, PhraseUnits), config.units
    rates = rates or config.rates()
    in_row = np.arange(input_ids.shape[1]) < lengths[:, None]
    maskable = in_row & ~vocabulary.is_special[input_ids]
    wanted = num_predictions(lengths, rates.probability, config.max_predictions)
    draws = _Draws(seed, epochs, examples)
    if isinstance(config.units, TokenUnits):
        chosen = choose_tokens(maskable, draws.words("masking", maskable.shape[1]), wanted)
    else:
        is_start = word_starts(maskable, vocabulary.is_continuation[input_ids])
        if phrases is not None:
            is_start &= ~phrases.inside(input_ids, maskable, is_start)
        chosen = maskable & _choose_units(maskable, is_start, wanted, config.units, draws)
    positions, used = _positions(chosen, config.most_predictions(input_ids.shape[1]))
    labels = np.take_along_axis(input_ids, positions, axis=1)
    corrupted = _corrupt(labels, positions, vocabulary, config.units, rates, draws)
    masked_ids = input_ids.copy()
    rows, _ = np.nonzero(used)
    masked_ids[rows, positions[used]] = corrupted[used]
    return MaskedRows(masked_ids, positions, np.where(used, labels, np.int32(IGNORED)))


@dataclass(frozen=True)
class _Draws:
    """The random words of the examples of a batch: uint32 [rows, count]."""

    seed: int
    epochs: NDArray[np.int64]
    examples: NDArray[np.int64]

    def words(self, purpose: str, count: int) -> NDArray[np.uint32]:
        return words(self.seed, purpose, self.epochs, self.examples, count)


def _choose_units(
    maskable: Marks, is_start: Marks, wanted: NDArray[np.int64], units: Units, draws: _Draws
) -> Marks:
    layout = Layout.of(maskable, is_start)
    width = maskable.shape[1]
    order = layout.in_random_order(draws.words("masking", width)[is_start])
    shares = run_length_shares(units)
    if len(shares) == 1:
        runs = np.ones_like(layout.sizes)
    else:
        runs = draw_run_lengths(shares, draws.words("masked runs", width)[is_start])
    return choose_runs(layout, order, runs, wanted, passes=isinstance(units, SpanUnits))


def _positions(chosen: Marks, max_predictions: int) -> tuple[Ids, Marks]:
    """The chosen positions in ascending order, 0 where unused, and which slots are used."""
    rows, columns = np.nonzero(chosen)
    count = chosen.sum(axis=1)
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    positions = np.zeros((len(chosen), max_predictions), dtype=np.int32)
    positions[rows, slots] = columns
    return positions, np.arange(max_predictions) < count[:, None]


def _first_neighbours(positions: Ids) -> NDArray[np.int64]:
    """For each slot the first one of the unbroken run of positions that it is in."""
    slots = np.arange(positions.shape[1])
    begins = np.ones(positions.shape, dtype=bool)
    begins[:, 1:] = positions[:, 1:] != positions[:, :-1] + 1
    return np.maximum.accumulate(np.where(begins, slots, 0), axis=1)


def _corrupt(
    original: Ids,
    positions: Ids,
    vocabulary: Vocabulary,
    units: Units,
    rates: Rates,
    draws: _Draws,
) -> Ids:
    """What each chosen token becomes: [rows, predictions], two random words for each."""
    drawn = draws.words("mask replacement", 2 * original.shape[1])
    action, replacement = drawn[:, 0::2], drawn[:, 1::2]
    if isinstance(units, SpanUnits):
        # Spans that touch are one, as in SpanBERT's code.
        action = np.take_along_axis(action, _first_neighbours(positions), axis=1)
    share = action * 2.0**-32
    table = vocabulary.replacements
    random_ids = table[(replacement * 2.0**-32 * len(table)).astype(np.int64)]
    kept = np.where(share < 1.0 - rates.random_replace_prob, original, random_ids)
    masked = np.where(share < rates.mask_replace_prob, np.int32(vocabulary.mask_id), kept)
    return masked.astype(np.int32)
