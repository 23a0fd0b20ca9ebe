"""What the verbs that train have in common."""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxbert.cli.compiled_programs import add_cache_arguments, keep_programs
from jaxbert.cli.cpu_memory import keep_memory
from jaxbert.cli.processes import Processes, add_process_arguments
from jaxbert.cli.sweeps import add_sweep_arguments, is_sweep, points_of, report
from jaxbert.errors import UserError

if TYPE_CHECKING:
    from jaxbert.experiment.sweep import Check


@dataclass(frozen=True)
class Experiment:
    """What a verb trains."""

    config: type
    """The class of its configuration."""
    load: Callable[[str, Sequence[str], Callable[[str], None]], Any]
    """File, overrides, and what to tell the user with -> a configuration."""
    train: Callable[..., Any]
    """Configuration, run directory and options -> what came of it."""
    check: "Check"
    """Raises UserError where a run would be refused at its beginning."""


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, overrides and --run."""
    parser.add_argument(
        "config", nargs="?", help="YAML file; see configs/, and for every option --schema"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="e.g. optimizer.learning_rate=3e-5"
    )
    parser.add_argument(
        "--run", help="run directory, or its URL (gs://...); the same command again continues it"
    )
    parser.add_argument(
        "--schema",
        nargs="?",
        const="json",
        choices=("json", "markdown"),
        help="print the JSON schema of the configuration, or docs/options.md, and end",
    )
    add_sweep_arguments(parser)
    parser.add_argument(
        "--profile",
        metavar="FIRST:STOP",
        help="trace these steps for TensorBoard's profiler (RUN/profile), e.g. 10:13",
    )
    add_cache_arguments(parser)
    add_process_arguments(parser)


def run_training(arguments: argparse.Namespace, load: Callable[[], Experiment]) -> int:
    """Loads the configuration, trains until done or preempted, prints the figures.

    Of several processes the first one prints; all of them end with one status.
    """
    from jaxbert.cli.figures import print_figures
    from jaxbert.training.signals import EXIT_PREEMPTED, Preemption

    preemption = Preemption()
    # Before the imports that `load` does: they take seconds, in which SIGTERM may come.
    preemption.install()
    if arguments.schema == "markdown":
        from jaxbert.cli.options import page

        print(page(), end="")
        return 0
    if arguments.schema == "json":
        _print_schema(load().config)
        return 0
    from jaxbert.experiment.run_files import RunDirectory

    with Processes(arguments) as processes:
        experiment = load()
        file, overrides = words_of(arguments)
        say = partial(print, flush=True) if processes.is_first else _silent
        load_with = partial(experiment.load, file)
        points, seeds = points_of(arguments, overrides, load_with, say)
        interrupted, profile = preemption.requested, _steps(arguments.profile)
        with _directory(arguments.run, processes) as run:
            keep_programs(arguments, run, is_first=processes.is_first)
            keep_memory()
            if is_sweep(arguments):
                from jaxbert.experiment.sweep import sweep

                outcome = sweep(
                    experiment.train,
                    points,
                    run,
                    seeds=seeds,
                    check=experiment.check,
                    say=say,
                    interrupted=interrupted,
                    profile=profile,
                )
            else:
                [point] = points
                fitted = experiment.train(
                    point.config, run, interrupted=interrupted, profile=profile
                )
                has_adapter = RunDirectory(Path(run)).adapter.is_dir()
    if is_sweep(arguments):
        return report(arguments.run, outcome, is_first=processes.is_first)
    if not processes.is_first:
        return EXIT_PREEMPTED if fitted.outcome == "preempted" else 0
    if fitted.outcome == "preempted":
        saved = f"saved at step {fitted.step}" if fitted.step else "no step was taken"
        print(f"preempted: {saved}; the same command continues {arguments.run}")
        return EXIT_PREEMPTED
    print_figures(f"{arguments.run}: {fitted.outcome.replace('_', ' ')}", fitted.results)
    place = arguments.run.rstrip("/")
    beside = f", its low-rank factors in {place}/adapter" if has_adapter else ""
    print(f"the model, of step {fitted.step}, is in {place}/model{beside}")
    return 0


@contextmanager
def _directory(run: str, processes: Processes) -> Iterator[str]:
    """Where on this machine the run is worked in."""
    from jaxbert.experiment.run_copy import is_url, local_copy

    if not is_url(run):
        yield run
        return
    if not processes.is_alone:
        raise UserError(
            f"--run {run}: the processes of a run share one directory: mount the bucket on every "
            "machine (Cloud Storage FUSE), or give another storage that they share"
        )
    with local_copy(run) as directory:
        try:
            yield str(directory)
        except UserError as error:
            # What is put right in the copy is gone with the next command.
            raise UserError(str(error).replace(str(directory), run.rstrip("/"))) from None


def _silent(line: str) -> None:
    """The first process speaks for all."""


def words_of(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """The configuration's file, and the overrides."""
    words = [word for word in (arguments.config, *arguments.overrides) if word is not None]
    overrides = [word for word in words if re.match(r"[\w.]+=", word)]
    files = [word for word in words if word not in overrides]
    if len(files) != 1 or arguments.run is None:
        raise UserError(
            f"expected one CONFIG.yaml and --run DIRECTORY, found {' '.join(files) or 'no file'}"
            f"{'' if arguments.run else ' and no --run'}"
        )
    return files[0], overrides


def _steps(text: str | None) -> range:
    if text is None:
        return range(0)
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise UserError(f"--profile {text}: expected FIRST:STOP, such as 10:13 for three steps")
    from jaxbert.training.profile import check_tracing

    check_tracing()
    return range(int(found[1]), int(found[2]))


def _print_schema(config_class: type) -> None:
    import json

    from jaxbert.config import json_schema

    print(json.dumps(json_schema(config_class), indent=2))
