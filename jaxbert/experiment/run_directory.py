"""A run is a directory that describes itself."""

import json
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from jaxbert.config import chosen_values, completed, to_values, to_yaml
from jaxbert.disk import write_whole
from jaxbert.errors import UserError
from jaxbert.experiment.lock import LOCK, sole_trainer
from jaxbert.experiment.run_files import (
    RunDirectory,
    differences,
    read_config_file,
    read_data,
    steps_taken,
)
from jaxbert.hub.replace import foreign_files
from jaxbert.parallel.processes import in_first, is_first, of_all
from jaxbert.text.remote import check_is_here
from jaxbert.yaml_values import dumped

MAY_CHANGE = (
    *("step.nonfinite", "loop.log_every", "loop.checkpoint_every"),
    *("loop.prefetch", "loop.loader_threads"),
    *("checkpoint.keep_last", "checkpoint.keep_best", "checkpoint.keep_every"),
    *("mesh.replica", "mesh.data", "mesh.fsdp", "mesh.tensor"),
    *("step.shard_optimizer", "execution.remat"),
)
"""Keys that a run may be continued with other values of: what an update is does not depend on them.

Its bits do on the mesh: sums over devices are rounded in another order, and a generator that draws
by device (`step.dropout_rng`; rbg, the default on TPUs) draws other dropout.
"""
_DATA = ("store", "train", "validation")
"""Keys that say where data lie, which may move: what they are is known by their fingerprints."""


def check_run(path: str | Path, config: Any, may_change: Collection[str] = ()) -> None:
    """Raises UserError where `open_run` would; writes nothing."""
    check_is_here(path)
    run = RunDirectory(Path(path))
    if found := re.search(r"[*?[]", str(run.path.absolute())):
        raise UserError(
            f"--run {run.path}: Orbax takes {found[0]} in a path for a pattern, and the "
            "checkpoints that it saves there may not be read again: give one without *, ? and ["
        )
    if run.config.exists():
        for written in (run.model, run.adapter):
            if foreign := foreign_files(written):
                raise UserError(
                    f"{written} also holds {', '.join(foreign)}, and is written anew when the run "
                    "ends: move it away first"
                )
        if steps_taken(path):
            _check_same(run, config, {*MAY_CHANGE, *may_change})
    elif run.path.exists() and (not run.path.is_dir() or any(_foreign(run))):
        raise UserError(
            f"{run.path} is neither empty nor a run (it has no config.yaml): give another --run"
        )


def _foreign(run: RunDirectory) -> Iterator[Path]:
    """What is there besides programs that were compiled before the run began.

    Nor is foreign what another process is writing first, or was when it was killed.
    """
    own = {run.compiled, _unfinished(run), _mark(run.path), run.path / LOCK}
    return (entry for entry in run.path.iterdir() if entry not in own)


def _unfinished(run: RunDirectory) -> Path:
    return run.config.with_suffix(".tmp")


@contextmanager
def open_run(
    path: str | Path,
    config: Any,
    may_change: Collection[str] = (),
    check: Callable[[], object] = lambda: None,
) -> Iterator[RunDirectory]:
    """Makes the directory of a run, or opens it to continue, for this command alone.

    Raises UserError where it holds something else, where another command trains in it, or for a run
    of another configuration that has checkpoints already: the message names the keys that differ,
    `MAY_CHANGE` and `may_change` apart; and what `check` raises, which is called before the
    configuration is replaced. Of several processes the first one writes, and all have to see it.
    """
    run = RunDirectory(Path(path))

    def make() -> None:
        check_run(run.path, config, may_change)
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--run {run.path} cannot be made ({error.strerror}): name another directory"
            ) from None

    def write() -> None:
        # Who trained in it until now may have made checkpoints since.
        check_run(run.path, config, may_change)
        check()
        write_whole(run.config, to_yaml(config))
        write_whole(run.chosen, dumped(chosen_values(config)))

    in_first(make)
    _check_shared(run.path)
    with sole_trainer(run.path):
        in_first(write)
        yield run


def write_data(run: RunDirectory, fingerprints: Mapping[str, str]) -> None:
    """Notes which data a run has, each part by what messages call it; the first process writes."""
    in_first(lambda: write_whole(run.data, json.dumps(dict(fingerprints), indent=4) + "\n"))


def check_same_data(path: str | Path, fingerprints: Mapping[str, str]) -> None:
    """Raises UserError where a run that has checkpoints has had other data."""
    known = read_data(path)
    changed = [name for name, own in fingerprints.items() if known.get(name, own) != own]
    if changed and steps_taken(path):
        raise UserError(
            f"{path}: {changed[0]} is not what the run had, and what is compared must have the "
            "same: put the data back (and the model, whose tokenizer reads them), or give another "
            "--run directory"
        )


def _check_shared(directory: Path) -> None:
    """Raises UserError where processes have different directories of one name."""
    if jax.process_count() == 1:
        return
    mark = _mark(directory)
    text = in_first(lambda: _marked(mark))
    is_seen = of_all(mark.is_file() and mark.read_text() == text)
    if is_first():
        mark.unlink()
    if not all(is_seen):
        raise UserError(
            f"{directory}: process {is_seen.index(False)} does not see what process 0 writes "
            "there: give a --run directory on storage that all processes share"
        )


def _mark(directory: Path) -> Path:
    return directory / ".processes"


def _marked(path: Path) -> str:
    text = secrets.token_hex()
    path.write_text(text)
    return text


def _check_same(run: RunDirectory, config: Any, may_change: Collection[str]) -> None:
    old, new = completed(type(config), read_config_file(run.config)), to_values(config)
    found = differences(_without_places(old), _without_places(new))
    # With the places again: whoever reads it has written these.
    texts = dict(differences(old, new))
    changed = [texts[key] for key, _ in found if key not in may_change]
    if changed:
        raise UserError(
            f"{run.path} is a run of another configuration ({'; '.join(changed)}): continue it "
            "with the same one, or give another --run directory"
        )


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    return config | {key: _without_texts(config[key]) for key in _DATA if key in config}


def _without_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_texts(of) for name, of in value.items()}
    if isinstance(value, list):
        return [_without_texts(of) for of in value]
    return "" if isinstance(value, str) else value
