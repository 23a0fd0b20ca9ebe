#!/usr/bin/env bash
# Runs a command on every worker, or on one.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: ssh.sh NAME [flags] -- COMMAND...

Ends with the status of the command (of a worker on which it failed, where there are several).

  --worker W     0, 1, ... (default: all)
  --slice N      0, 1, ...: whose worker W (default: 0)
  --direct       made with create.sh --direct
EOF
  shared_usage
  cat <<'EOF'

For several workers gcloud wants the key in ssh-agent: ssh-add ~/.ssh/google_compute_engine

example:
  ssh.sh bert --zone us-west4-a -- df -h /
  ssh.sh bert --worker 0 -- 'cd jaxbert && .venv/bin/jaxbert info'
EOF
}

worker=all
while [[ $# -gt 0 ]]; do
  case "$1" in
    --worker) worker="$(value "$@")"; shift 2 ;;
    --slice) node="$(value "$@")"; shift 2 ;;
    --) shift; break ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
need_name
[[ $# -gt 0 ]] || fail "expected -- COMMAND; see --help"
need_place
# One word is a line of shell; several are a command whose words stay as they are.
[[ $# -eq 1 ]] || set -- "${*@Q}"
ssh_to "$worker" "$1"
