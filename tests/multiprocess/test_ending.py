"""What becomes of the other processes when one ends, and of one that never meets the others."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import HEARTBEAT, Started, free_port, of_slurm, start

from jaxbert.cli import main

LIMIT = 60


def lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if not line.startswith("[Gloo]")]


def last_words(process: int) -> str:
    other = "" if process == 0 else ", or process 0 was, which ends all"
    return (
        f"jaxbert pretrain: process {process} was killed or crashed{other}; "
        "the same command continues from the last checkpoint"
    )


def last_line(started: Started, process: int) -> str:
    """Said after the end of the process, by a shell that it left behind."""
    end = time.monotonic() + LIMIT
    while not (said := lines(started.log(process))) or not said[-1].startswith("jaxbert"):
        assert time.monotonic() < end, started.printed()
        time.sleep(0.05)
    return said[-1]


def test_the_others_end_when_a_process_is_killed(tmp_path: Path):
    started = start("waiting_run.py", tmp_path, 3, tmp_path, "wait")
    started.wait_for(lambda: len(list(tmp_path.glob("ready_*"))) == 3, LIMIT)
    started.processes[1].kill()
    killed = time.monotonic()
    statuses = started.wait(LIMIT)
    assert time.monotonic() - killed < HEARTBEAT + 15
    assert statuses == [1, -9, 1], started.printed()
    expected = (
        f"jaxbert pretrain: process 1 has been silent for {HEARTBEAT} s: this process ends too; "
        "the same command continues from the last checkpoint"
    )
    for process in (0, 2):
        assert lines(started.log(process)) == [expected]
    assert last_line(started, 1) == last_words(1)


def test_the_others_end_when_the_coordinator_is_killed(tmp_path: Path):
    """By JAX, with a stack trace; what has happened is said after it."""
    started = start("waiting_run.py", tmp_path, 2, tmp_path, "wait")
    started.wait_for(lambda: len(list(tmp_path.glob("ready_*"))) == 2, LIMIT)
    started.processes[0].kill()
    killed = time.monotonic()
    statuses = started.wait(LIMIT)
    assert time.monotonic() - killed < HEARTBEAT + 15
    assert statuses[0] == -9
    assert statuses[1] != 0
    assert last_line(started, 0) == last_words(0)
    gone = (
        "jaxbert pretrain: process 0, the coordinator, is gone: this process ends too; "
        "the same command continues from the last checkpoint"
    )
    # Where the watch is faster than JAX.
    assert last_line(started, 1) in (last_words(1), gone)


def test_the_others_end_at_once_and_say_why_when_a_process_fails(tmp_path: Path):
    """Processes that Slurm has started, and that are told nothing of each other."""
    started = start("waiting_run.py", tmp_path, 2, tmp_path, "fail", cluster=of_slurm)
    assert started.wait(LIMIT) == [2, 2], started.printed()
    assert lines(started.log(1)) == ["jaxbert pretrain: train.tsv: no such file"]
    assert lines(started.log(0)) == [
        "jaxbert pretrain: process 1 ended: train.tsv: no such file: this process ends too"
    ]


def test_a_process_whose_coordinator_does_not_answer_says_so_in_time():
    words = ["pretrain", "c.yaml", "--run", "run", "--join-timeout", "2"]
    address = f"127.0.0.1:{free_port()}"
    several = ["--coordinator", address, "--num-processes", "2", "--process-id", "1"]
    ended = subprocess.run(
        [sys.executable, "-m", "jaxbert", *words, *several],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"jaxbert pretrain: not all processes have met at {address} within 2 s")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--process-id", "0"], "--coordinator and --num-processes must be given too"),
        (
            ["--coordinator", "host:1", "--num-processes", "2", "--process-id", "2"],
            "--process-id 2: expected 0 to 1",
        ),
        (
            ["--coordinator", "host", "--num-processes", "2", "--process-id", "1"],
            "--coordinator host: expected HOST:PORT",
        ),
    ],
)
def test_flags_that_do_not_fit_are_named(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["pretrain", "c.yaml", "--run", "run", *words]) == 2
    assert message in capsys.readouterr().err
