"""jobset.sh --mount: buckets as volumes of pods."""

import sys

import pytest
import yaml
from fake_cloud import TPU

sys.path.insert(0, str(TPU))
from mounting import OPTIONS

COMMAND = ("--", "jaxbert", "pretrain", "c.yaml", "--run", "runs/base")
APPLY = ("apply", "bert", "--image", "i", "--tpu", "v5e", "--topology", "4x4")


def pod_of(cloud, *words):
    done = cloud.run("gke/jobset.sh", *APPLY, *words, "--dry-run", *COMMAND)
    assert done.returncode == 0, done.stderr
    jobs = yaml.safe_load(done.stdout)["spec"]["replicatedJobs"]
    return jobs[0]["template"]["spec"]["template"]


def test_pods_have_buckets_as_volumes(cloud):
    pod = pod_of(cloud, "--mount", "gs://b/runs/base/=runs", "--mount=gs://my-data=/data")
    assert pod["metadata"]["annotations"] == {
        "gke-gcsfuse/volumes": "true",
        "gke-gcsfuse/cpu-limit": "0",
        "gke-gcsfuse/memory-limit": "0",
        "gke-gcsfuse/ephemeral-storage-limit": "0",
    }
    runs, data = pod["spec"]["volumes"]
    assert runs["csi"]["driver"] == data["csi"]["driver"] == "gcsfuse.csi.storage.gke.io"
    of_runs, of_data = (volume["csi"]["volumeAttributes"] for volume in (runs, data))
    assert (of_runs["bucketName"], of_data["bucketName"]) == ("b", "my-data")
    assert of_runs["mountOptions"] == f"{of_data['mountOptions']},only-dir=runs/base"
    # The node's account mounts, and may not be the pod's.
    assert of_runs["skipCSIBucketAccessCheck"] == "true"
    (container,) = pod["spec"]["containers"]
    assert container["volumeMounts"] == [
        {"name": runs["name"], "mountPath": "/jaxbert/runs"},
        {"name": data["name"], "mountPath": "/data"},
    ]
    assert runs["name"] != data["name"]


def test_pods_mount_with_the_same_options_as_vms(cloud):
    (volume,) = pod_of(cloud, "--mount", "gs://b=runs")["spec"]["volumes"]
    options = volume["csi"]["volumeAttributes"]["mountOptions"].split(",")
    # section:key:value, as in gcsfuse's configuration file; the key alone, or with its section, is
    # the name of the flag.
    flags = [option.replace("file-system:", "").replace("write:", "") for option in options]
    flags = [flag.replace("metadata-cache:", "metadata-cache-").replace(":", "=") for flag in flags]
    assert tuple(f"--{flag}" for flag in flags) == OPTIONS


def test_pods_without_buckets_have_no_sidecar(cloud):
    pod = pod_of(cloud)
    assert pod["metadata"]["annotations"] == {}
    assert pod["spec"]["volumes"] == pod["spec"]["containers"][0]["volumeMounts"] == []


@pytest.mark.parametrize("word", ["b=runs", "gs://b", "gs://b/a,b=runs", "gs://b=a=b"])
def test_what_pods_cannot_mount_is_one_line(cloud, word):
    done = cloud.run("gke/jobset.sh", *APPLY, "--mount", word, *COMMAND)
    assert done.returncode == 2
    assert done.stderr == f"jobset.sh: --mount is {word}: expected gs://BUCKET[/PATH]=DIR\n"
    assert cloud.calls == []
