"""What the runs of a sweep have given: figures over the seeds, and which run is the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxbert.checkpoint.preservation import CheckpointConfig
from jaxbert.errors import UserError
from jaxbert.experiment.spread import Figure
from jaxbert.metrics.ranking import Mode, ranked


@dataclass(frozen=True)
class Choice:
    """The figure by which runs are compared."""

    name: str
    better: Mode

    def best_first(self, figures: Sequence[float]) -> list[int]:
        """The places of some values of it from the best to the worst; those not finite last."""
        return ranked(dict(enumerate(figures)), self.better)


@dataclass(frozen=True)
class Row:
    """A point of the grid whose runs have ended."""

    values: Mapping[str, Any]
    runs: tuple[str, ...]
    """Their directories, below that of the sweep."""
    seeds: tuple[int, ...]
    figures: Mapping[str, Figure]

    def chosen_by(self, choice: Choice) -> Figure:
        """The figure that chooses."""
        return self.figures.get(choice.name, Figure((math.nan,) * len(self.runs)))


@dataclass(frozen=True)
class Outcome:
    """All that came of a sweep."""

    rows: tuple[Row, ...]
    """The best first, where there is a figure that says so."""
    choice: Choice | None

    @property
    def best(self) -> str | None:
        """Of the best point's runs the best, of all where none has a finite mean."""
        if self.choice is None or not self.rows:
            return None
        is_ranked = math.isfinite(self.rows[0].chosen_by(self.choice).mean)
        runs: list[tuple[str, float]] = []
        for row in self.rows[:1] if is_ranked else self.rows:
            runs += zip(row.runs, row.chosen_by(self.choice).values, strict=True)
        place = self.choice.best_first([value for _, value in runs])[0]
        name, value = runs[place]
        return name if math.isfinite(value) else None

    def to_json(self) -> dict[str, Any]:
        """As `sweep.json` has it."""
        return {
            "metric": self.choice and self.choice.name,
            "better": self.choice and self.choice.better,
            "best": self.best,
            "points": [
                {
                    "values": row.values,
                    "seeds": row.seeds,
                    "runs": row.runs,
                    "figures": {
                        name: {"mean": of.mean, "deviation": of.deviation, "values": of.values}
                        for name, of in row.figures.items()
                    },
                }
                for row in self.rows
            ],
        }


def outcome_of(rows: Sequence[Row], choice: Choice | None) -> Outcome:
    """With the rows in their order."""
    if choice is None:
        return Outcome(tuple(rows), choice)
    order = choice.best_first([row.chosen_by(choice).mean for row in rows])
    return Outcome(tuple(rows[place] for place in order), choice)


def choice_of(configs: Sequence[Any], *, is_needed: bool) -> Choice | None:
    """What `checkpoint.metric` names, else the loss on the validation data of fine-tuning.

    None where they have neither; UserError where one is needed, and where they name several.
    """
    named = [
        "null" if c.checkpoint.metric is None else f"{c.checkpoint.metric} ({c.checkpoint.better})"
        for c in configs
    ]
    if other := next((each for each in named if each != named[0]), None):
        raise UserError(
            f"--sweep: checkpoint.metric={named[0]} and {other} would each choose another best "
            "run: give one for all"
        )
    if (metric := configs[0].checkpoint.metric) is not None:
        return Choice(f"eval_{metric}", configs[0].checkpoint.better)
    if all(c.kind == "finetune" and c.validation_names == ("",) for c in configs):
        return Choice("eval_loss", CheckpointConfig(metric="loss").better)
    if is_needed:
        raise UserError(
            "--sweep: which run is the best is said by the metric of validation data that "
            "checkpoint.metric names, or in fine-tuning by the loss of a single set: give one"
        )
    return None
