#!/usr/bin/env bash
# Runs a command on a GKE cluster that XPK has made.
# shellcheck source=../flags.sh
source "$(dirname "${BASH_SOURCE[0]}")/../flags.sh"

usage() {
  cat <<'EOF'
usage: xpk.sh create NAME --cluster C --type TYPE --image IMAGE [flags] -- COMMAND...
       xpk.sh list --cluster C [flags]
       xpk.sh delete NAME --cluster C [flags]

Needs xpk (pip install xpk) and a cluster: xpk cluster create --cluster C --tpu-type=TYPE --spot

  --cluster C        of xpk
  --type TYPE        v5litepod-16, v6e-16, v5p-16, ...
  --image IMAGE      made with tpu/gke/Dockerfile
  --slices N         default: 1
  --storage NAME     mounts what `xpk storage attach NAME` has attached to the cluster; several
  --max-restarts N   preemptions are counted too (default: 100)
  --yes              delete: do not ask
EOF
  shared_usage
  cat <<'EOF'

example:
  xpk.sh create bert --cluster tpus --type v5litepod-8 --zone us-west4-a \
      --image us-docker.pkg.dev/my-project/jaxbert/jaxbert:1 -- \
      jaxbert pretrain configs/pretrain/bert_base.yaml \
      store=gs://my-bucket/stores/wiki --run gs://my-bucket/runs/base
EOF
}

[[ $# -gt 0 ]] || fail "expected create, list or delete; see --help"
verb="$1"
[[ "$verb" != -h && "$verb" != --help ]] || { usage && exit; }
shift
cluster="" type="" image="" slices=1 restarts=100 yes="" storages=()
while [[ $# -gt 0 ]]; do
  case "$1" in
    --cluster) cluster="$(value "$@")"; shift 2 ;;
    --type) type="$(value "$@")"; shift 2 ;;
    --image) image="$(value "$@")"; shift 2 ;;
    --slices) slices="$(value "$@")"; shift 2 ;;
    --storage) storages+=("--storage=$(value "$@")"); shift 2 ;;
    --max-restarts) restarts="$(value "$@")"; shift 2 ;;
    --yes) yes=--force; shift ;;
    --) shift; break ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
[[ -n "$cluster" ]] || fail "expected --cluster; see --help"
[[ "$verb" == list ]] || need_name
need_place

case "$verb" in
  create)
    [[ -n "$type" && -n "$image" ]] || fail "expected --type and --image; see --help"
    [[ $# -gt 0 ]] || fail "expected -- COMMAND; see --help"
    # xpk restarts on 42 and 127 to 255 by itself; 75 is jaxbert's "saved, to be continued".
    call xpk workload create "--workload=$name" "--cluster=$cluster" "${place[@]}" \
      "--tpu-type=$type" "--num-slices=$slices" "--docker-image=$image" \
      "--max-restarts=$restarts" --restart-on-exit-codes=75 \
      --termination-grace-period-seconds=300 "${storages[@]}" "--command=exec ${*@Q}"
    ;;
  list) call xpk workload list "--cluster=$cluster" "${place[@]}" ;;
  delete)
    call xpk workload delete "--workload=$name" "--cluster=$cluster" "${place[@]}" \
      ${yes:+"$yes"}
    ;;
  *) fail "$verb: expected create, list or delete; see --help" ;;
esac
