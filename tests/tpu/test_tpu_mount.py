"""run.py --mount and worker.py mount, against a fake gcloud, gcsfuse and apt."""

import errno
import re
import shutil
import sys

import pytest
from fake_cloud import PLACE, TPU

sys.path.insert(0, str(TPU))
import mounting
from mounting import OPTIONS

MOUNT = "--mount=gs://b/runs=runs"
COMMAND = ("--", "jaxbert", "pretrain", "c.yaml", "--run", "runs/base")
SSH = "ssh: python3 jaxbert/tpu/worker.py"
UNKNOWN_BUCKET = (
    "Error: daemonize.Run: readFromProcess: sub-process: Error while mounting gcsfuse: "
    "mountWithArgs: SetUpBucket: OpenBucket: Unknown bucket b: no such file or directory\n"
)


def workers(*statuses):
    return "\n".join(f"jaxbert-worker w-{n} {status}" for n, status in enumerate(statuses))


def play(cloud, *, states, statuses, mounts, options=(), **environment):
    """A run of a pod, each of whose mounts ends as `mounts` says."""
    cloud.without_git()
    cloud.answers("queued-resources describe", replies=states)
    cloud.answers("if [ -e", replies=statuses)
    cloud.answers("worker.py mount", replies=mounts)
    cloud.answers("worker.py start", replies=[workers("running", "running")])
    words = ["--type", "v5litepod-16", *PLACE, MOUNT, *options, *COMMAND]
    return cloud.run("run.py", "bert", *words, **environment)


def course(cloud):
    """The creations, deletions and what worker.py was asked for everywhere."""
    everywhere = (verb for verb in cloud.verbs if verb.startswith(("create", "delete", SSH)))
    return [verb.removeprefix(SSH).split()[0] for verb in everywhere]


def test_every_worker_mounts_the_bucket_before_the_command_starts(cloud):
    done = play(
        cloud,
        states=["ACTIVE"],
        statuses=[workers("absent", "absent"), workers("exited 0", "exited 0")],
        mounts=[""],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert course(cloud) == ["install", "mount", "start"]
    mount = next(call for call in cloud.calls if "worker.py mount" in call[-1])
    assert mount[-3:] == [
        *("--node=all", "--worker=all"),
        "--command=python3 jaxbert/tpu/worker.py mount gs://b/runs=runs",
    ]


def test_several_buckets_are_mounted_at_once(cloud):
    options = ("--mount", "gs://other=my data")
    play(cloud, states=["ACTIVE"], statuses=[workers("exited 2")], mounts=[""], options=options)
    assert f"{SSH} mount gs://b/runs=runs 'gs://other=my data'" in cloud.verbs


def test_new_vms_mount_it_again(cloud):
    done = play(
        cloud,
        states=["ACTIVE", "ACTIVE", "SUSPENDED", "SUSPENDED", "ACTIVE"],
        statuses=[workers("absent"), [255, ""], workers("absent"), workers("exited 0")],
        mounts=[""],
    )
    assert done.returncode == 0, done.stdout
    attempt = ["install", "mount", "start"]
    assert course(cloud) == [*attempt, "delete", "create", *attempt]


def test_a_worker_that_was_restarted_mounts_it_again_while_others_run(cloud):
    play(
        cloud,
        states=["ACTIVE"],
        statuses=[workers("running", "lost"), workers("exited 0", "exited 0")],
        mounts=[""],
    )
    assert course(cloud) == ["mount", "start"]


def test_a_mount_that_is_a_mistake_ends_the_run(cloud):
    line = "worker.py: w-0: gs://b/runs cannot be mounted at runs: Unknown bucket b"
    done = play(cloud, states=["ACTIVE"], statuses=[workers("absent")], mounts=[[2, line]])
    assert done.returncode == 2
    assert course(cloud) == ["install", "mount"]
    assert done.stderr.count(line) == 1
    assert "failed: a bucket cannot be mounted" in done.stdout
    assert "costs money until: tpu/delete.sh bert" in done.stdout


def test_a_mount_that_fails_is_tried_a_few_times(cloud):
    done = play(cloud, states=["ACTIVE"], statuses=[workers("absent")], mounts=[[1, "apt is busy"]])
    assert done.returncode == 1
    assert course(cloud) == ["install", "mount"] * 3
    assert "given up: a bucket could not be mounted" in done.stdout


def test_a_mount_that_fails_as_the_tpu_is_taken_back_is_no_failure(cloud):
    done = play(
        cloud,
        states=["ACTIVE", "ACTIVE", "SUSPENDED", "SUSPENDED", "SUSPENDED", "ACTIVE"],
        statuses=[workers("absent"), workers("absent"), workers("exited 0")],
        mounts=[[255, "Connection timed out"], ""],
        options=("--tries", "1"),
    )
    assert done.returncode == 0, done.stdout


def test_a_dry_run_shows_the_mount(cloud):
    words = ["--type", "v5litepod-16", *PLACE, MOUNT, "--dry-run", *COMMAND]
    done = cloud.run("run.py", "bert", *words)
    assert done.returncode == 0, done.stderr
    shown = [line for line in done.stdout.splitlines() if "worker.py" in line]
    verbs = [re.search(r"worker\.py\\? \\?(\w+)", line)[1] for line in shown]
    assert verbs == ["install", "mount", "start", "status"]
    assert "gs://b/runs=runs" in shown[1]
    assert cloud.calls == []


@pytest.mark.parametrize(
    "word", ["b/runs=runs", "gs://=runs", "gs:///runs=runs", "gs://b", "gs://b="]
)
def test_what_is_no_bucket_and_directory_starts_nothing(cloud, word):
    done = cloud.run("run.py", "bert", "--type", "v4-8", *PLACE, "--mount", word, *COMMAND)
    assert done.returncode == 2
    assert f"{word}: expected gs://BUCKET/PATH=DIRECTORY" in done.stderr
    assert cloud.calls == []


@pytest.fixture
def vm(cloud):
    """A worker with gcsfuse; its sudo and curl do nothing, and what is mounted is the test's."""
    cloud.has("gcsfuse", "fusermount", "lsb_release", "curl")
    sudo = cloud.home / "bin/sudo"
    sudo.write_text('#!/bin/sh\necho "$*" >>$HOME/sudo\n[ $1 != tee ] || cat >"$HOME/tee"\n')
    sudo.chmod(0o755)
    (cloud.home / "mounts").write_text("/dev/root / ext4 rw 0 0\n")
    return cloud


def mount(vm, *pairs):
    return vm.run("worker.py", "mount", *pairs, JAXBERT_TPU_MOUNTS=str(vm.home / "mounts"))


def mount_calls(vm, *pairs):
    """The calls of gcsfuse that mount."""
    done = mount(vm, *pairs)
    calls = [call for call in vm.calls if call[0] == "gcsfuse" and call[1] != "--version"]
    return done, calls


def is_mounted(vm, directory, bucket="b"):
    line = f"{bucket} {directory} fuse.gcsfuse rw,nosuid,nodev 0 0\n"
    (vm.home / "mounts").write_text(line)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("gs://b", ["b"]),
        ("gs://b/", ["b"]),
        ("gs://b/runs", ["--only-dir=runs", "b"]),
        ("gs://b/runs/base/", ["--only-dir=runs/base", "b"]),
    ],
)
def test_a_bucket_or_a_path_in_it_is_mounted(vm, tmp_path, url, words):
    done, calls = mount_calls(vm, f"{url}={tmp_path}/made/runs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert calls == [["gcsfuse", *OPTIONS, *words, f"{tmp_path}/made/runs"]]
    assert done.stdout.endswith(f"is mounted at {tmp_path}/made/runs\n")
    assert (tmp_path / "made/runs").is_dir()
    assert not (vm.home / "sudo").exists()


def test_a_worker_where_it_is_mounted_goes_on(vm, tmp_path):
    pair = f"gs://b/runs={tmp_path}/my runs"
    mount(vm, pair)
    is_mounted(vm, f"{tmp_path}/my\\040runs")
    done, calls = mount_calls(vm, pair)
    assert done.returncode == 0
    assert done.stdout.endswith("already\n")
    assert len(calls) == 1


def test_what_a_person_has_mounted_there_is_taken(vm, tmp_path):
    is_mounted(vm, tmp_path / "runs")
    done, calls = mount_calls(vm, f"gs://b/runs={tmp_path}/runs")
    assert (done.returncode, calls) == (0, [])


def test_something_else_that_is_mounted_there_is_a_mistake(vm, tmp_path):
    runs = tmp_path / "runs"
    mount(vm, f"gs://b/runs={runs}")
    is_mounted(vm, runs)
    done = mount(vm, f"gs://b/other={runs}")
    assert done.returncode == 2
    assert f"gs://b/runs is mounted there; first: fusermount -u {runs}" in done.stdout
    is_mounted(vm, runs, "c")
    done = mount(vm, f"gs://b/runs={runs}")
    assert done.returncode == 2
    assert f"c is mounted there; first: fusermount -u {runs}" in done.stdout


def test_a_directory_with_files_is_not_hidden(vm, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/config.yaml").touch()
    done, calls = mount_calls(vm, f"gs://b/runs={tmp_path}/runs")
    assert (done.returncode, calls) == (2, [])
    assert "the directory is not empty: it has config.yaml" in done.stdout


def test_a_directory_that_cannot_be_made_is_a_mistake(vm, tmp_path):
    (tmp_path / "file").touch()
    done = mount(vm, f"gs://b/runs={tmp_path}/file/runs")
    assert done.returncode == 2
    assert "the directory cannot be made: Not a directory" in done.stdout


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (UNKNOWN_BUCKET, 2),
        ("Error: Bad credentials for bucket b: permission denied\n", 2),
        ("Error: googleapi: Error 403: x@y does not have storage.objects.list access\n", 2),
        ("Error: Get https://storage.googleapis.com: dial tcp: i/o timeout\n", 1),
        ("", 1),
    ],
)
def test_a_mount_that_fails_is_one_line(vm, tmp_path, output, code):
    vm.answers("gcsfuse --implicit-dirs", replies=[[1, f"some words before\n{output}"]])
    done = mount(vm, f"gs://b/runs={tmp_path}/runs", f"gs://b/next={tmp_path}/next")
    assert done.returncode == code
    assert done.stdout.count("\n") == 1
    where = f"gs://b/runs cannot be mounted at {tmp_path}/runs: "
    assert where + (output.strip() or "some words before") in done.stdout
    # It is not taken for mounted the next time.
    assert not list(vm.home.glob("jaxbert-run/mounted-*"))


def test_a_dead_mount_is_replaced(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(mounting, "STATE", tmp_path)
    monkeypatch.setattr(mounting, "mounted_at", lambda _: "b")
    monkeypatch.setattr(mounting, "is_dead", lambda _: True)
    monkeypatch.setattr(mounting, "is_recent", lambda: True)
    monkeypatch.setattr(mounting.subprocess, "run", calls.append)
    monkeypatch.setattr(mounting, "call", calls.append)
    runs = tmp_path / "runs"
    assert mounting.mount("gs://b", runs)
    assert calls == [["fusermount", "-u", "-z", str(runs)], [*OPTIONS, "b", str(runs)]]


@pytest.mark.parametrize(("number", "is_dead"), [(errno.ENOTCONN, True), (errno.EACCES, False)])
def test_a_mount_is_dead_where_nobody_answers(tmp_path, monkeypatch, number, is_dead):
    assert not mounting.is_dead(tmp_path)

    def stat(_):
        raise OSError(number, "")

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "stat", stat)
        found = mounting.is_dead(tmp_path)
    assert found == is_dead


def test_an_old_gcsfuse_is_replaced_as_google_says(vm, tmp_path):
    vm.answers("gcsfuse --version", replies=["gcsfuse version 2.4.0 (Go version go1.22.4)"])
    vm.answers("lsb_release", replies=["jammy"])
    done, calls = mount_calls(vm, f"gs://b={tmp_path}/runs")
    assert (done.returncode, len(calls)) == (0, 1), done.stdout
    steps = (vm.home / "sudo").read_text().splitlines()
    assert [step.split("Timeout=300 ")[-1] for step in steps] == [
        *("update", "install -y curl lsb-release"),
        *("tee /etc/apt/sources.list.d/gcsfuse.list", "tee /usr/share/keyrings/cloud.google.asc"),
        *("update", "install -y gcsfuse"),
    ]
    key = ["curl", "-fsSL", "https://packages.cloud.google.com/apt/doc/apt-key.gpg"]
    assert key in vm.calls


@pytest.mark.skipif(
    shutil.which("gcsfuse", path="/usr/bin:/bin") is not None, reason="gcsfuse is installed here"
)
def test_gcsfuse_is_installed_where_it_is_absent(vm, tmp_path):
    (vm.home / "bin/gcsfuse").rename(vm.home / "gcsfuse")
    sudo = vm.home / "bin/sudo"
    made = 'case "$*" in *"install -y gcsfuse") mv $HOME/gcsfuse $HOME/bin ;; esac\n'
    sudo.write_text(sudo.read_text() + made)
    done, calls = mount_calls(vm, f"gs://b={tmp_path}/runs")
    assert (done.returncode, len(calls)) == (0, 1), done.stdout


def test_an_installation_that_keeps_failing_is_one_line(vm, tmp_path):
    vm.answers("gcsfuse --version", replies=["gcsfuse version 1.0.0 (Go version go1.20)"])
    (vm.home / "bin/sudo").write_text(
        '#!/bin/sh\necho "$*" >>$HOME/sudo\necho "E: Could not get lock" >&2\nexit 100\n'
    )
    done, calls = mount_calls(vm, f"gs://b={tmp_path}/runs")
    assert (done.returncode, calls) == (1, [])
    assert done.stdout.endswith(": gcsfuse cannot be installed: E: Could not get lock\n")
    assert done.stdout.count("\n") == 1
    assert len((vm.home / "sudo").read_text().splitlines()) == 4
