"""--sweep and --seeds: several runs of one command."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxbert.cli.arguments import positive
from jaxbert.errors import UserError

if TYPE_CHECKING:
    from jaxbert.experiment.sweep import Point
    from jaxbert.experiment.sweep_outcome import Outcome

Load = Callable[[Sequence[str], Callable[[str], None]], Any]
"""Overrides, and what to tell the user with -> a configuration."""


def add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """--sweep and --seeds."""
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="KEY=VALUE,VALUE,...",
        help="train with each of these values, with several of these flags with every combination, "
        "each in a directory of RUN; RUN/sweep.json has what came of it, sweep.png shows it",
    )
    parser.add_argument(
        "--seeds",
        type=positive,
        help="train with so many seeds, from the configuration's on, each in its seed-N; mean and "
        "deviation of their figures are in RUN/sweep.json",
    )


def is_sweep(arguments: argparse.Namespace) -> bool:
    """Whether there are several runs to train."""
    return bool(arguments.sweep) or arguments.seeds is not None


def points_of(
    arguments: argparse.Namespace,
    overrides: Sequence[str],
    load: Load,
    say: Callable[[str], None] = lambda line: None,
) -> "tuple[list[Point], list[int] | None]":
    """The grid's points, one without --sweep; and the seeds of each, None: its configuration's.

    Raises UserError for flags that contradict each other and for a value that is none.
    """
    from jaxbert.experiment.grid import SEED, axes_of, combinations
    from jaxbert.experiment.sweep import Point
    from jaxbert.yaml_values import value_of

    axes = axes_of(arguments.sweep, overrides)
    seeded = [axis for axis in axes if axis.key == SEED]
    if seeded and arguments.seeds is not None:
        raise UserError("--sweep seed: --seeds says which too: leave one of the two out")
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    def configured(given: Mapping[str, str]) -> Any:
        return load([*overrides, *(f"{key}={text}" for key, text in given.items())], say_once)

    grid = [*combinations([axis for axis in axes if axis.key != SEED])]
    points = [
        Point({key: value_of(text) for key, text in given.items()}, configured(given))
        for given in grid
    ]
    if seeded:
        return points, [configured(grid[0] | {SEED: text}).seed for text in seeded[0].texts]
    if arguments.seeds is None:
        return points, None
    start = points[0].config.seed
    return points, [*range(start, start + arguments.seeds)]


def report(run: str, outcome: "Outcome | None", *, is_first: bool) -> int:
    """The exit status; the first process prints what came of a sweep. None: preempted."""
    from jaxbert.training.signals import EXIT_PREEMPTED

    run = run.rstrip("/")
    if outcome is None:
        if is_first:
            print(f"preempted: the same command continues {run}")
        return EXIT_PREEMPTED
    if is_first:
        _print(run, outcome)
    if not any(row.figures for row in outcome.rows):
        raise UserError(f"{run}: every run diverged: take a lower optimizer.learning_rate")
    return 0


def _print(run: str, outcome: "Outcome") -> None:
    from jaxbert.cli.figures import print_outcome, print_spread

    first, number = outcome.rows[0], sum(len(row.runs) for row in outcome.rows)
    if first.values:
        runs = "1 run" if number == 1 else f"{number} runs, the best first"
        print_outcome(f"{run}: {runs}", outcome)
    else:
        seeds = f"{number} seed{'s' if number > 1 else ''}"
        print_spread(f"{run}: {seeds}", first.seeds, first.figures)
    if outcome.best is not None:
        print(f"the best is {run}/{outcome.best}")
