#!/usr/bin/env bash
# Deletes TPU VMs with their disks, or takes a request out of the queue.
# shellcheck source=gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

usage() {
  cat <<'EOF'
usage: delete.sh NAME [flags]

What is only on the disks of the VMs is gone afterwards; buckets stay.

  --yes          do not ask
  --direct       made with create.sh --direct
EOF
  shared_usage
  cat <<'EOF'

example:
  delete.sh bert --zone us-west4-a
EOF
}

yes=""
while [[ $# -gt 0 ]]; do
  case "$1" in
    --yes) yes=yes; shift ;;
    *) shared_flag "$@"; shift "$consumed" ;;
  esac
done
need_name
need_place
if [[ -z "$yes$dry_run" ]]; then
  read -rp "delete $name in $zone of $project, with its disks? [y/N] " answer || answer=""
  [[ "$answer" == [yY]* ]] || fail "$name is not deleted and goes on costing money; --yes does not ask"
fi
if [[ -n "$direct" ]]; then
  call gcloud compute tpus tpu-vm delete "$name" "${place[@]}" --quiet
else
  # --force: with the VMs of the request, if there are any.
  call gcloud compute tpus queued-resources delete "$name" "${place[@]}" --force --quiet
fi
say "deleted $name; list.sh shows what is left"
