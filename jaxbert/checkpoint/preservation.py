"""Which checkpoints stay: the last ones, those with the best score, and some for good."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge
from orbax.checkpoint import checkpoint_managers as orbax

from jaxbert.metrics.ranking import Mode, better_mode, ranked
from jaxbert.options import check_options


@dataclass(frozen=True)
class CheckpointConfig:
    """Which checkpoints stay."""

    keep_last: Annotated[int, Ge(1)] = 2
    """How many of the newest stay."""
    keep_best: Annotated[int, Ge(0)] = 1
    """How many with the best `metric` stay besides; needs `metric`."""
    keep_every: Annotated[int, Ge(1)] | None = None
    """Those of every so many steps stay for good, to look back at, to go on from or to export:
    jaxbert convert RUN DEST --step N; null: none."""
    metric: str | None = None
    """Evaluation metric that says which is best, e.g. `accuracy`; null: the last is the best."""
    mode: Literal["auto", "max", "min"] = "auto"
    """Whether more or less of it is better; auto: less of a loss, an error or a perplexity."""

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def better(self) -> Mode:
        """What `mode` means for `metric`."""
        if self.mode != "auto":
            return self.mode
        return better_mode(self.metric or "")


@dataclass
class Preservation(orbax.PreservationPolicy):
    """Orbax's question which checkpoints to keep, answered from the scores of the run so far."""

    config: CheckpointConfig
    scores: Mapping[int, float]

    def should_preserve(
        self,
        checkpoints: Sequence[orbax.PolicyCheckpointInfo],
        *,
        context: orbax.PreservationContext,
    ) -> list[bool]:
        """For every checkpoint, oldest first, whether it stays."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        best = ranked({s: self.scores[s] for s in steps if s in self.scores}, self.config.better)
        kept = {*steps[-self.config.keep_last :], *best[: self.config.keep_best]}
        if (every := self.config.keep_every) is not None:
            kept.update(step for step in steps if step % every == 0)
        return [step in kept for step in steps]
