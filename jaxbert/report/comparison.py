"""What evaluation says of runs of one kind, and in which options they differ."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxbert.experiment.spread import Figure
from jaxbert.metrics.ranking import Mode, is_score, ranked
from jaxbert.report.reading import Run

MISSING = object()
"""In the place of an option that a configuration lacks."""
_BEFORE = "eval/"


@dataclass(frozen=True)
class Score:
    """What evaluations of one metric came to."""

    final: float
    """Of the model that the run has left, or else of the last evaluation."""
    step: int
    best: float | None = None
    """None: of this metric no value is better than another."""
    best_step: int | None = None


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    places: list[int]
    figures: dict[str, Figure]
    """By metric, of what all of them have."""


@dataclass(frozen=True)
class Comparison:
    """Runs of one kind side by side."""

    kind: str
    runs: list[Run]
    metrics: list[str]
    scores: list[dict[str, Score]]
    """Of every run, by metric."""
    best: dict[str, list[int]]
    """The places of the runs with the best final value, where it tells some from others."""
    options: list[str]
    """In which the configurations differ, as dotted keys."""
    values: list[dict[str, Any]]
    """Of every run, all options by dotted key."""
    groups: list[Group]
    best_groups: dict[str, list[int]]
    """The places of the groups with the best mean, where it tells some from others."""

    def value(self, place: int, option: str) -> Any:
        """Of one run; {} of a section, and MISSING where its configuration lacks the key."""
        values = self.values[place]
        return values.get(option, {} if _has_section(values, option) else MISSING)


def compared(runs: Sequence[Run]) -> list[Comparison]:
    """A comparison for each kind of run, in the order of their first ones."""
    kinds = dict.fromkeys(run.kind for run in runs)
    return [_comparison(kind, [run for run in runs if run.kind == kind]) for kind in kinds]


def _comparison(kind: str, runs: list[Run]) -> Comparison:
    scores = [scores_of(run) for run in runs]
    metrics = [*dict.fromkeys(name for found in scores for name in found)]
    values = [flat(run.config) for run in runs]
    groups = _groups(values, scores, metrics)
    finals = {
        name: {place: found[name].final for place, found in enumerate(scores) if name in found}
        for name in metrics
    }
    means = {
        name: {
            p: group.figures[name].mean for p, group in enumerate(groups) if name in group.figures
        }
        for name in metrics
    }
    modes = {name: runs[min(found)].mode(name) for name, found in finals.items()}
    return Comparison(
        kind=kind,
        runs=runs,
        metrics=metrics,
        scores=scores,
        best={name: _best(name, finals[name], modes[name]) for name in metrics},
        options=differing(values, [run.chosen and flat(run.chosen) for run in runs]),
        values=values,
        groups=groups,
        best_groups={name: _best(name, means[name], modes[name]) for name in metrics},
    )


def evaluated(run: Run) -> list[str]:
    """The metrics of whole sets, that of the checkpoints first, losses after it."""
    names = [name.removeprefix(_BEFORE) for name in run.curves if name.startswith(_BEFORE)]
    checkpoint = run.config.get("checkpoint")
    leading = checkpoint.get("metric") if isinstance(checkpoint, dict) else None
    # Figures by class, such as f1/person, are many.
    whole = [name for name in names if "/" not in name]
    return sorted(whole, key=lambda name: (name != leading, not name.endswith("loss")))


def scores_of(run: Run) -> dict[str, Score]:
    """By metric."""
    found = {}
    for name in evaluated(run):
        curve, result = run.curves[_BEFORE + name], run.results.get(f"eval_{name}")
        if curve.last is None:
            continue
        final, step = curve.last.value, curve.last.step
        if run.has_ended and isinstance(result, int | float):
            exported = run.results.get("step")
            final, step = result, exported if isinstance(exported, int) else step
        best = curve.lowest if run.mode(name) == "min" else curve.highest
        if best is None or not is_score(name):
            found[name] = Score(final, step)
        else:
            found[name] = Score(final, step, best.value, best.step)
    return found


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Options by dotted key; a list is one value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def differing(
    configs: Sequence[Mapping[str, Any]], chosen: Sequence[Mapping[str, Any] | None]
) -> list[str]:
    """The dotted keys at which flat configurations differ; `chosen`: what in each is no default.

    A key that some lack, for their section is of another kind or their version older, is among them
    only where another one has chosen its value, or where it is not known who chose what. Nor is a
    key that is null here and a section there, where one in the section is.
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    found = {key for key in keys if _differs(key, configs, chosen)}
    # The inner ones first: of these the outer ones need not be told.
    for key in sorted(keys, key=lambda key: -key.count(".")):
        is_section = any(_has_section(config, key) for config in configs)
        if is_section and not any(other.startswith(f"{key}.") for other in found):
            found.add(key)
    return [key for key in keys if key in found]


def _has_section(config: Mapping[str, Any], key: str) -> bool:
    return any(other.startswith(f"{key}.") for other in config)


def _differs(
    key: str, configs: Sequence[Mapping[str, Any]], chosen: Sequence[Mapping[str, Any] | None]
) -> bool:
    having = [place for place, config in enumerate(configs) if key in config]
    if any(configs[place][key] != configs[having[0]][key] for place in having):
        return True
    is_chosen = any(mine is None or key in mine for mine in (chosen[place] for place in having))
    return len(having) < len(configs) and is_chosen


def _best(name: str, values: Mapping[int, float], mode: Mode) -> list[int]:
    """The places of the best value; none where all are the same, or none is better."""
    if not is_score(name) or len(set(values.values())) < 2:
        return []
    best = values[ranked(values, mode)[0]]
    return [place for place, value in values.items() if value == best]


def _groups(
    values: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Score]], names: Sequence[str]
) -> list[Group]:
    alike: dict[str, list[int]] = {}
    for place, config in enumerate(values):
        others = {key: value for key, value in config.items() if key != "seed"}
        alike.setdefault(json.dumps(others, sort_keys=True, default=str), []).append(place)
    return [
        Group(places, _spread([scores[place] for place in places], names))
        for places in alike.values()
        if len(places) > 1
    ]


def _spread(scores: Sequence[Mapping[str, Score]], names: Sequence[str]) -> dict[str, Figure]:
    return {
        name: Figure(tuple(found[name].final for found in scores))
        for name in names
        if all(name in found and math.isfinite(found[name].final) for found in scores)
    }
