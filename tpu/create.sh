#!/usr/bin/env bash
# Asks for TPU VMs: one, a pod slice, or several slices; queued, spot or at once.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: create.sh NAME --type TYPE [flags] [-- flags of gcloud]

Puts a request for TPU VMs into the queue of Cloud TPU; wait.sh says when it is fulfilled.

  --type TYPE    v5litepod-8 (v5e), v6e-8, v5p-8, v4-8, ...: the size is chips for v5e and v6e,
                 TensorCores (two a chip) for v4 and v5p
  --spot         cheaper, and taken back at any time: use run.py, which goes on afterwards
  --slices N     several slices joined over the data-centre network (default: 1)
  --within TIME  give up where nothing came within this time, e.g. 6h (default: wait for ever)
  --version V    software of the VMs (default: what belongs to TYPE)
  --direct       no queue: now or an error (not with --slices, --within)
EOF
  shared_usage
  cat <<'EOF'

example:
  create.sh bert --type v5litepod-8 --spot --zone us-west4-a
  create.sh bert --type v6e-16 --slices 2 -- --service-account=trainer@example.com
EOF
}

# https://cloud.google.com/tpu/docs/runtimes (PyTorch and JAX)
version_of() {
  case "$1" in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v2-* | v3-* | v4-*) echo tpu-ubuntu2204-base ;;
  esac
}

# The sizes that there are; above 64 cores, v4 and v5p come in cubes of 4x4x4 chips.
sizes_of() {
  case "$1" in
    v2) echo 8 32 128 256 512 ;;
    v3) echo 8 32 64 128 256 512 1024 2048 ;;
    v4) echo 8 16 32 64 && seq 128 128 8192 ;;
    v5p) echo 8 16 32 64 && seq 128 128 12288 ;;
    v5litepod | v6e) echo 1 4 8 16 32 64 128 256 ;;
  esac
}

# Fails where there is no such size, and names the nearest.
check_size() {
  local kind="${1%-*}" wanted="${1##*-}" size below="" above=""
  for size in $(sizes_of "$kind"); do
    if ((size > wanted)); then
      above="$size"
      break
    fi
    below="$size"
  done
  [[ "$below" == "$wanted" ]] ||
    fail "--type is $1: there is no such size; nearest:${below:+ $kind-$below}${above:+ $kind-$above}"
}

type="" spot="" slices=1 within="" version="" more=()
while [[ $# -gt 0 ]]; do
  case "$1" in
    --type) type="$(value "$@")"; shift 2 ;;
    --slices) slices="$(value "$@")"; shift 2 ;;
    --within) within="$(value "$@")"; shift 2 ;;
    --version) version="$(value "$@")"; shift 2 ;;
    --spot) spot=yes && shift ;;
    --) shift && more=("$@") && break ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
need_name
[[ "$type" =~ ^(v2|v3|v4|v5litepod|v5p|v6e)-[1-9][0-9]*$ ]] ||
  fail "--type is ${type:-missing}: expected e.g. v5litepod-8, v6e-8, v5p-8 or v4-8"
check_size "$type"
[[ "$slices" =~ ^[1-9][0-9]*$ ]] || fail "--slices is $slices: expected a whole number"
[[ -z "$direct" || ("$slices" == 1 && -z "$within") ]] ||
  fail "--direct has no queue: leave out --slices and --within, or leave out --direct"
need_place
version="${version:-$(version_of "$type")}"

if [[ -n "$direct" ]]; then
  call gcloud compute tpus tpu-vm create "$name" "${place[@]}" "--accelerator-type=$type" \
    "--version=$version" ${spot:+--spot} "${more[@]}"
else
  nodes=("--node-id=$name")
  [[ "$slices" == 1 ]] || nodes=("--node-count=$slices" "--node-prefix=$name")
  call gcloud compute tpus queued-resources create "$name" "${place[@]}" \
    "--accelerator-type=$type" "--runtime-version=$version" "${nodes[@]}" ${spot:+--spot} \
    ${within:+"--valid-until-duration=$within"} "${more[@]}"
fi
say "asked for $slices x $type; it costs money from the moment it is there until delete.sh $name"
