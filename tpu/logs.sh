#!/usr/bin/env bash
# Shows what a worker has printed.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: logs.sh NAME [flags]

  --worker W     0, 1, ... or all (default: 0)
  --slice N      0, 1, ...: whose worker W (default: 0)
  --lines N      how many lines (default: 100)
  --follow       go on until Ctrl-C, which stops nothing there
  --direct       made with create.sh --direct
EOF
  shared_usage
  cat <<'EOF'

example:
  logs.sh bert --zone us-west4-a --follow
EOF
}

worker=0 lines=100 follow=""
while [[ $# -gt 0 ]]; do
  case "$1" in
    --worker) worker="$(value "$@")"; shift 2 ;;
    --slice) node="$(value "$@")"; shift 2 ;;
    --lines) lines="$(value "$@")"; shift 2 ;;
    --follow) follow=" --follow"; shift ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
need_name
[[ "$lines" =~ ^[0-9]+$ ]] || fail "--lines is $lines: expected a whole number"
need_place
ssh_to "$worker" "python3 jaxbert/tpu/worker.py log --lines $lines$follow"
