#!/usr/bin/env bash
# Puts this repository on every worker and installs it there.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: setup.sh NAME [flags]

Copies a commit (git archive) to ~/jaxbert on every worker and installs it, with Python and
jax[tpu], in ~/jaxbert/.venv. Again: brings the code up to date.

  --revision R   commit, branch or tag (default: HEAD; uncommitted changes do not travel)
  --push-only    copy the code; the installed package reads it from there
  --direct       made with create.sh --direct
EOF
  shared_usage
  cat <<'EOF'

example:
  setup.sh bert --zone us-west4-a
  setup.sh bert --push-only --revision my-branch
EOF
}

revision=HEAD push_only=""
while [[ $# -gt 0 ]]; do
  case "$1" in
    --revision) revision="$(value "$@")"; shift 2 ;;
    --push-only) push_only=yes; shift ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
need_name
need_place

repository="$(dirname "${BASH_SOURCE[0]}")/.."
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
if [[ -z "$dry_run" && -n "$(git -C "$repository" status --porcelain --untracked-files=no)" ]]; then
  say "uncommitted changes stay here; what travels is $revision"
fi
call git -C "$repository" archive --format=tar.gz "--output=$folder/jaxbert.tar.gz" "$revision"
patiently copy_between all "$folder/jaxbert.tar.gz" "$name:jaxbert.tar.gz"
# What a newer commit has no more must go; stores, runs and the environment beside it stay.
# Again, it goes on where it was cut off: some workers may have done it before another failed.
unpack='mkdir -p jaxbert && cd jaxbert &&
  if [ -f ../jaxbert.tar.gz ]; then
    if [ -f .archive.tar.gz ]; then
      tar -tzf .archive.tar.gz | grep -v /$ | xargs -d "\n" rm -f
    fi &&
    mv ../jaxbert.tar.gz .archive.tar.gz
  fi &&
  tar -xzf .archive.tar.gz'
patiently ssh_to all "$unpack"
[[ -n "$push_only" ]] || patiently ssh_to all 'python3 jaxbert/tpu/worker.py install'
