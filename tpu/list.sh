#!/usr/bin/env bash
# Lists the TPU VMs and requests of a project, and what of it costs money now.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: list.sh [flags]

  --price P      money for a chip-hour, to say what an hour costs
  --zone Z       default: every zone
EOF
  shared_usage | grep -v -e --zone
  cat <<'EOF'

Not seen from here: TPUs of GKE (gcloud container node-pools list) and the contents of buckets.

example:
  list.sh --price 1.20
EOF
}

price=""
while [[ $# -gt 0 ]]; do
  case "$1" in
    --price) price="$(value "$@")"; shift 2 ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
[[ -z "$name" ]] || fail "unexpected word $name; see --help"
[[ -z "$price" || "$price" =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "--price is $price: expected a number"
zone="${zone:--}"
need_place

vm_columns="csv[no-heading](name.basename(),name.segment(-3),acceleratorType,state)"
request_columns="csv[no-heading](name.basename(),name.segment(-3),\
tpu.nodeSpec[0].node.acceleratorType.basename(),state.state)"
list_vms=(gcloud compute tpus tpu-vm list "${place[@]}" "--format=$vm_columns")
list_requests=(gcloud compute tpus queued-resources list "${place[@]}" "--format=$request_columns")
if [[ -n "$dry_run" ]]; then
  call "${list_vms[@]}"
  call "${list_requests[@]}"
  exit
fi

# TensorCores are counted for v2 to v5p, two a chip; chips for v5e and v6e.
chips_of() {
  local size="${1##*-}"
  case "$1" in
    v5litepod-* | v6e-*) echo "$size" ;;
    *-[0-9]*) echo $((size / 2)) ;;
    *) fail "$1: a type of TPU that is not known here; look at gcloud compute tpus tpu-vm list" ;;
  esac
}

vms="$("${list_vms[@]}")"
requests="$("${list_requests[@]}")"
chips=0
while IFS=, read -r vm where type state; do
  [[ -n "$vm" ]] || continue
  printf '%-10s %-24s %-16s %-14s %s\n' VM "$vm" "$where" "$type" "$state"
  case "$state" in
    PREEMPTED | TERMINATED | STOPPED | DELETING) ;;
    *)
      size="$(chips_of "$type")"
      chips=$((chips + size))
      ;;
  esac
done <<<"$vms"
while IFS=, read -r request where type state; do
  [[ -n "$request" ]] || continue
  printf '%-10s %-24s %-16s %-14s %s\n' request "$request" "$where" "$type" "$state"
done <<<"$requests"
echo "$chips chips cost money now${price:+: about $(awk "BEGIN {print $chips * $price}") an hour}"
