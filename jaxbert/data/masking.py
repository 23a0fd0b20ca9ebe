"""Masked-LM corruption of a batch of token rows (Devlin et al. 2018, section 3.1 and A.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.draws import words
from jaxbert.data.masking_config import MaskingConfig, Rates, WordUnits, num_predictions
from jaxbert.data.vocabulary import Vocabulary

Ids = NDArray[np.int32]
Marks = NDArray[np.bool_]

IGNORED = -100
"""The label that counts for nothing (PyTorch's and transformers' convention)."""

_LAST_KEY = np.uint32(0xFFFFFFFF)


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
) -> MaskedRows:
    """Masks `num_predictions` tokens of every row, with the rates of `config` or those given.

    `lengths` [rows] count the tokens with [CLS] and [SEP], as in the reference; special tokens are
    never chosen. A chosen token becomes [MASK] or a random non-special one with the probabilities
    given, else it stays. With whole words all pieces of a word are chosen
    together (each still decides alone what it becomes) and a word that would exceed the row's
    number is passed over, so fewer may be chosen, or none.
    """
    rates = rates or config.rates()
    width = input_ids.shape[1]
    max_predictions = config.most_predictions(width)
    drawn = words(seed, "masking", epochs, examples, width + 2 * max_predictions)
    maskable = ~vocabulary.is_special[input_ids] & (np.arange(width) < lengths[:, None])
    wanted = num_predictions(lengths, rates.probability, max_predictions)
    if isinstance(config.units, WordUnits):
        starts_word = _word_starts(maskable, vocabulary.is_continuation[input_ids])
        chosen = _choose_words(maskable, starts_word, drawn[:, :width], wanted)
    else:
        chosen = _choose_tokens(maskable, drawn[:, :width], wanted)
    positions, used = _positions(chosen, max_predictions)
    labels = np.take_along_axis(input_ids, positions, axis=1)
    action, replacement = np.hsplit(drawn[:, width:], 2)
    shares = (rates.mask_replace_prob, rates.random_replace_prob)
    corrupted = _corrupt(labels, action, replacement, vocabulary, shares)
    masked_ids = input_ids.copy()
    rows, _ = np.nonzero(used)
    masked_ids[rows, positions[used]] = corrupted[used]
    return MaskedRows(masked_ids, positions, np.where(used, labels, np.int32(IGNORED)))


def _shuffled_positions(candidates: Marks, drawn: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The candidates' positions of each row in random order, then anything: [rows, seq]."""
    # The position sits in the low bits of the sort key: sorting plain integers is several times
    # faster than argsort, and no two keys of a row are equal.
    width = candidates.shape[1]
    low_bits = np.uint32((1 << (width - 1).bit_length()) - 1)
    keys = (drawn & ~low_bits) | np.arange(width, dtype=np.uint32)
    keys = np.sort(np.where(candidates, keys, _LAST_KEY), axis=1)
    return np.minimum(keys & low_bits, np.uint32(width - 1)).astype(np.int64)


def _choose_tokens(maskable: Marks, drawn: NDArray[np.uint32], wanted: NDArray[np.int64]) -> Marks:
    count = np.minimum(wanted, maskable.sum(axis=1))
    order = _shuffled_positions(maskable, drawn)[:, : int(wanted.max(initial=0))]
    rows, ranks = np.nonzero(np.arange(order.shape[1]) < count[:, None])
    chosen = np.zeros_like(maskable)
    chosen[rows, order[rows, ranks]] = True
    return chosen


def _word_starts(maskable: Marks, continues: Marks) -> Marks:
    """Where words start: also at a continuation piece with nothing before it to continue."""
    follows_piece = np.zeros_like(maskable)
    follows_piece[:, 1:] = maskable[:, :-1]
    return maskable & ~(continues & follows_piece)


def _choose_words(
    maskable: Marks, starts_word: Marks, drawn: NDArray[np.uint32], wanted: NDArray[np.int64]
) -> Marks:
    num_rows, width = maskable.shape
    start = np.maximum.accumulate(np.where(starts_word, np.arange(width), 0), axis=1)
    flat_start = start + width * np.arange(num_rows)[:, None]
    sizes = np.bincount(flat_start[maskable], minlength=maskable.size).reshape(maskable.shape)
    order = _shuffled_positions(starts_word, drawn)
    num_words = starts_word.sum(axis=1)
    sizes = np.take_along_axis(sizes, order, axis=1)
    taken = np.zeros_like(maskable)
    total = np.zeros(num_rows, dtype=np.int64)
    for rank in range(int(num_words.max(initial=0))):
        fits = (rank < num_words) & (total + sizes[:, rank] <= wanted)
        total += sizes[:, rank] * fits
        taken[:, rank] = fits
    chosen_start = np.zeros_like(maskable)
    rows, ranks = np.nonzero(taken)
    chosen_start[rows, order[rows, ranks]] = True
    return maskable & np.take_along_axis(chosen_start, start, axis=1)


def _positions(chosen: Marks, max_predictions: int) -> tuple[Ids, Marks]:
    """The chosen positions in ascending order, 0 where unused, and which slots are used."""
    rows, columns = np.nonzero(chosen)
    count = chosen.sum(axis=1)
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    positions = np.zeros((len(chosen), max_predictions), dtype=np.int32)
    positions[rows, slots] = columns
    return positions, np.arange(max_predictions) < count[:, None]


def _corrupt(
    original: Ids,
    action: NDArray[np.uint32],
    replacement: NDArray[np.uint32],
    vocabulary: Vocabulary,
    shares: tuple[float, float],
) -> Ids:
    """What each chosen token becomes, decided by two words of random bits per token.

    `shares`: of [MASK], and of random tokens.
    """
    masked, replaced = shares
    share = action * 2.0**-32
    table = vocabulary.replacements
    random_ids = table[(replacement * 2.0**-32 * len(table)).astype(np.int64)]
    kept = np.where(share < 1.0 - replaced, original, random_ids)
    return np.where(share < masked, np.int32(vocabulary.mask_id), kept).astype(np.int32)
