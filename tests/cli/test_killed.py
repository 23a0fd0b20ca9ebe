"""Real processes, killed and asked to end; what they do together is what one does alone."""

import random
import re
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from cli.commands import Command, logged_step, unfinished_checkpoints, wait_for
from experiment.small_runs import trajectory, weights

from jaxbert.manifest import damage


class Asked(NamedTuple):
    """A process that SIGTERM was sent to."""

    status: int
    output: str
    while_it: bool
    """Whether it was still at what it was to be interrupted in."""
    logged_step: int
    checkpoints: list[str]
    """When it had ended."""


class Continued(NamedTuple):
    run: Path
    compiling: Asked
    killed_at: int
    left_unfinished: bool
    saving: Asked
    final_status: int


def asked(run: Path, process: subprocess.Popen[str], *, while_it: bool, output: str) -> Asked:
    names = [path.name for path in (run / "checkpoints").iterdir() if damage(path) is None]
    return Asked(process.returncode, output, while_it, logged_step(run), names)


def ask_while_it_compiles(command: Command, run: Path) -> Asked:
    with command.start(run, JAX_LOG_COMPILES="1", JAX_ENABLE_COMPILATION_CACHE="0") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert any(re.search(r"Compiling \S*train_step", line) for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        # XLA's "Finished" comes after the signal.
        rest, out = process.stderr.read(), process.stdout.read()
    is_compiling = re.search(r"Finished XLA compilation of \S*train_step", rest) is not None
    return asked(run, process, while_it=is_compiling, output=out)


def kill_at_some_step(command: Command, run: Path) -> int:
    step = random.randint(3, 12)
    process = command.start(run)
    wait_for(lambda: logged_step(run) >= step, process)
    process.kill()
    process.communicate()
    return logged_step(run)


def kill_while_a_checkpoint_is_written(command: Command, run: Path) -> bool:
    before = logged_step(run)
    process = command.start(run)
    wait_for(lambda: unfinished_checkpoints(run) and logged_step(run) > before, process)
    process.kill()
    process.communicate()
    return bool(unfinished_checkpoints(run))


def ask_while_a_checkpoint_is_written(command: Command, run: Path) -> Asked:
    process = command.start(run)
    # Those that the kill has left are cleared away first.
    wait_for(lambda: logged_step(run) and not unfinished_checkpoints(run), process)
    before = logged_step(run)
    wait_for(lambda: unfinished_checkpoints(run) and logged_step(run) > before, process)
    process.send_signal(signal.SIGTERM)
    is_saving = bool(unfinished_checkpoints(run))
    out, _ = process.communicate(timeout=120)
    return asked(run, process, while_it=is_saving, output=out)


@pytest.fixture(scope="module")
def continued(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Continued:
    run = tmp_path_factory.mktemp("continued") / "run"
    compiling = ask_while_it_compiles(command, run)
    killed_at = kill_at_some_step(command, run)
    left_unfinished = kill_while_a_checkpoint_is_written(command, run)
    saving = ask_while_a_checkpoint_is_written(command, run)
    last = command.start(run)
    last.communicate(timeout=240)
    return Continued(run, compiling, killed_at, left_unfinished, saving, last.returncode)


def test_a_run_killed_at_any_moment_continues_bit_identically(continued, pretrained):
    assert continued.final_status == 0
    print(f"killed at step {continued.killed_at}")
    assert trajectory(continued.run) == trajectory(pretrained)
    steps = [row["step"] for row in trajectory(continued.run) if "loss" in row]
    assert steps == list(range(1, 41))
    assert weights(continued.run) == weights(pretrained)


def test_a_checkpoint_cut_off_by_a_kill_is_cleared_away(continued):
    assert continued.left_unfinished, "the process was not killed while it wrote a checkpoint"
    assert unfinished_checkpoints(continued.run) == []
    names = sorted(path.name for path in (continued.run / "checkpoints").iterdir())
    assert names == ["32", "40"]


def test_sigterm_while_the_step_is_compiled_saves_after_it(continued):
    assert continued.compiling.while_it
    assert continued.compiling.status == 75
    assert continued.compiling.output.startswith("preempted: saved at step 1; the same command")
    assert continued.compiling.logged_step == 1
    assert continued.compiling.checkpoints == ["1"]


def test_sigterm_while_a_checkpoint_is_written_saves_and_ends_with_its_own_status(continued):
    saving = continued.saving
    assert saving.while_it, "the signal came when the checkpoint was written"
    assert saving.status == 75
    saved_at = f"preempted: saved at step {saving.logged_step}; "
    assert saving.output == f"{saved_at}the same command continues {continued.run}\n"
    assert str(saving.logged_step) in saving.checkpoints
    # The one that was being written is there too.
    assert len(saving.checkpoints) == 2
