"""What lies where in a run's directory, for whoever only reads it: nothing here needs JAX."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError
from jaxbert.text.vocabulary import read_object
from jaxbert.yaml_values import read_values

_NUMBER = r"(?<==)\d+(?:\.\d+)?(?:e[-+]?\d+)?|\d+"
"""In a name: a whole one, or whatever a sweep has given a key."""


@dataclass(frozen=True)
class RunDirectory:
    """Where everything of a run lies."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def chosen(self) -> Path:
        """What in it is not the default: a shorter configuration of the same run."""
        return self.path / "chosen.yaml"

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


def read_data(path: str | Path) -> dict[str, str]:
    """What `write_data` noted; {} if `path` is not a run, or one that has not begun."""
    return read_object(RunDirectory(Path(path)).data)


def read_run_config(path: str | Path) -> dict[str, Any] | None:
    """The configuration of a run as plain values; None if `path` is not a run."""
    file = RunDirectory(Path(path)).config
    return read_config_file(file) if file.is_file() else None


def runs_in(directory: Path, depth: int = 3) -> list[Path]:
    """A run itself, or the runs that a directory holds, in order, and so `depth` levels down.

    Three are a directory of sweeps: sweeps, their points, and the seeds of these.
    """
    if RunDirectory(directory).config.is_file():
        return [directory]
    if depth == 0 or not directory.is_dir():
        return []
    inner = (entry for entry in directory.iterdir() if entry.is_dir() and entry.name[0] != ".")
    return [run for entry in sorted(inner, key=_number_aware) for run in runs_in(entry, depth - 1)]


def _number_aware(path: Path) -> list[tuple[float, str]]:
    """Puts seed-2 before seed-10, and rate=1e-05 before rate=0.0001."""
    parts = re.split(rf"({_NUMBER})", path.name)
    return [(float(part), "") if place % 2 else (-1.0, part) for place, part in enumerate(parts)]


def read_config_file(file: Path, *, may_be_empty: bool = False) -> dict[str, Any]:
    """The configuration in a file of a run; UserError for a file that has none."""
    values = read_values(file)
    if not isinstance(values, dict) or not (values or may_be_empty):
        raise UserError(f"{file}: expected the configuration of a run, as `jaxbert` wrote it")
    return values


def steps_taken(path: str | Path) -> int:
    """The step of a run's newest checkpoint; 0 without any."""
    return max(checkpoint_steps(path), default=0)


def checkpoint_steps(path: str | Path) -> list[int]:
    """The steps of a run's checkpoints, oldest first."""
    names = (entry.name for entry in RunDirectory(Path(path)).checkpoints.glob("*"))
    return sorted(int(name) for name in names if name.isdecimal())


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
