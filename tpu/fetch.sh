#!/usr/bin/env bash
# Brings results here, from a bucket or from a worker.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: fetch.sh gs://BUCKET/PATH DIRECTORY [flags]
       fetch.sh NAME:PATH DIRECTORY [flags]

From a bucket: what is there already is not copied again. From a TPU: the file or directory PATH
of worker 0, relative to the home directory there.

  --direct       made with create.sh --direct
EOF
  shared_usage
  cat <<'EOF'

example:
  fetch.sh gs://my-bucket/runs/base/model base
  fetch.sh bert:jaxbert/runs/base/model . --zone us-west4-a
EOF
}

paths=()
while [[ $# -gt 0 ]]; do
  case "$1" in
    [!-]*) paths+=("$1"); shift ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
[[ ${#paths[@]} -eq 2 ]] || fail "expected a source and a directory; see --help"
from="${paths[0]}" to="${paths[1]}"
if [[ "$from" == gs://* ]]; then
  need_gcloud
  call mkdir -p "$to"
  call gcloud storage rsync --recursive "$from" "$to"
else
  [[ "$from" == *:?* ]] || fail "$from: expected gs://BUCKET/PATH or NAME:PATH"
  name="${from%%:*}"
  need_name
  need_place
  call mkdir -p "$to"
  copy_between 0 "$from" "$to"
fi
