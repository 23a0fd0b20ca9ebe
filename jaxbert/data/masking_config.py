"""What masked language modelling hides, and what it puts there."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, overload

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from jaxbert.data.masking_rates import (
    Interpolation,
    RatePoint,
    Rates,
    num_predictions,
    rates_at,
    rates_of_points,
)
from jaxbert.errors import UserError
from jaxbert.options import check_options


@dataclass(frozen=True)
class TokenUnits:
    """Every token is chosen by itself (Devlin et al. 2018)."""

    kind: Literal["tokens"] = "tokens"


@dataclass(frozen=True)
class WordUnits:
    """All pieces of a word are chosen together (the whole-word models of BERT's authors)."""

    kind: Literal["words"] = "words"


@dataclass(frozen=True)
class SpanUnits:
    """Runs of whole words whose tokens all become the same (Joshi et al. 2019, section 3.1)."""

    kind: Literal["spans"] = "spans"
    geometric_p: Annotated[float, Gt(0), Le(1)] = 0.2
    """Of a run's length in words."""
    max_words: Annotated[int, Ge(1)] = 10
    """Of a run."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class NgramUnits:
    """Runs of n words, with a probability proportional to 1/n (Lan et al. 2019, section 4.1)."""

    kind: Literal["ngrams"] = "ngrams"
    max_words: Annotated[int, Ge(1)] = 3
    """The largest n."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class PhraseUnits:
    """Phrases of a user are chosen as a whole, like all other words (Sun et al. 2019, ERNIE)."""

    kind: Literal["phrases"] = "phrases"
    file: str = ""
    """UTF-8 text, one phrase a line."""

    def __post_init__(self) -> None:
        if not self.file:
            raise UserError("units: kind=phrases needs file=PATH, with one phrase a line")


Units = TokenUnits | WordUnits | SpanUnits | NgramUnits | PhraseUnits


@dataclass(frozen=True)
class MaskingConfig:
    """Masked-LM corruption; the defaults are those of the original BERT, masked dynamically."""

    probability: float = 0.15
    """Of an example's tokens, how many are chosen to be predicted."""
    max_predictions: int | None = None
    """Of an example; null: as many as the highest probability asks for."""
    mask_replace_prob: float = 0.8
    """Of the chosen tokens, how many become [MASK]."""
    random_replace_prob: float = 0.1
    """How many become a random token; the rest stay as they are."""
    schedule: tuple[RatePoint, ...] = ()
    """Steps of training at which these three change; evaluation keeps those above."""
    interpolation: Interpolation = "constant"
    """Between two points of the schedule, the first being those above at step 0."""
    units: Units = field(default_factory=TokenUnits)
    """What is chosen as a whole, by `kind`."""
    num_duplicates: int | None = None
    """Static masking: epoch e repeats the pairs and masks of epoch e - num_duplicates (10 in the
    original BERT, its `dupe_factor`). null: dynamic masking, which never repeats them."""

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("max_predictions", "num_duplicates"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value}: must be at least 1, or null")
        rates_of_points(self._first, self.schedule)

    @property
    def _first(self) -> Rates:
        return Rates(self.probability, self.mask_replace_prob, self.random_replace_prob)

    def rates(self, step: int | None = None) -> Rates:
        """The shares at a step of training, or (None) in evaluation."""
        if step is None:
            return self._first
        return rates_at(step, self._first, self.schedule, self.interpolation)

    @property
    def highest_probability(self) -> float:
        """Of all steps, and of evaluation."""
        return max(rates.probability for rates in rates_of_points(self._first, self.schedule))

    @overload
    def most_predictions(self, lengths: int) -> int: ...

    @overload
    def most_predictions(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]: ...

    def most_predictions(self, lengths: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
        """How many tokens of examples of these lengths are chosen at most, at any step.

        Lengths count [CLS] and [SEP]. With units of several tokens fewer may be chosen.
        """
        highest = self.highest_probability
        most = num_predictions(np.asarray(lengths), highest, self.max_predictions)
        return int(most) if isinstance(lengths, int) else most

    def check_length(self, max_seq_length: int) -> None:
        """Refuses a `max_predictions` that examples of this length cannot have or need more of."""
        if self.max_predictions is None:
            return
        # The published recipe rounds down: 76 of 512 tokens, where the formula asks for 77.
        needed = int(self.highest_probability * max_seq_length)
        if not needed <= self.max_predictions <= max_seq_length:
            raise UserError(
                f"masking.max_predictions={self.max_predictions}: must be from {max(1, needed)}"
                f" (probability={self.highest_probability}) to max_seq_length={max_seq_length},"
                " or null"
            )
