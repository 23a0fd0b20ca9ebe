"""A run is a directory that describes itself."""

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxbert.config import completed, to_values, to_yaml
from jaxbert.disk import write_whole
from jaxbert.errors import UserError
from jaxbert.experiment.lock import LOCK, sole_trainer
from jaxbert.hub.replace import foreign_files
from jaxbert.parallel.processes import in_first, is_first, of_all
from jaxbert.text.remote import check_is_here
from jaxbert.text.vocabulary import read_object
from jaxbert.yaml_values import read_values


@dataclass(frozen=True)
class RunDirectory:
    """Where everything of a run lies."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def data(self) -> Path:
        """Fingerprints of the data that it is trained and evaluated on."""
        return self.path / "data.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per logged step or evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Orbax checkpoints, one folder per step."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The exported model, in Hugging Face's layout wherever it can hold it."""
        return self.path / "model"

    @property
    def adapter(self) -> Path:
        """What `lora` trained, as peft has it."""
        return self.path / "adapter"

    @property
    def compiled(self) -> Path:
        """Compiled programs, for the one who continues."""
        return self.path / "compiled"

    @property
    def features(self) -> Path:
        """What a frozen encoder gives for the run's data."""
        return self.path / "features"

    @property
    def results(self) -> Path:
        """The final figures as flat JSON, named as transformers names them."""
        return self.path / "all_results.json"

    @property
    def report(self) -> Path:
        """What a person reads of the run: figures, data, breakdowns, mistakes."""
        return self.path / "report.md"

    @property
    def loss_curve(self) -> Path:
        """The loss curve as a picture."""
        return self.path / "loss.png"


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

    in_first(make)
    _check_shared(run.path)
    with sole_trainer(run.path):
        in_first(write)
        yield run


def write_data(run: RunDirectory, fingerprints: Mapping[str, str]) -> None:
    """Notes which data a run has, each part by what messages call it; the first process writes."""
    in_first(lambda: write_whole(run.data, json.dumps(dict(fingerprints), indent=4) + "\n"))


def read_data(path: str | Path) -> dict[str, str]:
    """What `write_data` noted; {} if `path` is not a run, or one that has not begun."""
    return read_object(RunDirectory(Path(path)).data)


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


def read_run_config(path: str | Path) -> dict[str, Any] | None:
    """The configuration of a run as plain values; None if `path` is not a run."""
    file = RunDirectory(Path(path)).config
    return _read_values(file) if file.is_file() else None


def _read_values(file: Path) -> dict[str, Any]:
    values = read_values(file)
    if not isinstance(values, dict) or not values:
        raise UserError(f"{file}: expected the configuration of a run, as `jaxbert` wrote it")
    return values


def steps_taken(path: str | Path) -> int:
    """The step of a run's newest checkpoint; 0 without any."""
    return max(checkpoint_steps(path), default=0)


def checkpoint_steps(path: str | Path) -> list[int]:
    """The steps of a run's checkpoints, oldest first."""
    names = (entry.name for entry in RunDirectory(Path(path)).checkpoints.glob("*"))
    return sorted(int(name) for name in names if name.isdecimal())


def _check_same(run: RunDirectory, config: Any, may_change: Collection[str]) -> None:
    old, new = completed(type(config), _read_values(run.config)), to_values(config)
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


def differences(old: Any, new: Any, key: str = "") -> list[tuple[str, str]]:
    """The keys at which plain values differ, each with a text that says both."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        return [
            found
            for name in names
            for found in differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
        ]
    return [] if old == new else [(key, f"{key} was {old!r}, is {new!r}")]
