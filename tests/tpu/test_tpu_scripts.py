"""Each script against a fake gcloud: the exact calls, and every way to fail."""

import subprocess
import tarfile
import time

import pytest
from fake_cloud import IN_PLACE, PLACE, TPU

from jaxbert.plan.chips import CHIPS, topology_of

QUEUED = ["gcloud", "compute", "tpus", "queued-resources"]
DIRECT = ["gcloud", "compute", "tpus", "tpu-vm"]
ALIVE = ["-oConnectTimeout=30", "-oServerAliveInterval=30", "-oServerAliveCountMax=4"]
SSH_ALIVE = [f"--ssh-flag={word}" for word in ALIVE]
SCP_ALIVE = [f"--scp-flag={word}" for word in ALIVE]
SCRIPTS = sorted(
    path.name for path in TPU.glob("*.sh") if path.name not in ("flags.sh", "gcloud.sh")
)
ARGUMENTS = {
    "create.sh": ["bert", "--type", "v5litepod-8"],
    "ssh.sh": ["bert", "--", "ls"],
    "fetch.sh": ["bert:run", "here"],
    "list.sh": [],
}


@pytest.mark.parametrize("script", [*SCRIPTS, "gke/jobset.sh", "gke/xpk.sh"])
def test_help_has_an_example_and_calls_nothing(cloud, script):
    done = cloud.run(script, "--help")
    assert done.returncode == 0
    assert f"{script.split('/')[-1]} " in done.stdout.split("example:")[1]
    assert cloud.calls == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_prints_commands_and_calls_nothing(cloud, script):
    done = cloud.run(script, *PLACE, "--dry-run", *ARGUMENTS.get(script, ["bert"]))
    assert done.returncode == 0, done.stderr
    assert "gcloud compute tpus" in done.stdout
    assert "--project=acme" in done.stdout
    assert cloud.calls == []


@pytest.mark.parametrize(
    ("script", "missing"),
    # Of all scripts, list.sh alone looks at every zone.
    [
        *((script, "project") for script in [*SCRIPTS, "gke/xpk.sh"]),
        *((script, "zone") for script in [*SCRIPTS, "gke/xpk.sh"] if script != "list.sh"),
    ],
)
def test_no_project_or_zone_is_one_line(cloud, script, missing):
    cloud.answers("config get", "project" if missing == "zone" else "zone", replies=["something"])
    cloud.answers("config get", replies=["(unset)"])
    words = ARGUMENTS.get(script, ["bert"])
    words = ["list", "--cluster", "c"] if script == "gke/xpk.sh" else words
    done = cloud.run(script, *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"no {missing}: give --{missing}" in done.stderr
    assert all(call[1] == "config" for call in cloud.calls)


def test_project_and_zone_come_from_the_configuration(cloud):
    cloud.answers("config get project", replies=["configured"])
    cloud.answers("config get compute/zone", replies=["asia-east1-c"])
    assert cloud.run("delete.sh", "bert", "--yes").returncode == 0
    place = ["--project=configured", "--zone=asia-east1-c"]
    assert cloud.calls[-1] == [*QUEUED, "delete", "bert", *place, "--force", "--quiet"]


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (
            ["--type", "v5litepod-8"],
            ["--accelerator-type=v5litepod-8", "--runtime-version=v2-alpha-tpuv5-lite"],
        ),
        (
            ["--type=v6e-16", "--spot"],
            ["--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e"],
        ),
        (["--type", "v5p-8"], ["--accelerator-type=v5p-8", "--runtime-version=v2-alpha-tpuv5"]),
        (["--type", "v4-8"], ["--accelerator-type=v4-8", "--runtime-version=tpu-ubuntu2204-base"]),
    ],
)
def test_creation_asks_for_the_software_of_the_type(cloud, words, call):
    assert cloud.run("create.sh", "bert", *PLACE, *words).returncode == 0
    spot = ["--spot"] * ("--spot" in words)
    assert cloud.calls == [[*QUEUED, "create", "bert", *IN_PLACE, *call, "--node-id=bert", *spot]]


@pytest.mark.parametrize(
    ("kind", "name", "cores"), [("v5litepod", "v5e", 1), ("v6e", "v6e", 1), ("v5p", "v5p", 2)]
)
def test_every_slice_that_can_be_planned_can_be_asked_for(cloud, kind, name, cores):
    sizes = [topology_of(f"{name}:{shape}").num_chips * cores for shape in CHIPS[name].examples]
    for size in sizes:
        words = ["--type", f"{kind}-{size}", *PLACE, "--dry-run"]
        assert cloud.run("create.sh", "bert", *words).returncode == 0
    done = cloud.run("create.sh", "bert", "--type", f"{kind}-{sizes[-1] + 1}", *PLACE)
    assert f"nearest: {kind}-{sizes[-1]}" in done.stderr


def test_several_slices_share_a_request(cloud):
    words = ["--type", "v6e-16", "--slices", "2", "--within", "6h", "--", "--labels=team=nlp"]
    assert cloud.run("create.sh", "bert", *PLACE, *words).returncode == 0
    assert cloud.calls[0][8:] == [
        *("--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e"),
        *("--node-count=2", "--node-prefix=bert"),
        *("--valid-until-duration=6h", "--labels=team=nlp"),
    ]


def test_a_vm_is_made_without_the_queue(cloud):
    words = ["--type", "v5litepod-4", "--direct", "--spot", "--version", "v2-other"]
    assert cloud.run("create.sh", "bert", *PLACE, *words).returncode == 0
    flags = ["--accelerator-type=v5litepod-4", "--version=v2-other", "--spot"]
    assert cloud.calls == [[*DIRECT, "create", "bert", *IN_PLACE, *flags]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bert"], "--type is missing"),
        (["bert", "--type", "v5e-8"], "--type is v5e-8: expected e.g. v5litepod-8"),
        (["bert", "--type", "v6e-08"], "--type is v6e-08: expected e.g. v5litepod-8"),
        (["bert", "--type", "v5litepod-3"], "nearest: v5litepod-1 v5litepod-4"),
        (
            ["bert", "--type", "v6e-512"],
            "--type is v6e-512: there is no such size; nearest: v6e-256\n",
        ),
        (["bert", "--type", "v4-4"], "nearest: v4-8\n"),
        (["bert", "--type", "v5p-400"], "nearest: v5p-384 v5p-512"),
        (["bert", "--type"], "--type needs a value"),
        (["--type", "v4-8"], "expected the NAME"),
        (["Bert", "--type", "v4-8"], "NAME is Bert"),
        (["bert", "other", "--type", "v4-8"], "unexpected word other"),
        (["bert", "--type", "v4-8", "--slices", "0"], "--slices is 0"),
        (["bert", "--type", "v4-8", "--direct", "--slices", "2"], "--direct has no queue"),
        (["bert", "--preemptible"], "unknown flag --preemptible"),
    ],
)
def test_mistakes_are_one_line(cloud, words, message):
    done = cloud.run("create.sh", *PLACE, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert cloud.calls == []


def test_a_refused_creation_is_an_error(cloud):
    cloud.answers("create", replies=[[1, "ERROR: Quota exceeded"]])
    done = cloud.run("create.sh", "bert", *PLACE, "--type", "v4-8")
    assert done.returncode == 1
    assert done.stderr == "ERROR: Quota exceeded\n"


def test_waiting_ends_when_the_vms_are_there(cloud):
    states = ["WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    cloud.answers("describe", replies=states)
    done = cloud.run("wait.sh", "bert", *PLACE)
    assert done.returncode == 0
    described = [*QUEUED, "describe", "bert", *IN_PLACE, "--format=value(state.state)"]
    assert cloud.calls[:4] == [described] * 4
    said = [line.split(": bert is ")[1] for line in done.stderr.splitlines()]
    changes = ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    assert [line.split(" after ")[0] for line in said] == changes


def test_waiting_for_a_vm_without_queue(cloud):
    cloud.answers("describe", replies=["CREATING", "READY"])
    assert cloud.run("wait.sh", "bert", *PLACE, "--direct").returncode == 0
    assert cloud.calls == [[*DIRECT, "describe", "bert", *IN_PLACE, "--format=value(state)"]] * 2


@pytest.mark.parametrize(
    ("state", "status", "message"),
    [
        ("FAILED", 3, "bert is FAILED and will not become ready: delete.sh bert"),
        ("SUSPENDED", 3, "bert is SUSPENDED"),
        ([1, "ERROR: NOT_FOUND: no such"], 3, "there is no bert in us-west4-a: create.sh bert"),
        ([1, "ERROR: backend"], 1, "gcloud failed five times in a row"),
    ],
)
def test_waiting_ends_where_it_is_no_use(cloud, state, status, message):
    cloud.answers("describe", replies=[state])
    done = cloud.run("wait.sh", "bert", *PLACE, "--timeout", "300", "--poll", "60")
    assert done.returncode == status
    assert message in done.stderr
    assert len(cloud.calls) == {1: 5, 3: 1}[status]


def test_the_time_to_wait_is_time_and_not_questions(cloud):
    cloud.answers("describe", replies=["WAITING_FOR_RESOURCES"])
    began = time.monotonic()
    words = ("--timeout", "2", "--poll", "86400")
    done = cloud.run("wait.sh", "bert", *PLACE, *words, JAXBERT_TPU_SLEEP="0.5")
    assert done.returncode == 4
    assert "; it stays in the queue until delete.sh bert" in done.stderr
    # bash counts the seconds that have begun.
    assert time.monotonic() - began > 1


@pytest.mark.parametrize("words", [("--poll", "09"), ("--poll", "0"), ("--timeout", "08")])
def test_seconds_that_are_no_whole_number_are_one_line(cloud, words):
    done = cloud.run("wait.sh", "bert", *PLACE, *words)
    assert done.returncode == 2
    assert " ".join(words) in done.stderr
    assert "expected whole seconds" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_failure_of_gcloud_in_passing_is_waited_out(cloud):
    cloud.answers(
        "describe", replies=[[1, "ERROR: 503"], "PROVISIONING", [1, "ERROR: 503"], "ACTIVE"]
    )
    assert cloud.run("wait.sh", "bert", *PLACE).returncode == 0


def test_an_active_request_with_preempted_vms_is_preempted(cloud):
    cloud.answers("describe", replies=["ACTIVE"])
    cloud.answers("tpu-vm list", replies=["bert"])
    assert cloud.run("state.sh", "bert", *PLACE).stdout == "PREEMPTED\n"
    filtered = "--filter=queuedResource~/bert$ AND (state=PREEMPTED OR state=TERMINATED)"
    assert cloud.calls[1] == [*DIRECT, "list", *IN_PLACE, filtered, "--format=value(name)"]


@pytest.mark.parametrize(
    ("reply", "state"),
    [("ACTIVE", "ACTIVE"), ([1, "was not found"], "ABSENT"), ([1, "denied"], "UNKNOWN")],
)
def test_the_state_is_one_word(cloud, reply, state):
    cloud.answers("describe", replies=[reply])
    assert cloud.run("state.sh", "bert", *PLACE).stdout == f"{state}\n"


def test_setup_copies_a_commit_and_installs_it_everywhere(cloud):
    done = cloud.run("setup.sh", "bert", *PLACE, "--revision", "HEAD")
    assert done.returncode == 0, done.stderr
    copy, unpack, install = cloud.calls
    assert copy[:5] == [*QUEUED, "scp"]
    nodes = ["--node=all", "--worker=all"]
    assert copy[6:] == ["bert:jaxbert.tar.gz", *IN_PLACE, *SCP_ALIVE, "--recurse", *nodes]
    everywhere = [*QUEUED, "ssh", "bert", *IN_PLACE, *SSH_ALIVE, *nodes]
    assert unpack[:-1] == everywhere
    assert "tar -xzf" in unpack[-1]
    assert install == [*everywhere, "--command=python3 jaxbert/tpu/worker.py install"]


def test_newer_code_replaces_older_and_nothing_else_however_often_it_is_unpacked(cloud, tmp_path):
    cloud.run("setup.sh", "bert", *PLACE, "--push-only")
    unpack = cloud.calls[1][-1].removeprefix("--command=")
    for files in (["old", "both"], ["both", "new"]):
        with tarfile.open(tmp_path / "jaxbert.tar.gz", "w:gz") as archive:
            for name in files:
                (tmp_path / name).write_text(f"{name} of {files}")
                archive.add(tmp_path / name, f"folder/{name}")
        (tmp_path / "jaxbert/runs").mkdir(parents=True, exist_ok=True)
        (tmp_path / "jaxbert/runs/checkpoint").touch()
        for _ in range(2):
            subprocess.run(["bash", "-c", unpack], cwd=tmp_path, check=True)
    code = tmp_path / "jaxbert/folder"
    assert {path.name for path in code.iterdir()} == {"both", "new"}
    assert (code / "both").read_text() == "both of ['both', 'new']"
    assert (tmp_path / "jaxbert/runs/checkpoint").exists()


def test_setup_can_only_push(cloud):
    assert cloud.run("setup.sh", "bert", *PLACE, "--push-only", "--direct").returncode == 0
    assert [call[3:5] for call in cloud.calls] == [["tpu-vm", "scp"], ["tpu-vm", "ssh"]]


def test_setup_tries_again_where_ssh_fails_once(cloud):
    cloud.answers("scp", replies=[[255, "Connection refused"], ""])
    assert cloud.run("setup.sh", "bert", *PLACE).returncode == 0
    assert [call[4] for call in cloud.calls] == ["scp", "scp", "ssh", "ssh"]


def test_setup_gives_up_where_ssh_keeps_failing(cloud):
    cloud.answers("scp", replies=[[255, "Connection refused"]])
    assert cloud.run("setup.sh", "bert", *PLACE).returncode == 1
    assert [call[4] for call in cloud.calls] == ["scp"] * 3


@pytest.mark.parametrize(
    ("words", "where", "command"),
    [
        (["--", "df", "-h", "a b"], ["--node=all", "--worker=all"], "'df' '-h' 'a b'"),
        (["--", "cd x && ls"], ["--node=all", "--worker=all"], "cd x && ls"),
        (["--worker", "3", "--slice", "1", "--", "ls"], ["--node=1", "--worker=3"], "ls"),
        (["--worker", "3", "--", "ls"], ["--node=0", "--worker=3"], "ls"),
    ],
)
def test_a_command_runs_where_it_should(cloud, words, where, command):
    assert cloud.run("ssh.sh", "bert", *PLACE, *words).returncode == 0
    ssh = [*QUEUED, "ssh", "bert", *IN_PLACE, *SSH_ALIVE]
    assert cloud.calls == [[*ssh, *where, f"--command={command}"]]


def test_vms_without_an_address_are_reached_otherwise(cloud):
    flag = {"JAXBERT_TPU_SSH": "--tunnel-through-iap"}
    assert cloud.run("setup.sh", "bert", *PLACE, "--push-only", **flag).returncode == 0
    assert [call[4] for call in cloud.calls if "--tunnel-through-iap" in call] == ["scp", "ssh"]


def test_a_vm_that_vanishes_ends_every_ssh_unless_the_user_wants_it_otherwise(cloud):
    own = {"JAXBERT_TPU_SSH": "--ssh-flag=-oServerAliveInterval=5"}
    for direct in ([], ["--direct"]):
        assert cloud.run("setup.sh", "bert", *PLACE, *direct).returncode == 0
        assert cloud.run("logs.sh", "bert", *PLACE, *direct, **own).returncode == 0
    for call in cloud.calls:
        expected = {"scp": SCP_ALIVE, "ssh": SSH_ALIVE}[call[4]]
        assert [word for word in call if word in expected] == expected
    # Of two values ssh takes the first.
    intervals = [word for word in cloud.calls[-1] if "ServerAliveInterval" in word]
    assert intervals == ["--ssh-flag=-oServerAliveInterval=5", SSH_ALIVE[1]]


def test_the_status_of_a_command_is_passed_on(cloud):
    cloud.answers("ssh", replies=[[75, ""]])
    assert cloud.run("ssh.sh", "bert", *PLACE, "--", "false").returncode == 75


def test_logs_of_a_worker(cloud):
    words = ["--worker", "1", "--lines", "7", "--follow", "--direct"]
    assert cloud.run("logs.sh", "bert", *PLACE, *words).returncode == 0
    command = "--command=python3 jaxbert/tpu/worker.py log --lines 7 --follow"
    assert cloud.calls == [[*DIRECT, "ssh", "bert", *IN_PLACE, *SSH_ALIVE, "--worker=1", command]]


def test_results_come_from_a_bucket_without_project_or_zone(cloud, tmp_path):
    assert cloud.run("fetch.sh", "gs://b/run/model", f"{tmp_path}/model").returncode == 0
    copy = ["gcloud", "storage", "rsync", "--recursive", "gs://b/run/model", f"{tmp_path}/model"]
    assert cloud.calls == [copy]
    assert (tmp_path / "model").is_dir()


def test_results_come_from_a_worker(cloud, tmp_path):
    assert cloud.run("fetch.sh", "bert:run/model", f"{tmp_path}", *PLACE).returncode == 0
    where = [*IN_PLACE, *SCP_ALIVE, "--recurse", "--node=0", "--worker=0"]
    assert cloud.calls == [[*QUEUED, "scp", "bert:run/model", f"{tmp_path}", *where]]


@pytest.mark.parametrize("words", [["gs://b/run"], ["run", "here"], ["a:b", "c", "d"]])
def test_what_cannot_be_fetched_is_refused(cloud, words):
    assert cloud.run("fetch.sh", *words, *PLACE).returncode == 2
    assert cloud.calls == []


@pytest.mark.parametrize(("answer", "deleted"), [("y\n", True), ("n\n", False), ("", False)])
def test_deletion_asks(cloud, answer, deleted):
    done = cloud.run("delete.sh", "bert", *PLACE, stdin=answer)
    assert (done.returncode == 0) == deleted
    assert bool(cloud.calls) == deleted
    assert deleted or "bert is not deleted and goes on costing money" in done.stderr


def test_a_vm_without_queue_is_deleted(cloud):
    assert cloud.run("delete.sh", "bert", *PLACE, "--yes", "--direct").returncode == 0
    assert cloud.calls == [[*DIRECT, "delete", "bert", *IN_PLACE, "--quiet"]]


def test_the_list_says_what_costs_money(cloud):
    vms = [
        "bert,us-west4-a,v5litepod-8,READY",
        "old,us-west4-a,v5litepod-16,PREEMPTED",
        "big,us-central2-b,v4-32,CREATING",
    ]
    cloud.answers("tpu-vm list", replies=["\n".join(vms)])
    requests = "bert,us-west4-a,v5litepod-8,ACTIVE\nnext,us-east5-a,v6e-8,WAITING_FOR_RESOURCES"
    cloud.answers("queued-resources list", replies=[requests])
    done = cloud.run("list.sh", "--project", "acme", "--price", "1.5")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:5]] == [
        *(["VM", "bert"], ["VM", "old"], ["VM", "big"]),
        *(["request", "bert"], ["request", "next"]),
    ]
    # 8 chips of v5e, and 16 of v4, whose size is in TensorCores.
    assert lines[5] == "24 chips cost money now: about 36 an hour"
    assert [call[5:7] for call in cloud.calls] == [["--project=acme", "--zone=-"]] * 2


def test_a_type_that_cannot_be_counted_is_an_error(cloud):
    cloud.answers("tpu-vm list", replies=["bert,us-west4-a,,READY"])
    assert cloud.run("list.sh", "--project", "acme").returncode == 2


def test_an_empty_project_costs_nothing(cloud):
    done = cloud.run("list.sh", "--project", "acme")
    assert done.stdout == "0 chips cost money now\n"
