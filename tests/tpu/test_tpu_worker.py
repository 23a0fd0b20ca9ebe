"""worker.py for real, on this machine, with a fake gcloud for the bucket."""

import os
import re
import shutil
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from fake_cloud import TPU

sys.path.insert(0, str(TPU))
import maintenance
from supervision import COPIES, Forwarded, Mirror, links_to


def state(cloud):
    return cloud.run("worker.py", "status").stdout.split(maxsplit=2)[2].strip()


def wait_until(cloud, *states):
    end = time.monotonic() + 30
    while (now := state(cloud)) not in states:
        assert time.monotonic() < end, now
        time.sleep(0.02)


def start(cloud, *words, **environment):
    return cloud.run("worker.py", "start", *words, **environment)


def test_a_command_runs_on_after_its_start_and_leaves_its_status(cloud):
    go = cloud.home / "go"
    script = f"until [ -e {go} ]; do sleep 0.02; done; echo hello; exit 7"
    started = start(cloud, "--", "sh", "-c", script)
    assert re.fullmatch(r"jaxbert-worker \S+ running\n", started.stdout)
    go.touch()
    wait_until(cloud, "exited 7")
    log = cloud.run("worker.py", "log").stdout.splitlines()
    assert log[1] == "hello"
    assert log[2].endswith("ended with status 7")
    assert cloud.run("worker.py", "log", "--lines", "1").stdout.splitlines() == log[2:]


def test_nothing_has_run_yet(cloud):
    assert cloud.run("worker.py", "status").stdout.split()[2] == "absent"
    assert cloud.run("worker.py", "log").returncode == 2


def test_stopping_lets_the_command_save(cloud):
    script = "trap 'echo saved; exit 75' TERM; echo ready; while :; do sleep 0.05; done"
    start(cloud, "--", "sh", "-c", script)
    end = time.monotonic() + 30
    while "\nready" not in cloud.run("worker.py", "log").stdout:
        assert time.monotonic() < end
    cloud.run("worker.py", "stop")
    wait_until(cloud, "exited 75")
    assert "\nsaved\n" in cloud.run("worker.py", "log").stdout


class Metadata(BaseHTTPRequestHandler):
    """The metadata server of a machine; what it answers is the test's."""

    answers: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        text = self.answers.get(self.path.split("?")[0].lstrip("/"))
        is_asked_well = self.headers["Metadata-Flavor"] == "Google"
        self.send_response(200 if text and is_asked_well else 404)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"maintenance-event": "NONE"}, {"maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE"}),
        (
            {"upcoming-maintenance": '{"maintenanceStatus": "PENDING"}'},
            {"upcoming-maintenance": '{"maintenanceStatus": "ONGOING"}'},
        ),
    ],
)
def test_announced_maintenance_lets_the_command_save(cloud, before, after):
    Metadata.answers = before
    script = "trap 'echo saved; exit 75' TERM; echo ready; while :; do sleep 0.05; done"
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        words = ["--", "sh", "-c", script]
        start(cloud, *words, JAXBERT_TPU_METADATA=url, JAXBERT_TPU_NOTICE="0.05")
        end = time.monotonic() + 30
        while "\nready" not in cloud.run("worker.py", "log").stdout:
            assert time.monotonic() < end
        time.sleep(0.2)
        Metadata.answers = after
        wait_until(cloud, "exited 75")
        server.shutdown()
    log = cloud.run("worker.py", "log").stdout
    assert "MAINTENANCE" in log
    assert "the command is asked to save" in log
    assert log.count("saved\n") == 1


ONGOING = '{"maintenanceStatus": "ONGOING"}'


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["", ONGOING[:20], ONGOING], ["MAINTENANCE_ONGOING"]),
        # Nor is it announced twice.
        ([None, ONGOING, ONGOING[:20], None, ONGOING], ["MAINTENANCE_ONGOING"]),
        ([ONGOING, ONGOING[:20], ONGOING], []),
        (["", ONGOING, "", ONGOING], ["MAINTENANCE_ONGOING"] * 2),
    ],
)
def test_an_answer_that_breaks_off_is_none_and_the_next_one_counts(monkeypatch, answers, expected):
    left, announced, ended = [*answers], [], threading.Event()

    def answer(key):
        if key == "maintenance-event":
            return "NONE"
        if not left:
            ended.set()
        return left.pop(0) if left else answers[-1]

    monkeypatch.setattr(maintenance, "asked", answer)
    monkeypatch.setattr(maintenance, "SECONDS", 0.001)
    with maintenance.Notice(announced.append):
        assert ended.wait(10)
    assert announced == expected


def test_a_signal_before_the_command_prevents_it(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    try:
        forwarded = Forwarded()
        os.kill(os.getpid(), signal.SIGTERM)
        assert forwarded.run(["touch", str(tmp_path / "ran")]) == 75
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not (tmp_path / "ran").exists()


def test_the_same_command_is_not_started_twice_and_another_not_beside_it(cloud):
    start(cloud, "--", "sleep", "30")
    assert "running" in start(cloud, "--", "sleep", "30").stdout
    other = start(cloud, "--", "sleep", "31")
    assert other.returncode == 2
    assert other.stdout == "worker.py: another command is running here: -- sleep 30\n"
    cloud.run("worker.py", "stop")
    # 75, where it was asked before the command was there.
    wait_until(cloud, "exited 143", "exited 75")


def test_a_command_that_went_with_its_machine_is_lost(cloud):
    start(cloud, "--", "true")
    wait_until(cloud, "exited 0")
    (cloud.home / "jaxbert-run/status").unlink()
    assert cloud.run("worker.py", "status").stdout.split()[2] == "lost"


def test_a_command_that_does_not_exist(cloud):
    start(cloud, "--", "no-such-program")
    wait_until(cloud, "exited 127")
    assert "no-such-program: No such file" in cloud.run("worker.py", "log").stdout


@pytest.mark.parametrize(("command", "lines"), [("true", 0), ("false", 2)])
def test_the_log_is_shown_where_it_failed(cloud, command, lines):
    start(cloud, "--", command)
    wait_until(cloud, f"exited {0 if command == 'true' else 1}")
    shown = cloud.run("worker.py", "log", "--if-failed", "--lines", "30").stdout
    assert len(shown.splitlines()) == lines


def test_directories_come_from_the_bucket_and_go_back(cloud, tmp_path):
    store, run = tmp_path / "store", tmp_path / "run"
    cloud.answers("ls gs://b/run", replies=[[1, "ERROR: One or more URLs matched no objects."]])
    copies = [f"--fetch=gs://b/store={store}", f"--mirror=gs://b/run={run}"]
    start(cloud, *copies, "--", "sh", "-c", f"mkdir {run}; touch {run}/step")
    wait_until(cloud, "exited 0")
    rsync = ["gcloud", "storage", "rsync", "--recursive"]
    without, back = "--exclude=.*orbax-checkpoint-tmp.*", [f"{tmp_path}/.run.mirror", "gs://b/run"]
    assert cloud.calls == [
        [*rsync, "gs://b/store", str(store)],
        ["gcloud", "storage", "ls", "gs://b/run"],
        # The configuration makes it a run; then rows before the checkpoints that they belong to.
        [*rsync, r"--exclude=(?!(.*/)?config\.yaml$).*", *back],
        [*rsync, f"{without}|.*checkpoints/.*", *back],
        [*rsync, without, *back],
        [*rsync, "--delete-unmatched-destination-objects", without, *back],
    ]


def test_a_new_machine_continues_from_the_bucket(cloud, tmp_path):
    start(cloud, f"--mirror=gs://b/run={tmp_path / 'run'}", "--", "true")
    wait_until(cloud, "exited 0")
    assert cloud.calls[1] == [
        "gcloud",
        "storage",
        "rsync",
        "--recursive",
        "gs://b/run",
        f"{tmp_path}/run",
    ]
    # What is empty is not copied back: it would empty the bucket.
    assert len(cloud.calls) == 2


def test_what_the_machine_has_is_newer_than_the_bucket(cloud, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/step").touch()
    start(cloud, f"--mirror=gs://b/run={tmp_path / 'run'}", "--", "true")
    wait_until(cloud, "exited 0")
    assert [call[-1] for call in cloud.calls] == ["gs://b/run"] * 4


def test_a_directory_that_was_filled_by_half_is_filled_and_not_copied_back(cloud, tmp_path):
    run = tmp_path / "run"
    cloud.answers("rsync", f"gs://b/run {run}", replies=[[1, "ERROR: 503"], ""])
    words = [f"--mirror=gs://b/run={run}", "--", "true"]
    start(cloud, *words)
    wait_until(cloud, "exited 1")
    (run / "config.yaml").touch()
    assert not any("--delete-unmatched-destination-objects" in call for call in cloud.calls)
    start(cloud, *words)
    wait_until(cloud, "exited 0")
    into = [f"{tmp_path}/run", f"{tmp_path}/run", *["gs://b/run"] * 4]
    assert [call[-1] for call in cloud.calls if "rsync" in call] == into


def test_a_last_copy_that_fails_is_tried_again(cloud, tmp_path):
    run = tmp_path / "run"
    cloud.answers("rsync", "mirror gs://b/run", replies=[[1, "ERROR: 503"], ""])
    start(cloud, f"--mirror=gs://b/run={run}", "--", "touch", f"{run}/model")
    wait_until(cloud, "exited 0")
    back = [call for call in cloud.calls if call[-1] == "gs://b/run" and "rsync" in call]
    # Nothing is deleted before all is there.
    deletes = ["--delete-unmatched-destination-objects" in call for call in back]
    assert deletes == [False] * 4 + [True]


def test_what_makes_a_run_of_a_directory_goes_to_the_bucket_before_what_hangs_on_it():
    names = ("config.yaml", "seed-0/config.yaml", "metrics.jsonl", "checkpoints/4/manifest.json")
    excluded = [flags[-1].removeprefix("--exclude=") for flags in COPIES]
    # As gcloud does: the pattern at the start of the path.
    sent = [[n for n in names if not re.match(pattern, n)] for pattern in excluded]
    assert sent == [[*names[:2]], [*names[:3]], [*names], [*names]]


def test_a_directory_that_cannot_be_linked_to_is_said_and_tried_again(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/step").touch()

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert not Mirror([])._copy("gs://b/run", tmp_path / "run")
    assert "Invalid cross-device link); it is tried again" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_bucket_gets_what_was_there_when_a_copy_began(tmp_path):
    run, checkpoints = tmp_path / "run", tmp_path / "run/checkpoints"
    (checkpoints / "10").mkdir(parents=True)
    (checkpoints / "10/state").write_text("ten")
    (tmp_path / ".run.mirror").mkdir()
    (tmp_path / ".run.mirror/left").touch()
    with links_to(run) as links:
        shutil.rmtree(checkpoints / "10")
        (checkpoints / "20").mkdir()
        found = {path.relative_to(links).as_posix() for path in links.rglob("*")}
        assert found == {"checkpoints", "checkpoints/10", "checkpoints/10/state"}
        assert (links / "checkpoints/10/state").read_text() == "ten"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("code", "status"), [(0, 1), (75, 75)])
def test_a_command_whose_results_are_here_alone_is_not_done(cloud, tmp_path, code, status):
    run = tmp_path / "run"
    cloud.answers("rsync", "mirror gs://b/run", replies=[[1, "ERROR: 503"]])
    words = ["--", "sh", "-c", f"touch {run}/model; exit {code}"]
    start(cloud, f"--mirror=gs://b/run={run}", *words)
    wait_until(cloud, f"exited {status}")
    assert f"gs://b/run lacks what is new in {run}" in cloud.run("worker.py", "log").stdout


def test_a_bucket_that_cannot_be_asked_starts_nothing(cloud, tmp_path):
    cloud.answers("ls", replies=[[1, "ERROR: 403 denied"]])
    start(cloud, f"--mirror=gs://b/run={tmp_path / 'run'}", "--", "touch", f"{tmp_path}/ran")
    wait_until(cloud, "exited 1")
    assert "403 denied" in cloud.run("worker.py", "log").stdout
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["fetch", "mirror"])
def test_a_directory_that_cannot_be_made_is_a_failure_and_no_lost_machine(cloud, tmp_path, kind):
    (tmp_path / "file").touch()
    start(cloud, f"--{kind}=gs://b/run={tmp_path}/file/run", "--", "true")
    wait_until(cloud, "exited 1")
    said = f"{tmp_path}/file/run cannot be made: Not a directory"
    assert said in cloud.run("worker.py", "log").stdout


def test_a_log_that_takes_nothing_more_is_a_failure_and_no_lost_machine(cloud):
    (cloud.home / "jaxbert-run").mkdir()
    (cloud.home / "jaxbert-run/log").symlink_to("/dev/full")
    start(cloud, "--", "true")
    wait_until(cloud, "exited 1")


def test_the_mirror_is_kept_while_the_command_runs(cloud, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/step").touch()
    script = f"until [ $(cat {cloud.home}/calls.jsonl | wc -l) -ge 3 ]; do sleep 0.02; done"
    words = [f"--mirror=gs://b/run={tmp_path / 'run'}", "--", "sh", "-c", script]
    start(cloud, *words, JAXBERT_TPU_MIRROR="0.05")
    wait_until(cloud, "exited 0")


@pytest.mark.parametrize("word", ["gs://b/store", "store=gs://b/store", "gs://b/lr=3e-5=lr=3e-5"])
def test_a_pair_needs_a_bucket_and_a_directory(cloud, word):
    done = start(cloud, "--fetch", word, "--", "true")
    assert done.returncode == 2
    assert "expected gs://BUCKET/PATH=DIRECTORY" in done.stderr


def test_installing_makes_an_environment_with_the_tpu_extra(cloud, tmp_path):
    # Not in this checkout, whose environment is a developer's.
    shutil.copytree(TPU, tmp_path / "jaxbert/tpu")
    uv = tmp_path / "bin/uv"
    uv.write_text("#!/bin/sh\necho uv $* >>$HOME/uv\n")
    uv.chmod(0o755)
    jaxbert = tmp_path / "jaxbert/.venv/bin/jaxbert"
    jaxbert.parent.mkdir(parents=True)
    jaxbert.write_text("#!/bin/sh\necho jaxbert $*\n")
    jaxbert.chmod(0o755)
    done = cloud.run(tmp_path / "jaxbert/tpu/worker.py", "install")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "jaxbert --version\n"
    assert (tmp_path / "uv").read_text().splitlines() == [
        "uv venv --python 3.12 .venv",
        "uv pip install --python .venv/bin/python --editable .[tpu,gcs]",
    ]
