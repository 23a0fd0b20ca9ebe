"""Where there is no gcloud, or none that runs: never taken for a TPU that is not there."""

import sys

import pytest
from fake_cloud import PLACE

MISSING = "gcloud is not installed: https://cloud.google.com/sdk/docs/install\n"
COMMAND = ("--", "jaxbert", "pretrain", "c.yaml")


@pytest.fixture
def bare(cloud):
    """Nothing but what the scripts need beside gcloud, wherever that is on this machine."""
    for program in cloud.home.glob("bin/*"):
        program.unlink()
    needed = ("bash", "dirname", "env", "mktemp", "mkdir", "grep", "cat", "rm", "sleep", "git")
    for name in needed:
        (cloud.home / "bin" / name).symlink_to(f"/usr/bin/{name}")
    (cloud.home / "bin/python3").symlink_to(sys.executable)
    return cloud


def run(cloud, script, *words):
    return cloud.run(script, *words, PATH=str(cloud.home / "bin"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("state.sh", ["bert", *PLACE]),
        ("wait.sh", ["bert"]),
        ("delete.sh", ["bert", "--yes", *PLACE]),
        ("fetch.sh", ["gs://b/run", "here"]),
    ],
)
def test_no_gcloud_is_one_line(bare, script, words):
    done = run(bare, script, *words)
    # Not 2: run.py would take it for a mistake of its own call and end.
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{script}: {MISSING}")


def test_a_run_does_not_begin_without_gcloud(bare):
    done = run(bare, "run.py", "bert", "--type", "v4-8", *PLACE, *COMMAND)
    assert done.returncode == 2
    assert done.stderr.endswith(f"run.py: error: {MISSING}")
    assert done.stdout == ""


def test_a_dry_run_needs_no_gcloud(bare):
    assert run(bare, "run.py", "bert", "--type", "v4-8", *PLACE, "--dry-run", *COMMAND).stdout


@pytest.mark.parametrize(
    "program",
    [
        # As while it is updated: found, and gone when it is called; and what it calls itself.
        "#!/no/such/interpreter\n",
        "#!/bin/sh\necho 'gcloud: line 192: exec: python: not found' >&2; exit 127\n",
    ],
)
def test_a_gcloud_that_does_not_run_says_nothing_of_the_tpu(cloud, program):
    (cloud.home / "bin/gcloud").write_text(program)
    done = cloud.run("state.sh", "bert", *PLACE)
    assert done.stdout == "UNKNOWN\n"
    assert done.stderr


def test_a_gcloud_that_goes_meanwhile_is_waited_for(cloud):
    cloud.without_git()
    cloud.answers("queued-resources describe", replies=["ACTIVE", "ACTIVE", [127, "not found"]])
    running = "jaxbert-worker w-0 running"
    cloud.answers("if [ -e", replies=["", [127, "not found"]])
    cloud.answers("worker.py start", replies=[running])
    words = ["--type", "v4-8", *PLACE, "--patience", "1", "--delete", "always", *COMMAND]
    done = cloud.run("run.py", "bert", *words, JAXBERT_TPU_SLEEP="0.3")
    assert done.returncode == 6, done.stdout
    assert "create" not in cloud.verbs
