# shellcheck shell=bash
# Sourced by the scripts beside it: workers and states of a TPU, through gcloud.
# Flags and formats were checked against Google Cloud SDK 528.0.0; see README.md.

# shellcheck source=flags.sh
source "$(dirname "${BASH_SOURCE[0]}")/flags.sh"

# E.g. --internal-ip or --tunnel-through-iap, where VMs have no address outside.
read -ra ssh_flags <<<"${JAXBERT_TPU_SSH:-}"
# A VM that vanishes sends no farewell: without questions ssh waits for it for hours. One word each,
# as scp's are not split; after those above, as ssh takes the first value of an option.
alive=(-oConnectTimeout=30 -oServerAliveInterval=30 -oServerAliveCountMax=4)

# How to reach workers (0, 1, ... of slice `node`, or all of all slices): ssh_to WORKERS COMMAND.
ssh_to() {
  if [[ -n "$direct" ]]; then
    call gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" "${ssh_flags[@]}" \
      "${alive[@]/#/--ssh-flag=}" "--worker=$1" "--command=$2"
  else
    [[ "$1" != all ]] || node=all
    call gcloud compute tpus queued-resources ssh "$name" "${place[@]}" "${ssh_flags[@]}" \
      "${alive[@]/#/--ssh-flag=}" "--node=$node" "--worker=$1" "--command=$2"
  fi
}

# Copies between here and workers: copy_between WORKERS SOURCE DESTINATION.
copy_between() {
  if [[ -n "$direct" ]]; then
    call gcloud compute tpus tpu-vm scp "$2" "$3" "${place[@]}" "${ssh_flags[@]}" \
      "${alive[@]/#/--scp-flag=}" --recurse "--worker=$1"
  else
    [[ "$1" != all ]] || node=all
    call gcloud compute tpus queued-resources scp "$2" "$3" "${place[@]}" "${ssh_flags[@]}" \
      "${alive[@]/#/--scp-flag=}" --recurse "--node=$node" "--worker=$1"
  fi
}

describe() {
  if [[ -n "$direct" ]]; then
    call gcloud compute tpus tpu-vm describe "$name" "${place[@]}" "--format=value(state)"
  else
    call gcloud compute tpus queued-resources describe "$name" "${place[@]}" \
      "--format=value(state.state)"
  fi
}

# One word: the state of the request (or VM), ABSENT where there is none, UNKNOWN where gcloud
# failed. A request can stay ACTIVE after its VMs were preempted, so they are asked for too.
machine_state() {
  local state problem code=0
  problem="$(mktemp)"
  state="$(describe 2>"$problem")" || code=$?
  if ((code)); then
    state=UNKNOWN
    # 126 and 127 are a shell's, which has not found gcloud, or in it Python: no word of Google's.
    if ((code < 126)) && grep -qi "not_found\|not found" "$problem"; then
      state=ABSENT
    else
      cat "$problem" >&2
    fi
  elif [[ "$state" == ACTIVE && -n "$(lost_nodes)" ]]; then
    state=PREEMPTED
  fi
  rm -f "$problem"
  printf '%s\n' "${state:-UNKNOWN}"
}

lost_nodes() {
  gcloud compute tpus tpu-vm list "${place[@]}" \
    "--filter=queuedResource~/$name\$ AND (state=PREEMPTED OR state=TERMINATED)" \
    "--format=value(name)" 2>/dev/null || true
}
