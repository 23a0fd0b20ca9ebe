# shellcheck shell=bash
# Sourced by the scripts beside it: the flags that they share, errors, --dry-run.
# shellcheck disable=SC2034 # the variables are read by those scripts

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || {
  echo "${0##*/}: needs bash 4.4 or newer, found $BASH_VERSION (on a Mac: brew install bash)" >&2
  exit 2
}
set -euo pipefail
# Errors inside $(...) end the script too.
shopt -s inherit_errexit

name="" project="" zone="" dry_run="" direct="" node=0

# --flag=value is read as --flag value, up to a lone --.
words=()
while [[ $# -gt 0 && "$1" != -- ]]; do
  case "$1" in
    --*=*) words+=("${1%%=*}" "${1#*=}") ;;
    *) words+=("$1") ;;
  esac
  shift
done
set -- "${words[@]}" "$@"

shared_usage() {
  cat <<'EOF'
  --project P    default: gcloud's configuration
  --zone Z       default: gcloud's configuration
  --dry-run      print the commands, run none
EOF
}

fail() {
  echo "${0##*/}: $1" >&2
  exit 2
}

say() {
  [[ -n "$dry_run" ]] || echo "${0##*/}: $1" >&2
}

# A flag's value: `value "$@"` is $2, or one line that says which flag has none.
value() {
  [[ $# -ge 2 && -n "$2" ]] || fail "$1 needs a value; see --help"
  printf '%s' "$2"
}

# Reads a flag that every script takes; sets `consumed` to how many words it was.
# Never in `shared_flag ... && ...`: errors would not end the script there.
shared_flag() {
  consumed=2
  case "$1" in
    --project) project="$(value "$@")" ;;
    --zone) zone="$(value "$@")" ;;
    --dry-run) dry_run=yes consumed=1 ;;
    --direct) direct=yes consumed=1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    -*) fail "unknown flag $1; see --help" ;;
    *)
      [[ -z "$name" ]] || fail "unexpected word $1 (NAME is $name); see --help"
      name="$1" consumed=1
      ;;
  esac
}

need_name() {
  [[ -n "$name" ]] || fail "expected the NAME of a TPU; see --help"
  [[ "$name" =~ ^[a-z]([-a-z0-9]{0,60}[a-z0-9])?$ ]] ||
    fail "NAME is $name: expected lower-case letters, digits and hyphens, a letter first"
}

# Ends with 1 and not as a mistake does: gcloud is away for a moment while it is updated, and run.py
# asks again.
need_gcloud() {
  [[ -n "$dry_run" ]] || command -v gcloud >/dev/null || {
    echo "${0##*/}: gcloud is not installed: https://cloud.google.com/sdk/docs/install" >&2
    exit 1
  }
}

# Project and zone from flags or gcloud's configuration, as the array `place`.
need_place() {
  need_gcloud
  project="$(configured --project project "$project")"
  zone="$(configured --zone compute/zone "$zone")"
  place=("--project=$project" "--zone=$zone")
}

configured() {
  local flag="$1" property="$2" given="$3"
  if [[ -z "$given" && -z "$dry_run" ]]; then
    given="$(gcloud config get "$property" 2>/dev/null || true)"
  fi
  [[ -n "$given" && "$given" != "(unset)" ]] ||
    fail "no ${flag#--}: give $flag, or once and for all: gcloud config set $property VALUE"
  printf '%s' "$given"
}

# Runs a command, or prints it where --dry-run was given.
call() {
  if [[ -n "$dry_run" ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# Tries a command three times: new VMs refuse ssh for a while.
patiently() {
  local try
  for try in 1 2 3; do
    if "$@"; then
      return 0
    fi
    say "attempt $try of 3 failed: ${*:1:5} ..."
    sleep "${JAXBERT_TPU_SLEEP:-20}"
  done
  return 1
}
