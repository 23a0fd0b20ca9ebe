"""One configuration with several seeds: a run each, and the spread of their figures."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os.path import expanduser
from pathlib import Path
from typing import Any

from jaxbert.disk import write_whole
from jaxbert.errors import UserError
from jaxbert.experiment.fit import Fitted
from jaxbert.experiment.run_files import RunDirectory
from jaxbert.experiment.spread import Figure, figures_of
from jaxbert.parallel.processes import in_first
from jaxbert.text.download import is_here
from jaxbert.text.vocabulary import read_object

SUMMARY = "seeds.json"


def train_seeds(
    train: Callable[..., Fitted],
    config: Any,
    path: str | Path,
    seeds: Sequence[int],
    **options: Any,
) -> dict[str, Figure] | None:
    """Trains in `path`/seed-N, one after another; the same call again goes on.

    Writes `seeds.json` when all have ended. None: preempted before. Raises UserError where `path`
    is a single run, or has figures of seeds that are not asked for.
    """
    _check_path(Path(path), seeds)
    results = []
    for seed in seeds:
        fitted = train(replace(config, seed=seed), Path(path) / f"seed-{seed}", **options)
        if fitted.outcome == "preempted":
            return None
        results.append(fitted.results)
    found = figures_of(results)
    in_first(lambda: _write(Path(path) / SUMMARY, seeds, found))
    return found


def check_is_one_run(path: str | Path) -> None:
    """Raises UserError for a directory of several seeds' runs, with the name of one."""
    path = Path(expanduser(path))
    runs = (
        sorted(config.parent for config in path.glob("seed-*/config.yaml")) if is_here(path) else ()
    )
    if runs and not RunDirectory(path).config.exists():
        raise UserError(f"{path} holds the runs of several seeds: name one, such as {runs[0]}")


def _check_path(path: Path, seeds: Sequence[int]) -> None:
    if RunDirectory(path).config.exists():
        raise UserError(f"{path} is a single run: give another --run directory for several seeds")
    summary = path / SUMMARY
    missing = [seed for seed in read_object(summary).get("seeds", []) if seed not in seeds]
    if missing:
        raise UserError(
            f"{summary} has the figures of seed {', '.join(map(str, missing))}, which would go: "
            "train with all of its seeds (--seeds, seed=), or give another --run directory"
        )


def _write(path: Path, seeds: Sequence[int], figures: Mapping[str, Figure]) -> None:
    found: dict[str, Any] = {"seeds": list(seeds)}
    for name, figure in figures.items():
        values = [_finite(value) for value in figure.values]
        mean, deviation = _finite(figure.mean), _finite(figure.deviation)
        found[name] = {"mean": mean, "deviation": deviation, "values": values}
    write_whole(path, json.dumps(found, indent=4) + "\n")


def _finite(value: float | None) -> float | None:
    """JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None
