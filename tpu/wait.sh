#!/usr/bin/env bash
# Waits until the TPU VMs of a request are there.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: wait.sh NAME [flags]

Ends with 0 when NAME is ready, 3 when it cannot become so any more, 4 when the time is over,
1 when gcloud fails.

  --timeout S    seconds to wait at most (default: 86400, a day)
  --poll S       seconds between two questions (default: 30)
  --direct       made with create.sh --direct
EOF
  shared_usage
  cat <<'EOF'

JAXBERT_TPU_SLEEP, where set, is slept instead of --poll (for tests).

example:
  wait.sh bert --zone us-west4-a --timeout 7200
EOF
}

end() {
  say "$2"
  exit "$1"
}

timeout=86400 poll=30
while [[ $# -gt 0 ]]; do
  case "$1" in
    --timeout) timeout="$(value "$@")"; shift 2 ;;
    --poll) poll="$(value "$@")"; shift 2 ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
need_name
# No zero in front: bash would count by eights.
[[ "$timeout" =~ ^(0|[1-9][0-9]*)$ && "$poll" =~ ^[1-9][0-9]*$ ]] ||
  fail "--timeout $timeout --poll $poll: expected whole seconds"
need_place
if [[ -n "$dry_run" ]]; then
  describe
  exit
fi

# Time, not questions: each takes seconds itself, and minutes where gcloud hangs.
SECONDS=0 unknown=0 before=""
while true; do
  state="$(machine_state)"
  [[ "$state" == "$before" ]] || say "$name is $state after $SECONDS s"
  before="$state"
  case "$state" in
    ACTIVE | READY) exit 0 ;;
    CREATING | ACCEPTED | WAITING_FOR_RESOURCES | PROVISIONING) unknown=0 ;;
    STARTING | RESTARTING | REIMAGING | REPAIRING) unknown=0 ;;
    # Network and quota of requests fail in passing; not for five questions in a row.
    UNKNOWN) unknown=$((unknown + 1)) ;;
    ABSENT) end 3 "there is no $name in $zone: create.sh $name --type TYPE" ;;
    *) end 3 "$name is $state and will not become ready: delete.sh $name, then create.sh" ;;
  esac
  ((unknown < 5)) || end 1 "gcloud failed five times in a row: see above"
  ((SECONDS < timeout)) ||
    end 4 "$name is still $state after $SECONDS s; it stays in the queue until delete.sh $name"
  sleep "${JAXBERT_TPU_SLEEP:-$poll}"
done
