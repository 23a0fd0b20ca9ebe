"""The JobSet manifest and the scripts for GKE, against fake kubectl and xpk."""

import re

import pytest
import yaml
from fake_cloud import IN_PLACE, PLACE

APPLY = ("apply", "bert", "--image", "acme/jaxbert:1", "--tpu")
COMMAND = (
    "--",
    "jaxbert",
    "pretrain",
    "c.yaml",
    'note=a "b" \\n & ${NAME} $(NAME) $$\nsecond line',
    "--run",
    "gs://b/run",
)


def manifest(cloud, *words):
    done = cloud.run("gke/jobset.sh", *APPLY, *words, *COMMAND)
    assert done.returncode == 0, done.stderr
    assert cloud.calls == [["kubectl", "apply", "-f", "-"]]
    return yaml.safe_load((cloud.home / "stdin").read_text())


def job(jobset):
    (slices,) = jobset["spec"]["replicatedJobs"]
    return slices["template"]["spec"]


def test_the_manifest_is_a_jobset_of_tpu_pods(cloud):
    jobset = manifest(cloud, "v5e", "--topology", "4x4", "--slices", "2")
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert jobset["kind"] == "JobSet"
    assert jobset["metadata"]["name"] == "bert"
    assert jobset["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    assert jobset["spec"]["replicatedJobs"][0]["replicas"] == 2
    # 16 chips, four a VM; Indexed, or GKE sets none of the variables of jax.distributed.
    assert (job(jobset)["parallelism"], job(jobset)["completions"]) == (4, 4)
    assert job(jobset)["completionMode"] == "Indexed"
    pod = job(jobset)["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["containers"][0]["image"] == "acme/jaxbert:1"


def test_the_words_of_the_command_arrive_unchanged(cloud):
    (container,) = job(manifest(cloud, "v6e", "--topology=2x4"))["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "-c", 'exec "$@"', "jaxbert"]
    # Kubernetes replaces $(NAME), and reads $$ as $.
    assert [word.replace("$$", "$") for word in container["args"]] == list(COMMAND[1:])
    assert not any(re.search(r"(?<!\$)(\$\$)*\$(?!\$)", word) for word in container["args"])


def test_preemption_restarts_without_limit_crashes_with_one_and_mistakes_never(cloud):
    jobset = manifest(cloud, "v5e", "--topology", "2x4", "--max-restarts", "5")
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 5
    message = (
        "Container jaxbert for pod nlp/bert-slice-0-1-x failed with exit code {} matching FailJob"
    )
    mistaken, *others = policy["rules"]
    [pattern] = mistaken.pop("onJobFailureMessagePatterns")
    assert [bool(re.fullmatch(pattern, message.format(code))) for code in (2, 75, 12, 22)] == [
        *(True, False, False, False)
    ]
    assert mistaken == {
        "name": "mistaken",
        "action": "FailJobSet",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    assert others == [
        {
            "name": "preempted",
            "action": "RestartJobSetAndIgnoreMaxRestarts",
            "onJobFailureReasons": ["PodFailurePolicy"],
        }
    ]
    disrupted, saved, refused = job(jobset)["podFailurePolicy"]["rules"]
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert saved["onExitCodes"]["values"] == [75]
    assert refused["onExitCodes"] == saved["onExitCodes"] | {"values": [2]}
    assert {disrupted["action"], saved["action"], refused["action"]} == {"FailJob"}
    assert job(jobset)["backoffLimit"] == 0
    pod = job(jobset)["template"]["spec"]
    # podFailurePolicy is only allowed with Never.
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 300
    assert saved["onExitCodes"]["containerName"] == pod["containers"][0]["name"]


@pytest.mark.parametrize(
    ("tpu", "topology", "accelerator", "nodes", "chips"),
    [
        ("v4", "2x2x4", "tpu-v4-podslice", 4, 4),
        ("v5e", "2x4", "tpu-v5-lite-podslice", 1, 8),
        ("v5e", "1x1", "tpu-v5-lite-podslice", 1, 1),
        ("v5e", "16x16", "tpu-v5-lite-podslice", 64, 4),
        ("v5p", "2x2x2", "tpu-v5p-slice", 2, 4),
        ("v6e", "4x8", "tpu-v6e-slice", 8, 4),
    ],
)
def test_nodes_and_chips_follow_from_the_topology(cloud, tpu, topology, accelerator, nodes, chips):
    spec = job(manifest(cloud, tpu, "--topology", topology))
    pod = spec["template"]["spec"]
    assert spec["completions"] == nodes
    assert pod["containers"][0]["resources"]["limits"]["google.com/tpu"] == chips
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == accelerator


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["v5e", "--topology", "big"], "--topology is big"),
        (["v7", "--topology", "2x4"], "--tpu is v7"),
        (["v5e", "--topology", "4x4", "--chips", "3"], "--chips 3 do not divide the 16 chips"),
        (["v5e", "--topology", "4x4", "--chips", "x"], "--chips is x"),
        (["v5e", "--topology", "4x4", "--chips", "0"], "--chips is 0"),
        (["v5e", "--topology", "4x08"], "--topology is 4x08"),
        (["v5e", "--topology", "4x4", "--slices", "0"], "--slices is 0"),
        (["v5e", "--topology", "4x4", "--max-restarts", "x"], "--max-restarts is x"),
    ],
)
def test_mistakes_are_one_line(cloud, words, message):
    done = cloud.run("gke/jobset.sh", *APPLY, *words, *COMMAND)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert cloud.calls == []


def test_a_dry_run_prints_the_manifest(cloud):
    words = ("v5e", "--topology", "2x4", "--dry-run", *COMMAND)
    done = cloud.run("gke/jobset.sh", *APPLY, *words)
    assert yaml.safe_load(done.stdout)["kind"] == "JobSet"
    assert cloud.calls == []


def test_a_jobset_is_shown_and_deleted(cloud):
    space = ("--namespace", "nlp")
    for words in (["status"], ["logs", "--follow"], ["delete", "--yes"]):
        assert cloud.run("gke/jobset.sh", words[0], "bert", *words[1:], *space).returncode == 0
    kubectl = ["kubectl", "--namespace=nlp"]
    pods = "--selector=jobset.sigs.k8s.io/jobset-name=bert"
    assert cloud.calls == [
        [*kubectl, "get", "jobset", "bert"],
        [*kubectl, "get", "pods", pods, "--output=wide"],
        [
            *(*kubectl, "logs", pods, "--container=jaxbert", "--prefix", "--tail=100"),
            *("--max-log-requests=64", "--follow"),
        ],
        [*kubectl, "delete", "jobset", "bert"],
    ]


def test_deletion_asks(cloud):
    done = cloud.run("gke/jobset.sh", "delete", "bert", stdin="no\n")
    assert done.returncode == 2
    assert cloud.calls == []


def test_a_refused_manifest_is_an_error(cloud):
    cloud.answers("apply", replies=[[1, "error: no matches for kind JobSet"]])
    done = cloud.run("gke/jobset.sh", *APPLY, "v5e", "--topology", "2x4", *COMMAND)
    assert done.returncode == 1
    assert "no matches for kind JobSet" in done.stderr


def test_an_xpk_workload(cloud):
    words = ["--cluster", "c", "--type", "v5litepod-16", "--image", "i", "--slices", "2", *PLACE]
    done = cloud.run("gke/xpk.sh", "create", "bert", *words, "--", "jaxbert", "pretrain", "a b")
    assert done.returncode == 0, done.stderr
    assert cloud.calls == [
        [
            *("xpk", "workload", "create", "--workload=bert", "--cluster=c", *IN_PLACE),
            *("--tpu-type=v5litepod-16", "--num-slices=2", "--docker-image=i"),
            *("--max-restarts=100", "--restart-on-exit-codes=75"),
            *(
                "--termination-grace-period-seconds=300",
                "--command=exec 'jaxbert' 'pretrain' 'a b'",
            ),
        ]
    ]


def test_an_xpk_workload_mounts_what_is_attached_to_the_cluster(cloud):
    words = ("bert", "--cluster", "c", "--type", "v6e-16", "--image", "i", *PLACE)
    stores = ("--storage", "runs", "--storage", "stores")
    assert cloud.run("gke/xpk.sh", "create", *words, *stores, "--", "jaxbert").returncode == 0
    [called] = cloud.calls
    assert [word for word in called if "storage" in word] == ["--storage=runs", "--storage=stores"]


def test_xpk_workloads_are_listed_and_deleted(cloud):
    assert cloud.run("gke/xpk.sh", "list", "--cluster", "c", *PLACE).returncode == 0
    deletion = ["delete", "bert", "--cluster", "c", "--yes", *PLACE]
    assert cloud.run("gke/xpk.sh", *deletion).returncode == 0
    assert cloud.calls == [
        ["xpk", "workload", "list", "--cluster=c", *IN_PLACE],
        ["xpk", "workload", "delete", "--workload=bert", "--cluster=c", *IN_PLACE, "--force"],
    ]


@pytest.mark.parametrize("words", [[], ["launch", "bert"], ["create", "bert", "--cluster", "c"]])
def test_unclear_xpk_calls_are_one_line(cloud, words):
    done = cloud.run("gke/xpk.sh", *words, *PLACE)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert cloud.calls == []
