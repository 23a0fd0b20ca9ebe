"""What benchmarks share: processes that take turns, and a word on the machine."""

import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ONE_THREAD = {
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "RAYON")},
    "JAX_PLATFORMS": "cpu",
    "PYTHONNOUSERSITE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
"""The environment of a process that has one core to itself."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "jaxbert-benchmarks")


class Ended(SystemExit):
    """A process that should have answered has ended."""


class Worker:
    """A process that gets ready, then works when it is its turn; it answers in lines of JSON.

    It keeps to one core, if one is given. What it says that is not JSON is passed on.
    """

    def __init__(self, command: Sequence[str], core: int | None, settings: Mapping[str, str] = {}):
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        self._process = subprocess.Popen(
            [*pinned, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ({} if core is None else ONE_THREAD) | dict(settings),
        )

    def answer(self) -> Any:
        """The next answer; Ended where the process has."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(("{", "[")):
                return json.loads(line)
            print(line, end="", file=sys.stderr)
        raise Ended(f"ended: {' '.join(self._process.args)}")  # type: ignore[arg-type]

    def turn(self, *words: str) -> Any:
        """Sends a line, and waits for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """Waits until the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def once(command: Sequence[str], settings: Mapping[str, str] = {}) -> Any:
    """The JSON that a fresh process of one core prints last."""
    command = ["taskset", "-c", str(cores()[-1]), *command]
    environment = os.environ | ONE_THREAD | dict(settings)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def cores() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0))


def peer_python(name: str, packages: Sequence[str], alone: Sequence[str], cache: Path) -> str:
    """The interpreter of an environment of exactly these packages, made if it is not there.

    `alone` are installed without what they ask for.
    """
    python = cache / name / "bin" / "python"
    receipt = cache / name / "packages.json"
    wanted = json.dumps([list(packages), list(alone)])
    if not receipt.is_file() or receipt.read_text() != wanted:
        print(f"... installing {', '.join([*packages, *alone])}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(cache / name)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        if alone:
            subprocess.run([*pip, "--no-deps", *alone], check=True)
        receipt.write_text(wanted)
    return str(python)


def about(packages: Sequence[str]) -> dict[str, Any]:
    """Versions, machine, how busy it is, date and commit."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line for line in info.splitlines() if line.startswith("model name")), ":")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "commit": commit(),
        "machine": model.partition(":")[2].strip() or platform.processor(),
        "has_amx": "amx_bf16" in info,
        "cores": len(cores()),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def commit() -> str:
    """Of this tree; empty where there is no git."""
    if shutil.which("git") is None:
        return ""
    git = ["git", "-C", str(Path(__file__).parents[1])]
    name = subprocess.run([*git, "describe", "--always"], capture_output=True, text=True).stdout
    # What goes on where it was stopped has changed its own results, and the page of them.
    changed = ["diff", "--quiet", "HEAD", "--", ".", ":!benchmarks/results", ":!docs/plans.md"]
    is_dirty = subprocess.run([*git, *changed], capture_output=True).returncode != 0
    return name.strip() + "-dirty" * is_dirty


def described(made: Mapping[str, Any]) -> str:
    """One line of `about`."""
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        f"{made['date']}, commit {made['commit']}, {made['machine']}"
        f" ({'AMX' if made['has_amx'] else 'no AMX'}), {made['cores']} cores, load {made['load']} "
        f"at the start, Python {made['python']}, {versions}"
    )


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, with the lowest and the highest."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def times(value: Sequence[float], other: Sequence[float]) -> float:
    """The ratio of the medians."""
    return statistics.median(value) / statistics.median(other)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown, the first row as header."""
    header, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, "|" + "---|" * len(rows[0]), *body])


def save(results: Any, path: Path | None) -> None:
    """As JSON, where a path is given."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
