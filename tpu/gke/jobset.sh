#!/usr/bin/env bash
# Runs a command on TPU node pools of GKE as a JobSet, shows and deletes it.
# shellcheck source=../flags.sh
source "$(dirname "${BASH_SOURCE[0]}")/../flags.sh"

usage() {
  cat <<'EOF'
usage: jobset.sh apply NAME --image IMAGE --tpu TYPE --topology T [flags] -- COMMAND...
       jobset.sh status | logs | delete NAME [flags]

kubectl must point to the cluster (gcloud container clusters get-credentials), which needs the
JobSet controller (0.10.1 or newer) and a node pool of that TYPE and topology for each slice.

  --image IMAGE         made with tpu/gke/Dockerfile
  --tpu TYPE            v4, v5e, v5p or v6e
  --topology T          of a slice, as of its node pool: 2x4, 4x4, 2x2x2, ...
  --slices N            default: 1
  --chips N             of a node (default: 4, of one-node v5e and v6e slices up to 8)
  --mount gs://B[/P]=DIR  a bucket as a directory that all pods share, in /jaxbert where DIR is
                        relative; GKE 1.33.3 or newer with the add-on GcsFuseCsiDriver
  --max-restarts N      after crashes (default: 3); after preemptions always, after mistakes
                        (status 2) never
  --service-account S   of Kubernetes (default: default); the bucket is the node pool's to use
  --namespace N         default: kubectl's
  --follow, --yes       logs: go on; delete: do not ask
  --dry-run             print the manifest or the command

example:
  jobset.sh apply bert --image us-docker.pkg.dev/my-project/jaxbert/jaxbert:1 --tpu v5e \
      --topology 2x4 -- jaxbert pretrain configs/pretrain/bert_base.yaml \
      store=gs://my-bucket/stores/wiki --run gs://my-bucket/runs/base
  jobset.sh apply bert --image us-docker.pkg.dev/my-project/jaxbert/jaxbert:1 --tpu v5e \
      --topology 4x4 --mount gs://my-bucket/runs=runs -- \
      jaxbert pretrain configs/pretrain/bert_base.yaml \
      store=gs://my-bucket/stores/wiki --run runs/base
EOF
}

# https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus
accelerator_of() {
  case "$1" in
    v4) echo tpu-v4-podslice ;;
    v5e) echo tpu-v5-lite-podslice ;;
    v5p) echo tpu-v5p-slice ;;
    v6e) echo tpu-v6e-slice ;;
    *) fail "--tpu is ${1:-missing}: expected v4, v5e, v5p or v6e" ;;
  esac
}

[[ $# -gt 0 ]] || fail "expected apply, status, logs or delete; see --help"
verb="$1"
[[ "$verb" != -h && "$verb" != --help ]] || { usage && exit; }
shift
image="" tpu="" topology="" slices=1 chips="" restarts=3 account=default follow="" yes="" mounts=()
kubectl=(kubectl)
while [[ $# -gt 0 ]]; do
  case "$1" in
    --image) image="$(value "$@")"; shift 2 ;;
    --tpu) tpu="$(value "$@")"; shift 2 ;;
    --topology) topology="$(value "$@")"; shift 2 ;;
    --slices) slices="$(value "$@")"; shift 2 ;;
    --chips) chips="$(value "$@")"; shift 2 ;;
    --mount) mounts+=("$(value "$@")"); shift 2 ;;
    --max-restarts) restarts="$(value "$@")"; shift 2 ;;
    --service-account) account="$(value "$@")"; shift 2 ;;
    --namespace) kubectl+=("--namespace=$(value "$@")"); shift 2 ;;
    --follow) follow=--follow; shift ;;
    --yes) yes=yes; shift ;;
    --) shift; break ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
need_name

# JSON, which is YAML: every word of the command as a string.
json() {
  local word text=""
  for word in "$@"; do
    word="${word//\\/\\\\}"
    # Kubernetes replaces $(NAME) in arguments, and reads $$ as $.
    word="${word//\$/\$\$}"
    word="${word//$'\n'/\\n}"
    text+="${text:+, }\"${word//\"/\\\"}\""
  done
  echo "[$text]"
}

# A JSON object of strings: object KEY VALUE...
object() {
  local text=""
  while [[ $# -gt 0 ]]; do
    text+="${text:+, }\"$1\": \"$2\""
    shift 2
  done
  echo "{$text}"
}

# What a pod needs to have buckets as directories, through the CSI driver of Cloud Storage FUSE:
# sets `annotations`, `volumes` and `places`, as JSON.
mount_buckets() {
  local pair path directory options attributes name number=0
  annotations="{}" volumes="" places=""
  for pair in "$@"; do
    [[ "$pair" =~ ^gs://([-_.a-z0-9]+)(/[^=,\"\\]*)?=([^=\"\\]+)$ ]] ||
      fail "--mount is $pair: expected gs://BUCKET[/PATH]=DIR"
    path="${BASH_REMATCH[2]#/}" directory="${BASH_REMATCH[3]}"
    [[ "$directory" == /* ]] || directory="/jaxbert/$directory"
    # The same as in ../mounting.py, which says why.
    options="implicit-dirs,file-system:rename-dir-limit:100000,metadata-cache:ttl-secs:0"
    options+=",metadata-cache:negative-ttl-secs:0,write:enable-streaming-writes:false"
    options+="${path:+,only-dir=${path%/}}"
    # On the network of the node it is the node's service account that mounts, and the driver would
    # check whether the pod's may.
    attributes="$(object bucketName "${BASH_REMATCH[1]}" skipCSIBucketAccessCheck true \
      mountOptions "$options")"
    name="\"name\": \"bucket-$((++number))\""
    volumes+="${volumes:+, }{$name, \"csi\": {\"driver\": \"gcsfuse.csi.storage.gke.io\", \
\"volumeAttributes\": $attributes}}"
    places+="${places:+, }{$name, \"mountPath\": \"$directory\"}"
    # Zero is no limit: what is written waits on the sidecar's disk until it is in the bucket.
    annotations="$(object gke-gcsfuse/volumes true gke-gcsfuse/cpu-limit 0 \
      gke-gcsfuse/memory-limit 0 gke-gcsfuse/ephemeral-storage-limit 0)"
  done
  volumes="[$volumes]" places="[$places]"
}

# shellcheck disable=SC2016 # ${NAME} is a word of the template
manifest() {
  local text accelerator all
  accelerator="$(accelerator_of "$tpu")"
  [[ "$topology" =~ ^[1-9][0-9]*(x[1-9][0-9]*){1,2}$ ]] ||
    fail "--topology is ${topology:-missing}: expected e.g. 4x4 or 2x2x2"
  [[ -n "$image" ]] || fail "expected --image; see --help"
  [[ $# -gt 0 ]] || fail "expected -- COMMAND; see --help"
  [[ "$slices" =~ ^[1-9][0-9]*$ ]] || fail "--slices is $slices: expected a whole number"
  [[ "$restarts" =~ ^[0-9]+$ ]] || fail "--max-restarts is $restarts: expected a whole number"
  [[ "$chips" =~ ^([1-9][0-9]*)?$ ]] || fail "--chips is $chips: expected a whole number"
  all=$((${topology//x/*}))
  [[ -n "$chips" ]] || case "$tpu-$all" in
    v5e-8 | v6e-8) chips=8 ;;
    *) chips=$((all < 4 ? all : 4)) ;;
  esac
  ((all % chips == 0)) || fail "--chips $chips do not divide the $all chips of $topology"
  mount_buckets "${mounts[@]}"
  text="$(<"$(dirname "${BASH_SOURCE[0]}")/jobset.yaml")"
  # Quoted: & in a replacement would stand for what is replaced.
  text="${text//'${NAME}'/"$name"}"
  text="${text//'${IMAGE}'/"$image"}"
  text="${text//'${ACCELERATOR}'/"$accelerator"}"
  text="${text//'${TOPOLOGY}'/"$topology"}"
  text="${text//'${SLICES}'/"$slices"}"
  text="${text//'${NODES}'/"$((all / chips))"}"
  text="${text//'${CHIPS}'/"$chips"}"
  text="${text//'${MAX_RESTARTS}'/"$restarts"}"
  text="${text//'${SERVICE_ACCOUNT}'/"$account"}"
  text="${text//'${ANNOTATIONS}'/"$annotations"}"
  text="${text//'${VOLUMES}'/"$volumes"}"
  text="${text//'${PLACES}'/"$places"}"
  printf '%s\n' "${text//'${COMMAND}'/"$(json "$@")"}"
}

pods="--selector=jobset.sigs.k8s.io/jobset-name=$name"
case "$verb" in
  apply)
    text="$(manifest "$@")"
    if [[ -n "$dry_run" ]]; then
      printf '%s\n' "$text"
    else
      "${kubectl[@]}" apply -f - <<<"$text"
    fi
    ;;
  status)
    call "${kubectl[@]}" get jobset "$name"
    call "${kubectl[@]}" get pods "$pods" --output=wide
    ;;
  logs)
    call "${kubectl[@]}" logs "$pods" --container=jaxbert --prefix --tail=100 \
      --max-log-requests=64 ${follow:+"$follow"}
    ;;
  delete)
    if [[ -z "$yes$dry_run" ]]; then
      read -rp "delete the JobSet $name? [y/N] " answer || answer=""
      [[ "$answer" == [yY]* ]] || fail "$name is not deleted; --yes does not ask"
    fi
    call "${kubectl[@]}" delete jobset "$name"
    say "node pools cost money until: gcloud container node-pools delete"
    ;;
  *) fail "$verb: expected apply, status, logs or delete; see --help" ;;
esac
