#!/usr/bin/env bash
# Prints the state of a request for TPU VMs as one word.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: state.sh NAME [flags]

ACTIVE (of a VM without queue: READY) is there and costs money; WAITING_FOR_RESOURCES and
PROVISIONING are on the way; PREEMPTED, SUSPENDING, SUSPENDED and FAILED are over: delete.sh;
ABSENT was never asked for or is deleted; UNKNOWN: gcloud failed, and says why.

  --direct       made with create.sh --direct
EOF
  shared_usage
  cat <<'EOF'

example:
  state.sh bert --zone us-west4-a
EOF
}

while [[ $# -gt 0 ]]; do
  shared_flag "$@"
  shift "$consumed"
done
need_name
need_place
if [[ -n "$dry_run" ]]; then
  describe
else
  machine_state
fi
