"""A sweep: the runs of a grid of values and seeds one after another, and what came of them."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxbert.config import to_values
from jaxbert.disk import write_whole
from jaxbert.errors import DivergedError, UserError
from jaxbert.experiment.fit import Fitted
from jaxbert.experiment.grid import name_of
from jaxbert.experiment.lock import sole_trainer
from jaxbert.experiment.run_files import RunDirectory
from jaxbert.experiment.spread import figures_of
from jaxbert.experiment.sweep_outcome import (
    Choice,
    Outcome,
    Row,
    choice_of,
    outcome_of,
)
from jaxbert.experiment.sweep_picture import draw_sweep
from jaxbert.hub.several_runs import SUMMARY
from jaxbert.parallel.processes import in_first, of_all
from jaxbert.text.vocabulary import read_object

PICTURE = "sweep.png"
Record = dict[str, Any]
"""What `sweep.json` says of a run: its configuration's digest, outcome and results."""
Check = Callable[[Sequence[tuple[Any, Path]], Sequence[tuple[Any, Path]]], None]
"""Configurations and directories of the runs that are left, and of those that have ended; raises
UserError."""


@dataclass(frozen=True)
class Point:
    """A place of the grid."""

    values: Mapping[str, Any]
    """Plain, by dotted key; none where only the seed differs."""
    config: Any


@dataclass(frozen=True)
class Run:
    """A point with a seed, and its directory below that of the sweep."""

    name: str
    values: Mapping[str, Any]
    config: Any


def sweep(
    train: Callable[..., Fitted],
    points: Sequence[Point],
    path: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    check: Check = lambda left, ended: None,
    interrupted: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> Outcome | None:
    """Trains every point with every seed, each in a directory of its own below `path`.

        sweep(finetune, [Point({"batch_size": n}, config_of(n)) for n in (16, 32)], "runs/sizes")

    `seeds` None: each with the seed of its configuration. `check` is given all that is to be
    trained before anything is, and what has ended; `options` go to `train`. The same call again
    goes on: what has ended is not trained again. A run whose loss is not finite counts as nan.

    Writes `sweep.json` after every run, and a picture at the end. None: preempted. Raises UserError
    where no figure says which of several points is the best, and where `path` is a single run, or
    has figures of runs that are not asked for.
    """
    path, runs = Path(path), runs_of(points, seeds)
    choice = choice_of([p.config for p in points], is_needed=any(p.values for p in points))
    known: dict[str, Record] = in_first(lambda: _ended(path, runs))
    left = [run for run in runs if run.name not in known]
    if left:
        ended = [run for run in runs if run.name in known]
        check(*([(run.config, path / run.name) for run in some] for some in (left, ended)))
    if known:
        say(f"{len(known)} of {len(runs)} runs had ended already")
    in_first(lambda: path.mkdir(parents=True, exist_ok=True))
    with sole_trainer(path):
        in_first(lambda: _write(path, _outcome(runs, known, choice), known))
        for run in left:
            if any(of_all(interrupted())):
                return None
            say(f"run {len(known) + 1} of {len(runs)}: {run.name}")
            record = _trained(train, run, path, say, interrupted=interrupted, **options)
            if record is None:
                return None
            known[run.name] = record
            in_first(lambda: _write(path, _outcome(runs, known, choice), known))
        outcome = _outcome(runs, known, choice)
        if outcome.choice is not None and len(points) > 1:
            in_first(lambda: draw_sweep(outcome, path / PICTURE))
    return outcome


def runs_of(points: Sequence[Point], seeds: Sequence[int] | None) -> list[Run]:
    """Every point with every seed, the seeds changing first."""
    runs = []
    for point in points:
        name = name_of(point.values)
        if seeds is None:
            runs.append(Run(name, point.values, point.config))
            continue
        for seed in seeds:
            own = f"{name}/seed-{seed}" if name else f"seed-{seed}"
            runs.append(Run(own, point.values, replace(point.config, seed=seed)))
    return runs


def _trained(
    train: Callable[..., Fitted],
    run: Run,
    path: Path,
    say: Callable[[str], None],
    **options: Any,
) -> Record | None:
    """None: preempted. Of the run nothing but figures is kept in memory."""
    outcome, results = "diverged", dict[str, float]()
    try:
        fitted = train(run.config, path / run.name, **options)
        outcome, results = fitted.outcome, fitted.results
    except DivergedError as error:
        say(f"{run.name} counts as nan: {error}")
    if outcome == "preempted":
        return None
    return {"configuration": _digest(run.config), "outcome": outcome, "results": results}


def _ended(path: Path, runs: Sequence[Run]) -> dict[str, Record]:
    """What is known of the runs that have ended; UserError where the directory is another's."""
    for place in dict.fromkeys([path, *((path / run.name).parent for run in runs)]):
        if RunDirectory(place).config.exists():
            raise UserError(f"{place} is a single run: give another --run directory for several")
    recorded = read_object(path / SUMMARY).get("runs", {})
    if lost := [name for name in recorded if name not in {run.name for run in runs}]:
        raise UserError(
            f"{path / SUMMARY} has the figures of {lost[0]}, which would go: give all of its "
            "values and seeds (--sweep, --seeds, seed=), or give another --run directory"
        )
    found = {}
    for run in runs:
        record, own = recorded.get(run.name, {}), RunDirectory(path / run.name)
        # Another configuration is what training takes up, or says why not.
        is_same = record.get("configuration") == _digest(run.config)
        if is_same and (own.results.exists() or record.get("outcome") == "diverged"):
            found[run.name] = record
    return found


def _digest(config: Any) -> str:
    text = json.dumps(to_values(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _outcome(runs: Sequence[Run], known: Mapping[str, Record], choice: Choice | None) -> Outcome:
    """Of the points all of whose runs have ended."""
    points: dict[str, list[Run]] = {}
    for run in runs:
        points.setdefault(name_of(run.values), []).append(run)
    rows = []
    for own in points.values():
        if all(run.name in known for run in own):
            names, seeds = (run.name for run in own), (run.config.seed for run in own)
            results = [_numbers(known[run.name]["results"]) for run in own]
            rows.append(Row(own[0].values, tuple(names), tuple(seeds), figures_of(results)))
    return outcome_of(rows, choice)


def _write(path: Path, outcome: Outcome, known: Mapping[str, Record]) -> None:
    values = _finite(outcome.to_json() | {"runs": known})
    text = json.dumps(values, indent=2, default=repr, allow_nan=False)
    write_whole(path / SUMMARY, text + "\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(results: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in results.items()}
