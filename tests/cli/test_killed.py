"""Real processes, killed and asked to end; what they do together is what one does alone."""

import random
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from cli.commands import Command, logged_step, unfinished_checkpoints, wait_for
from experiment.small_runs import trajectory, weights


class Continued(NamedTuple):
    run: Path
    killed_at: int
    left_unfinished: bool
    sigterm_status: int
    sigterm_output: str
    final_status: int


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


def ask_to_end(command: Command, run: Path) -> tuple[int, str]:
    process = command.start(run)
    resumed_from = logged_step(run)
    wait_for(lambda: logged_step(run) > resumed_from, process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    return process.returncode, out


@pytest.fixture(scope="module")
def continued(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Continued:
    run = tmp_path_factory.mktemp("continued") / "run"
    killed_at = kill_at_some_step(command, run)
    left_unfinished = kill_while_a_checkpoint_is_written(command, run)
    status, output = ask_to_end(command, run)
    last = command.start(run)
    last.communicate(timeout=240)
    return Continued(run, killed_at, left_unfinished, status, output, last.returncode)


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
    assert names == ["36", "40"]


def test_sigterm_saves_and_ends_with_its_own_status(continued):
    assert continued.sigterm_status == 75
    assert continued.sigterm_output.startswith("preempted: saved at step ")
    assert f"the same command continues {continued.run}" in continued.sigterm_output
    assert continued.sigterm_output.count("\n") == 1


def test_sigterm_before_the_first_step_saves_too(command, tmp_path):
    run = tmp_path / "run"
    process = command.start(run)
    # The directory is made before anything is compiled.
    wait_for((run / "config.yaml").exists, process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75
    assert "preempted: saved at step 0" in out
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["0"]
