"""Masked-LM corruption of the tokens of a batch (Devlin et al. 2018, section 3.1 and A.1)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Ids, Indices
from jaxbert.data.draws import word_keys, words_at
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
from jaxbert.data.ragged import Ragged
from jaxbert.data.vocabulary import Vocabulary

_PURPOSES = ("masking", "mask replacement", "masked runs")

IGNORED = -100
"""The label that counts for nothing (PyTorch's and transformers' convention)."""


@dataclass(frozen=True)
class Masked:
    """Corrupted tokens of examples that lie one after another (`Ragged`).

    `input_ids` int32 [tokens]; the `places` int64 [chosen] there that were masked, ascending, and
    their original ids as `labels` int32 [chosen]; `counts` int64 [examples] of these places.
    """

    input_ids: Ids
    places: Indices
    labels: Ids
    counts: Indices


def mask_tokens(
    input_ids: Ids,
    examples: Ragged,
    vocabulary: Vocabulary,
    epochs: NDArray[np.int64],
    numbers: NDArray[np.int64],
    *,
    seed: int,
    config: MaskingConfig,
    rates: Rates | None = None,
    phrases: Phrases | None = None,
) -> Masked:
    """Masks `num_predictions` tokens of every example, with the rates given or of evaluation.

    `input_ids` [tokens] are [CLS] and more for each of the `examples`, whose lengths count special
    tokens as in BERT's code; these are never chosen. A chosen token becomes [MASK] or a random
    non-special one with the shares of `rates`, else it stays; every token decides alone, of
    `SpanUnits` all neighbours together. Where units have several tokens fewer may be chosen, or
    none, since none is split.

    What happens to an example depends on (seed, epoch, number) and its own tokens.
    """
    assert (phrases is not None) == isinstance(config.units, PhraseUnits), config.units
    rates = rates or config.rates()
    maskable = ~vocabulary.is_special.take(input_ids)
    assert not maskable[examples.starts].any(), "an example must begin with a special token"
    wanted = num_predictions(examples.lengths, rates.probability, config.max_predictions)
    purposes = _PURPOSES[:2] if isinstance(config.units, TokenUnits) else _PURPOSES
    keys = dict(zip(purposes, word_keys(seed, purposes, epochs, numbers), strict=True))
    if isinstance(config.units, TokenUnits):
        drawn = words_at(examples.columns, examples.spread(keys["masking"]))
        places, counts = choose_tokens(maskable, drawn, wanted, examples)
    else:
        is_start = word_starts(maskable, vocabulary.is_continuation.take(input_ids))
        if phrases is not None:
            # One long row: no phrase goes beyond a special token.
            found = phrases.inside(input_ids[None], maskable[None], is_start[None])
            is_start &= ~found[0]
        chosen = _choose_units(maskable, is_start, wanted, config.units, examples, keys)
        places = np.flatnonzero(maskable & chosen)
        counts = examples.among(places)
    labels = input_ids[places]
    masked_ids = input_ids.copy()
    masked_ids[places] = _corrupt(
        labels, places, Ragged(counts), vocabulary, config.units, rates, keys["mask replacement"]
    )
    return Masked(masked_ids, places, labels, counts)


def _choose_units(
    maskable: Marks,
    is_start: Marks,
    wanted: NDArray[np.int64],
    units: Units,
    examples: Ragged,
    keys: Mapping[str, NDArray[np.uint32]],
) -> Marks:
    layout = Layout.of(maskable, is_start, examples)
    columns = examples.columns[is_start]

    def drawn(purpose: str) -> NDArray[np.uint32]:
        return words_at(columns, np.repeat(keys[purpose], layout.count, axis=1))

    order = layout.in_random_order(drawn("masking"))
    shares = run_length_shares(units)
    if len(shares) == 1:
        runs = np.ones_like(layout.sizes)
    else:
        runs = draw_run_lengths(shares, drawn("masked runs"))
    return choose_runs(layout, order, runs, wanted, passes=isinstance(units, SpanUnits))


def _first_neighbours(places: Indices, slots: NDArray[np.uint32]) -> Indices:
    """For each place the first one of the unbroken run in its example that it is in."""
    begins = slots == 0
    begins[1:] |= places[1:] != places[:-1] + 1
    return np.maximum.accumulate(np.where(begins, np.arange(len(places)), 0))


def _corrupt(
    original: Ids,
    places: Indices,
    chosen: Ragged,
    vocabulary: Vocabulary,
    units: Units,
    rates: Rates,
    keys: NDArray[np.uint32],
) -> Ids:
    """What each chosen token becomes: [chosen], two random words for each."""
    slots = chosen.columns
    both = 2 * slots + np.arange(2, dtype=np.uint32)[:, None]
    action, replacement = words_at(both, chosen.spread(keys)[:, None])
    if isinstance(units, SpanUnits):
        # Spans that touch are one, as in SpanBERT's code.
        action = action[_first_neighbours(places, slots)]
    share = action * 2.0**-32
    table = vocabulary.replacements
    random_ids = table[(replacement * 2.0**-32 * len(table)).astype(np.int64)]
    kept = np.where(share < 1.0 - rates.random_replace_prob, original, random_ids)
    return np.where(share < rates.mask_replace_prob, np.int32(vocabulary.mask_id), kept)
