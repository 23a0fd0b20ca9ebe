"""Which tokens masked language modelling asks for, and what becomes of them."""

from dataclasses import dataclass, field
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from jaxbert.errors import UserError


@dataclass(frozen=True)
class TokenUnits:
    """Every token is chosen by itself (Devlin et al. 2018)."""

    kind: Literal["tokens"] = "tokens"


@dataclass(frozen=True)
class WordUnits:
    """All pieces of a word are chosen together (the whole-word models of the BERT authors)."""

    kind: Literal["words"] = "words"


Units = TokenUnits | WordUnits


@dataclass(frozen=True)
class Rates:
    """Shares that hold at one step: of the tokens that are chosen, and of what they become."""

    probability: float
    mask_replace_prob: float
    random_replace_prob: float


@dataclass(frozen=True)
class MaskingConfig:
    """Masked-LM corruption; the defaults are those of the original BERT, masked dynamically."""

    probability: float = 0.15
    """Of an example's tokens, how many are chosen to be predicted."""
    max_predictions: int | None = None
    """Of an example; null: as many as `probability` asks for."""
    mask_replace_prob: float = 0.8
    """Of the chosen tokens, how many become [MASK]."""
    random_replace_prob: float = 0.1
    """How many become a random token; the rest stay as they are."""
    units: Units = field(default_factory=TokenUnits)
    num_duplicates: int | None = None
    """Static masking: epoch e repeats the pairs and masks of epoch e - num_duplicates (10 in the
    original BERT, its `dupe_factor`). null: dynamic masking, which never repeats them."""

    def __post_init__(self) -> None:
        if not 0.0 < self.probability <= 1.0:
            raise UserError(f"probability={self.probability}: must be above 0, at most 1")
        for name in ("mask_replace_prob", "random_replace_prob"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"{name}={getattr(self, name)}: must be from 0 to 1")
        if self.mask_replace_prob + self.random_replace_prob > 1.0:
            raise UserError(
                f"mask_replace_prob={self.mask_replace_prob} and random_replace_prob="
                f"{self.random_replace_prob} add up to more than 1"
            )
        for name in ("max_predictions", "num_duplicates"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value}: must be at least 1, or null")

    def rates(self) -> Rates:
        """The shares that hold."""
        return Rates(self.probability, self.mask_replace_prob, self.random_replace_prob)

    @overload
    def most_predictions(self, lengths: int) -> int: ...

    @overload
    def most_predictions(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]: ...

    def most_predictions(self, lengths: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
        """How many tokens of examples of these lengths are chosen at most, [CLS] and [SEP] counted.

        With whole units fewer may be chosen, never more.
        """
        most = num_predictions(np.asarray(lengths), self.probability, self.max_predictions)
        return int(most) if isinstance(lengths, int) else most

    def check_length(self, max_seq_length: int) -> None:
        """Refuses a `max_predictions` that examples of this length cannot have or need more of."""
        if self.max_predictions is None:
            return
        # The published recipe rounds down: 76 of 512 tokens, where the formula asks for 77.
        needed = int(self.probability * max_seq_length)
        if not needed <= self.max_predictions <= max_seq_length:
            raise UserError(
                f"masking.max_predictions={self.max_predictions}: must be from {max(1, needed)}"
                f" (probability={self.probability}) to max_seq_length={max_seq_length}, or null"
            )


def num_predictions(
    lengths: NDArray[np.int64], probability: float, max_predictions: int | None
) -> NDArray[np.int64]:
    """min(max_predictions, max(1, round(probability * length))), as in the reference; int64.

    `lengths` count [CLS] and [SEP].
    """
    return np.clip(np.rint(probability * lengths).astype(np.int64), 1, max_predictions)
