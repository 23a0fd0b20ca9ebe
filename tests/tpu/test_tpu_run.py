"""run.py against a fake gcloud that plays preemptions, failures and silence."""

import subprocess
import sys

import pytest
from fake_cloud import IN_PLACE, PLACE, TPU

sys.path.insert(0, str(TPU))
from outcome import Outcome, judge

COMMAND = ("--", "jaxbert", "pretrain", "c.yaml", "--run", "gs://b/run")
START = "ssh: python3 jaxbert/tpu/worker.py start -- jaxbert pretrain c.yaml --run gs://b/run"
STATUS = "ssh: if [ -e jaxbert/tpu/worker.py ]"
INSTALL = "ssh: python3 jaxbert/tpu/worker.py install"
STOP = "ssh: python3 jaxbert/tpu/worker.py stop"
LOG = "ssh: python3 jaxbert/tpu/worker.py log --if-failed --lines 30"


def workers(*statuses):
    return "\n".join(f"jaxbert-worker w-{n} {status}" for n, status in enumerate(statuses))


@pytest.fixture(autouse=True)
def _commit_0123abc(cloud):
    cloud.without_git()


def play(cloud, *, states, statuses, options=(), environment=None, **replies):
    cloud.answers("queued-resources describe", replies=states)
    cloud.answers("if [ -e", replies=statuses)
    for part, answers in replies.items():
        cloud.answers(part, replies=answers)
    cloud.answers("worker.py start", replies=[workers("running")])
    words = ["--type", "v5litepod-8", *PLACE, *options, *COMMAND]
    return cloud.run("run.py", "bert", *words, **(environment or {}))


def course(cloud):
    """What happened, without questions about the state and the copying of code."""
    left_out = ("describe", "list", "scp", "ssh: mkdir")
    names = {STATUS: "status", START: "start", INSTALL: "install", STOP: "stop", LOG: "log"}
    return [
        next((name for start, name in names.items() if verb.startswith(start)), verb)
        for verb in cloud.verbs
        if not verb.startswith(left_out)
    ]


def test_a_run_that_nothing_interrupts(cloud):
    done = play(
        cloud,
        states=[[1, "not found"], "PROVISIONING", "ACTIVE"],
        statuses=[workers("absent"), workers("running"), workers("running"), workers("exited 0")],
        options=("--delete", "done", "--spot"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert course(cloud) == [
        *("create", "status", "install", "start"),
        *("status", "status", "status", "delete"),
    ]
    # The commit at the start, for every restart.
    assert (cloud.home / "git").read_text().splitlines()[-1].endswith(" 0123abc")
    create = next(call for call in cloud.calls if call[4] == "create")
    assert create[5:] == [
        *("bert", *IN_PLACE, "--accelerator-type=v5litepod-8"),
        *("--runtime-version=v2-alpha-tpuv5-lite", "--node-id=bert", "--spot"),
    ]


def test_preempted_twice_and_then_done(cloud):
    lost = "SUSPENDED"
    done = play(
        cloud,
        # state, wait; silence and state; state, wait; ...
        states=[
            *([1, "not found"], "ACTIVE", lost),
            *(lost, "ACTIVE", lost),
            *(lost, "WAITING_FOR_RESOURCES", "ACTIVE"),
        ],
        statuses=[
            *(workers("absent"), workers("running"), [255, "Connection timed out"]),
            *(workers("absent"), workers("running"), [255, "Connection timed out"]),
            *(workers("absent"), workers("running"), workers("exited 0")),
        ],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    attempt = ["create", "status", "install", "start", "status", "status"]
    assert course(cloud) == [*attempt, "delete", *attempt, "delete", *attempt]
    assert done.stdout.count("preempted: the TPU was taken back") == 2
    assert "costs money until: tpu/delete.sh bert" in done.stdout


def test_a_save_on_a_signal_is_continued_on_the_same_vms(cloud):
    done = play(
        cloud,
        states=["ACTIVE"],
        statuses=[
            *(workers("absent"), workers("exited 75")),
            *(workers("exited 75"), workers("running"), workers("exited 0")),
        ],
    )
    assert done.returncode == 0
    attempt = ["status", "install", "start", "status"]
    assert course(cloud) == [*attempt, *attempt, "status"]


def test_a_command_that_keeps_failing_ends_with_its_log(cloud):
    done = play(
        cloud,
        states=["ACTIVE"],
        statuses=[workers("exited 1")],
        log=["Traceback: the last words"],
    )
    assert done.returncode == 1
    assert course(cloud) == [*["status", "install", "start", "status"] * 3, "log"]
    assert "Traceback: the last words" in done.stdout
    assert "given up: w-0 ended with 1" in done.stdout
    assert "all of it: tpu/logs.sh bert --project=acme --zone=us-west4-a" in done.stdout
    assert "costs money until: tpu/delete.sh bert" in done.stdout


def test_failures_before_a_preemption_are_forgotten(cloud):
    ends = ["exited 1", "exited 75", "exited 1", "exited 0"]
    statuses = [workers(end) for end in ends for _ in ("before the start", "after it")]
    done = play(cloud, states=["ACTIVE"], statuses=statuses, options=("--tries", "2"))
    assert done.returncode == 0, done.stdout


def test_a_mistake_is_not_tried_again(cloud):
    done = play(cloud, states=["ACTIVE"], statuses=[workers("exited 2")])
    assert done.returncode == 2
    assert course(cloud) == ["status", "install", "start", "status", "log"]


def test_failures_of_a_tpu_that_was_taken_back_are_not_the_commands(cloud):
    done = play(
        cloud,
        states=["ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDED", "ACTIVE"],
        statuses=[
            *(workers("absent"), workers("exited 1")),
            *(workers("absent"), workers("exited 0")),
        ],
        options=("--tries", "1"),
    )
    assert done.returncode == 0, done.stdout
    assert "delete" in course(cloud)


def test_what_is_being_suspended_is_not_deleted_before_it_is(cloud):
    done = play(
        cloud,
        states=["SUSPENDING", "SUSPENDING", "SUSPENDED", "ACTIVE"],
        statuses=[workers("absent"), workers("exited 0")],
    )
    assert done.returncode == 0
    assert cloud.verbs[:5] == ["describe", "describe", "describe", "delete", "create"]


def test_what_does_not_end_being_suspended_is_waited_for_by_the_clock(cloud):
    done = play(
        cloud,
        states=["SUSPENDING"],
        statuses=[""],
        options=("--timeout", "2", "--poll", "86400", "--tries", "1"),
        delete=[[1, "ERROR: it is busy"]],
        environment={"JAXBERT_TPU_SLEEP": "0.5"},
    )
    assert done.returncode == 1
    assert "given up: it could not be deleted" in done.stdout
    assert len(cloud.verbs) > 3


def test_a_running_command_is_watched_and_not_started_anew(cloud):
    statuses = [workers("running"), workers("running"), workers("exited 0")]
    done = play(cloud, states=["ACTIVE"], statuses=statuses)
    assert done.returncode == 0
    assert course(cloud) == ["status", "start", "status", "status"]
    assert "the command is running already" in done.stdout


def test_ssh_that_fails_in_passing_is_waited_out(cloud):
    silence = [255, "Connection refused"]
    statuses = [workers("absent"), silence, silence, workers("running"), workers("exited 0")]
    done = play(cloud, states=["ACTIVE"], statuses=statuses)
    assert done.returncode == 0
    assert course(cloud).count("start") == 1


def test_an_ssh_that_hangs_is_ended_and_the_preemption_behind_it_noticed(cloud):
    done = play(
        cloud,
        states=[*["ACTIVE"] * 2, *["SUSPENDED"] * 2, "ACTIVE"],
        statuses=[workers("absent"), "HANG", workers("absent"), workers("exited 0")],
        environment={"JAXBERT_TPU_DEADLINE": "2"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "preempted: the TPU was taken back" in done.stdout
    assert "ssh.sh: no answer within 2 s" in done.stderr
    pid = (cloud.home / "hung").read_text()
    shown = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
    # Gone, or dead and waiting for its parent.
    assert shown.stdout.strip()[:1] in ("", "Z")


GONE = [1, "ERROR: NOT_FOUND: no such resource"]


@pytest.mark.parametrize(
    "states",
    [
        # What is seen of a deletion: its end, or its course too.
        ["ACTIVE", "ACTIVE", GONE],
        [GONE, "ACTIVE", "DELETING", "DELETING", GONE],
    ],
)
def test_a_tpu_that_somebody_deletes_ends_the_run(cloud, states):
    done = play(
        cloud,
        states=states,
        statuses=[workers("absent"), workers("running"), [1, "NOT_FOUND"]],
        options=("--spot", "--delete", "always"),
    )
    assert done.returncode == 5, done.stdout
    assert "deleted: somebody else has deleted bert" in done.stdout
    assert "costs money" not in done.stdout
    assert "delete" not in course(cloud)
    assert course(cloud).count("create") == (states[0] == GONE)


def test_a_request_that_somebody_takes_out_of_the_queue_ends_the_run(cloud):
    done = play(cloud, states=[GONE, "WAITING_FOR_RESOURCES", GONE], statuses=[""])
    assert done.returncode == 5, done.stdout
    assert course(cloud) == ["create"]


def test_a_tpu_that_is_not_found_once_is_still_there(cloud):
    done = play(
        cloud,
        states=["ACTIVE", "ACTIVE", GONE, "ACTIVE"],
        statuses=[workers("absent"), workers("running"), [1, "NOT_FOUND"], workers("exited 0")],
    )
    assert done.returncode == 0, done.stdout
    assert course(cloud).count("start") == 1


def test_a_tpu_that_we_have_deleted_is_asked_for_again(cloud):
    done = play(
        cloud,
        states=["ACTIVE", "ACTIVE", "SUSPENDED", "SUSPENDED", "DELETING", GONE, "ACTIVE"],
        statuses=[workers("absent"), [1, ""], workers("absent"), workers("exited 0")],
        delete=[[1, "Connection reset by peer"]],
    )
    assert done.returncode == 0, done.stdout
    assert "create" in course(cloud)


@pytest.mark.parametrize(
    ("flag", "status"), [("--spot", 0), ("--create-flag=--preemptible", 0), ("--version=v", 5)]
)
def test_a_spot_vm_without_a_request_may_vanish_when_it_is_taken_back(cloud, flag, status):
    cloud.answers("tpu-vm describe", replies=["READY", "READY", GONE, GONE, "READY"])
    done = play(
        cloud,
        states=[],
        statuses=[workers("absent"), [1, "NOT_FOUND"], workers("absent"), workers("exited 0")],
        options=("--direct", flag),
    )
    assert done.returncode == status, done.stdout
    assert course(cloud).count("create") == (status == 0)


AWAY = [1, "ERROR: Failed to resolve tpu.googleapis.com"]


def test_a_network_that_is_away_is_no_failure_of_the_command(cloud):
    silence = [255, "Connection timed out"]
    done = play(
        cloud,
        states=["ACTIVE", "ACTIVE", *[AWAY, AWAY, AWAY, "ACTIVE"] * 6],
        statuses=[workers("absent"), *[silence] * 6, workers("running"), workers("exited 0")],
        options=("--tries", "1"),
    )
    assert done.returncode == 0, done.stdout
    assert course(cloud).count("start") == 1
    # Not at every question.
    assert done.stdout.count("gcloud fails: asked again for 3600 s") == 6
    assert done.stderr.count("Failed to resolve") == 6
    assert "gcloud answers again: bert is ACTIVE" in done.stdout


def test_a_network_that_stays_away_leaves_the_tpu_as_it_is(cloud):
    done = play(
        cloud,
        states=["ACTIVE", "ACTIVE", AWAY],
        statuses=[workers("absent"), workers("running"), [255, "Connection timed out"]],
        options=("--patience", "2", "--delete", "always"),
        environment={"JAXBERT_TPU_SLEEP": "0.2"},
    )
    assert done.returncode == 6, done.stdout
    assert "given up: gcloud has failed for 2 s" in done.stdout
    assert "may still run, and cost money until: tpu/delete.sh bert" in done.stdout
    assert course(cloud) == ["status", "install", "start", "status", "status"]


def test_what_fails_while_the_network_is_away_does_not_count(cloud):
    done = play(
        cloud,
        states=[
            # state, then gcloud creates nothing; state, wait; state, wait; gcloud copies nothing
            *([1, "not found"], AWAY, AWAY, [1, "not found"]),
            *([1, "not found"], *[AWAY] * 7, "ACTIVE"),
            *("ACTIVE", AWAY, "ACTIVE"),
        ],
        statuses=[workers("absent"), workers("absent"), workers("exited 0")],
        options=("--tries", "1"),
        create=[AWAY, ""],
        scp=[*[AWAY] * 3, ""],
    )
    assert done.returncode == 0, done.stdout
    attempt = ["status", "install", "start", "status"]
    assert course(cloud) == ["create", "create", "status", *attempt]


def test_vms_that_cannot_be_reached_are_given_up(cloud):
    done = play(
        cloud,
        states=["ACTIVE"],
        statuses=[[255, "Connection refused"]],
        options=("--tries", "2"),
    )
    assert done.returncode == 1
    assert "given up: five times in a row no worker could be reached" in done.stdout


def test_workers_that_wait_for_a_failed_one_are_asked_to_save(cloud):
    hung = workers("exited 1", "running")
    done = play(
        cloud,
        states=["ACTIVE"],
        statuses=[workers("absent", "absent"), *[hung] * 2, workers("exited 1", "exited 75")],
        options=("--tries", "1", "--grace", "0", "--restarts", "0"),
    )
    # 75 of the others makes it a preemption, and no restart is left.
    assert done.returncode == 75, done.stdout
    assert course(cloud)[-3:] == ["status", "stop", "status"]


def test_workers_that_do_not_end_bound_the_wait(cloud):
    statuses = [workers("absent", "absent"), workers("exited 1", "running")]
    options = ("--tries", "1", "--grace", "0")
    done = play(cloud, states=["ACTIVE"], statuses=statuses, options=options)
    assert done.returncode == 1
    assert course(cloud)[3:] == ["status", "status", "stop", "status", "stop", "log"]
    assert "w-0 ended with 1, and others do not end" in done.stdout


def test_restarts_are_bounded(cloud):
    done = play(
        cloud, states=["ACTIVE"], statuses=[workers("exited 75")], options=("--restarts", "1")
    )
    assert done.returncode == 75
    assert course(cloud).count("start") == 2


def test_a_tpu_that_never_comes_ends_the_run(cloud):
    options = ("--timeout", "1")
    done = play(cloud, states=["WAITING_FOR_RESOURCES"], statuses=[""], options=options)
    assert done.returncode == 4
    assert "it stays in the queue until delete.sh bert" in done.stderr


def test_a_request_that_fails_is_tried_again_and_given_up(cloud):
    done = play(cloud, states=["FAILED"], statuses=[""], options=("--tries", "2"))
    assert done.returncode == 3
    assert course(cloud) == ["delete", "create", "delete", "create"]


def test_spot_capacity_that_vanishes_while_it_is_made_is_asked_for_again(cloud):
    done = play(
        cloud,
        states=[[1, "not found"], "PROVISIONING", "SUSPENDED", "SUSPENDED", "SUSPENDED", "ACTIVE"],
        statuses=[workers("absent"), workers("exited 0")],
        options=("--tries", "1"),
    )
    assert done.returncode == 0, done.stdout
    assert course(cloud)[:3] == ["create", "delete", "create"]


def test_a_mirror_of_several_vms_is_refused(cloud):
    cloud.answers("queued-resources describe", replies=["ACTIVE"])
    cloud.answers("if [ -e", replies=[workers("absent", "absent")])
    cloud.answers("worker.py start", replies=[workers("running", "running")])
    words = ["--type", "v4-8", *PLACE, "--mirror", "gs://b/r=r", *COMMAND]
    done = cloud.run("run.py", "bert", *words)
    assert done.returncode == 2
    assert "--mirror serves one VM, here are several" in done.stdout
    assert course(cloud)[-1] == "stop"


def test_the_flags_reach_the_worker_and_gcloud(cloud):
    cloud.answers("tpu-vm describe", replies=[[1, "not found"], "READY"])
    cloud.answers("if [ -e", replies=[workers("absent"), workers("exited 0")])
    words = ["--type", "v4-8", "--direct", "--create-flag=--network=n", *PLACE]
    copies = ["--fetch", "gs://b/s=s", "--mirror", "gs://b/r=r"]
    done = cloud.run("run.py", "bert", *words, *copies, "--", "jaxbert", "a b")
    assert done.returncode == 0, done.stdout + done.stderr
    create = next(call for call in cloud.calls if call[4] == "create")
    assert create[3] == "tpu-vm"
    assert create[-1] == "--network=n"
    start = "ssh: python3 jaxbert/tpu/worker.py start --fetch=gs://b/s=s --mirror=gs://b/r=r"
    assert f"{start} -- jaxbert 'a b'" in cloud.verbs


def test_a_dry_run_shows_every_step_and_calls_nothing(cloud):
    done = cloud.run("run.py", "bert", "--type", "v6e-8", "--dry-run", *PLACE, *COMMAND)
    assert done.returncode == 0, done.stderr
    steps = [line.split()[4] for line in done.stdout.splitlines() if "compute" in line]
    assert steps == ["create", "describe", "scp", "ssh", "ssh", "ssh", "ssh", "delete"]
    assert cloud.calls == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--poll", "0", *COMMAND], "0: expected a whole number from 1"),
        (["--type", "v6e-8"], "expected -- COMMAND"),
        (["--fetch", "gs://b/s", *COMMAND], "gs://b/s: expected gs://BUCKET/PATH=DIRECTORY"),
        (["--mirror", "r=gs://b/r", *COMMAND], "r=gs://b/r: expected gs://BUCKET/PATH=DIRECTORY"),
        (["--mirror", "gs://b/r=r", "--type", "v4-16", *COMMAND], "--mirror serves one VM"),
        (["--mirror", "gs://b/r=r", "--slices", "2", *COMMAND], "--mirror serves one VM"),
    ],
)
def test_mistakes_in_the_call_start_nothing(cloud, words, message):
    done = cloud.run("run.py", "bert", "--type", "v4-8", *PLACE, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert cloud.calls == []


def test_no_project_ends_a_run_at_once(cloud):
    done = cloud.run("run.py", "bert", "--type", "v4-8", *COMMAND)
    assert done.returncode == 2
    assert done.stderr.startswith("state.sh: no project: give --project")
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_help_has_an_example(cloud):
    done = cloud.run("run.py", "--help")
    assert done.returncode == 0
    assert "run.py bert --type v5litepod-8 --spot" in done.stdout.split("example:")[1]


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ([], None),
        (["running", "running"], None),
        (["exited 0", "running"], None),
        (["exited 0", "exited 0"], "done"),
        (["exited 1", "exited 75"], "preempted"),
        (["lost", "exited 1"], "preempted"),
        (["running", "absent"], "preempted"),
        (["exited 1", "running"], "failed"),
        (["exited 0", "exited 137"], "failed"),
    ],
)
def test_what_the_words_of_the_workers_amount_to(statuses, kind):
    outcome = judge({f"w-{n}": status for n, status in enumerate(statuses)})
    assert (outcome and outcome.kind) == kind


def test_the_code_of_a_failure_is_that_of_the_first_worker():
    assert judge({"a": "exited 0", "b": "exited 137"}) == Outcome("failed", "b ended with 137", 137)
