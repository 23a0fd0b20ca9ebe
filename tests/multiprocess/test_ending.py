"""What becomes of the other processes when one ends, and of one that never meets the others."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import HEARTBEAT, free_port, start

from jaxbert.cli import main

LIMIT = 60


def lines(log: str) -> list[str]:
    return [line for line in log.splitlines() if not line.startswith("[Gloo]")]


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


def test_the_others_end_at_once_and_say_why_when_a_process_fails(tmp_path: Path):
    started = start("waiting_run.py", tmp_path, 2, tmp_path, "fail")
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
    assert ended.returncode == 2
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
