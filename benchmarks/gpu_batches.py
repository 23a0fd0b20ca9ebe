"""Cases of gpu.py and their batches, of the same examples for all contenders."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxbert.data.masking import IGNORED
from jaxbert.data.packing import Layout, Limits, PackedRows, plan_rows

VOCAB_SIZE, POOL, BATCHES = 30_522, 8192, 4
REAL_LENGTHS: dict[str, dict[int, tuple[int, ...]]] = {
    "masked LM": {
        128: (4, 86, 115, *[128] * 18),
        512: (12, 93, 110, 127, 146, 169, 196, 228, 262, 303, 355, 413, 493, *[512] * 8),
    },
    "SQuAD": {
        384: (
            *(37, 83, 107, 117, 125, 130, 136, 142, 147, 153, 160),
            *(166, 174, 182, 191, 202, 216, 233, 256, 292, 384),
        ),
    },
}
"""Every twentieth part of the lengths of real examples, from the shortest to the longest.

masked LM: 20,000 spans of a store of the first half of a Wikipedia of 2014 (that of
results/packing.json, no pairs). SQuAD: the windows of every tenth training question of version 1.1,
128 tokens shared. Both in the vocabulary of bert-base-uncased.
"""

Lengths = Literal["full", "real"]
Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model of one size, its objective and its batch."""

    size: str
    objective: Literal["masked LM", "SQuAD"]
    length: int
    rows: int
    attention_dropout: float
    """Of attention weights; that of hidden states is 0.1."""


CASES = {
    "large 512": Case("large", "masked LM", 512, 24, 0.0),
    "base 128": Case("base", "masked LM", 128, 128, 0.1),
    "base 512": Case("base", "masked LM", 512, 32, 0.0),
    "large 128": Case("large", "masked LM", 128, 96, 0.1),
    "base SQuAD 384": Case("base", "SQuAD", 384, 32, 0.0),
    "large SQuAD 384": Case("large", "SQuAD", 384, 24, 0.0),
}
"""The first ones have targets. Rows are for an H200 that several contenders share."""


@dataclass(frozen=True)
class Size:
    """Of an encoder."""

    layers: int
    hidden: int
    heads: int


SIZES = {"base": Size(12, 768, 12), "large": Size(24, 1024, 16), "tiny": Size(2, 64, 2)}


def batches(case: Case, lengths: Lengths, rows: int, is_packed: bool) -> list[Batch]:
    """A few batches; all of them together have the lengths that they should, packed or not."""
    draws = np.random.default_rng(0)
    if not is_packed:
        examples = draws.permutation(_lengths(case, lengths, BATCHES * rows))
        return [_padded(case, some, draws) for some in examples.reshape(BATCHES, rows)]
    pool = draws.permutation(_lengths(case, lengths, POOL))
    # As many for both, so that one compiled program takes both.
    slots = 3 * -(-case.length * POOL // int(_lengths(case, "real", POOL).sum()))
    plan = plan_rows(pool, Limits(case.length, slots))
    order = draws.permutation(len(plan))
    taken = np.resize(order, (BATCHES, rows))
    return [_packed(case, pool, plan, slots, some, draws) for some in taken]


def real_tokens(batch: Batch) -> int:
    """Those that are not padding."""
    name = "sequence_ids" if "sequence_ids" in batch else "attention_mask"
    return int((batch[name] > 0).sum())


def _lengths(case: Case, lengths: Lengths, count: int) -> np.ndarray:
    """Of so many examples, ascending."""
    if lengths == "full":
        return np.full(count, case.length)
    known = REAL_LENGTHS[case.objective][case.length]
    places = (np.arange(count) + 0.5) / count
    return np.interp(places, np.linspace(0, 1, len(known)), known).round().astype(np.int64)


def _padded(case: Case, lengths: np.ndarray, draws: np.random.Generator) -> Batch:
    """An example a row."""
    rows = len(lengths)
    is_real = np.arange(case.length) < lengths[:, None]
    batch = {"attention_mask": is_real.astype(np.int32)} | _tokens(is_real, draws)
    if case.objective == "masked LM":
        return batch | _masked(is_real, draws)
    return batch | {"row_ids": np.arange(rows, dtype=np.int32)} | _answers(lengths, draws)


def _packed(
    case: Case,
    pool: np.ndarray,
    plan: PackedRows,
    slots: int,
    rows: np.ndarray,
    draws: np.random.Generator,
) -> Batch:
    """Some rows of the plan that packs the whole pool."""
    found, places = plan.of(rows)
    layout = Layout(pool[found], places, len(rows), case.length, slots)
    is_real = layout.sequence_ids > 0
    batch = {
        "sequence_ids": layout.sequence_ids,
        "sequence_starts": layout.sequence_starts,
    } | _tokens(is_real, draws)
    if case.objective == "masked LM":
        return batch | _masked(is_real, draws)
    row_ids = layout.examples(np.arange(len(found), dtype=np.int32), -1)
    answers = _answers(pool[found], draws)
    laid = {name: layout.examples(values, 0) for name, values in answers.items()}
    return batch | {"row_ids": row_ids} | laid


def _tokens(is_real: np.ndarray, draws: np.random.Generator) -> Batch:
    ids = draws.integers(1000, VOCAB_SIZE, is_real.shape)
    return {
        "input_ids": np.where(is_real, ids, 0).astype(np.int32),
        "token_type_ids": np.zeros(is_real.shape, np.int32),
    }


def _masked(is_real: np.ndarray, draws: np.random.Generator) -> Batch:
    """15 % of the tokens of every row."""
    count = round(0.15 * is_real.shape[1])
    masked = np.maximum(np.round(0.15 * is_real.sum(axis=1)), 1)
    order = np.argsort(np.where(is_real, draws.random(is_real.shape), 2), axis=1)[:, :count]
    is_used = np.arange(count) < masked[:, None]
    labels = draws.integers(1000, VOCAB_SIZE, order.shape)
    return {
        "masked_lm_positions": np.where(is_used, order, 0).astype(np.int32),
        "labels": np.where(is_used, labels, IGNORED).astype(np.int32),
    }


def _answers(lengths: np.ndarray, draws: np.random.Generator) -> Batch:
    starts = draws.integers(0, lengths)
    ends = np.minimum(starts + 3, lengths - 1)
    return {
        "start_positions": starts.astype(np.int32),
        "end_positions": ends.astype(np.int32),
    }
