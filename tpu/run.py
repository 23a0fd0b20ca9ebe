#!/usr/bin/env python3
"""Runs a command on TPU VMs until it is done, through preemptions.

Asks for the VMs, waits, sets them up, starts the command on every worker and watches it. When the
VMs are taken back, or the command ends with 75 (saved, to be continued), the same command is
started again, on new VMs if need be, and continues from its run directory. Other failures are
tried again --tries times; mistakes (status 2) are not.

The command goes on when this program is ended; the same call again watches it further.

Ends with 0 when the command is done; 2 for a mistake; 3 when the TPU cannot come; 4 when it did not
come within --timeout; 5 when somebody else has deleted it; 6 when gcloud failed for --patience and
nobody knows what became of the TPU; 75 when it was taken back more than --restarts times; 130 after
Ctrl-C; else as the command ended.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys

from attempts import Run, say
from machine import HERE, STATUS, Machine
from worker import pair

EXAMPLE = """example:
  run.py bert --type v5litepod-8 --spot --zone us-west4-a --delete done \\
      --fetch gs://my-bucket/stores/wiki=stores/wiki \\
      --mirror gs://my-bucket/runs/base=runs/base -- \\
      jaxbert pretrain configs/pretrain/bert_base.yaml --run runs/base
  run.py bert --type v5litepod-256 --spot --mount gs://my-bucket/runs=runs -- \\
      jaxbert pretrain configs/pretrain/bert_base.yaml --run runs/base"""

PAIR = "gs://B/P=DIR"


def main() -> int:
    """Reads the command line and runs the command."""
    options, command = parse_arguments()
    machine = machine_of(options)
    copies = [f"--{kind}={pair}" for kind in ("fetch", "mirror") for pair in getattr(options, kind)]
    words = ["python3", "jaxbert/tpu/worker.py", "start", *copies, "--", *command]
    if options.dry_run:
        return show(machine, shlex.join(words), options)
    run = Run(
        machine, shlex.join(words), bool(options.mirror), head(), options, may_vanish(options)
    )
    try:
        return run.until_done()
    except KeyboardInterrupt:
        say(f"no longer watching; the command goes on. To end it: {machine.command('delete.sh')}")
        return 130


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """The flags, and the command after --."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        usage="run.py NAME --type TYPE [flags] -- COMMAND...",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("name", metavar="NAME")
    add("--type", required=True, help="as for create.sh, like --spot, --slices, --within")
    add("--spot", action="store_true")
    add("--slices")
    add("--within", metavar="TIME")
    add("--version")
    add("--create-flag", action="append", default=[], metavar="FLAG", help="of gcloud, for create")
    add("--direct", action="store_true", help="no queue")
    add("--project", help="default: gcloud's configuration")
    add("--zone", help="default: gcloud's configuration")
    add(
        "--fetch", type=copied, action="append", default=[], metavar=PAIR, help="copied to a worker"
    )
    add(
        "--mirror", type=copied, action="append", default=[], metavar=PAIR, help="and kept like DIR"
    )
    add(
        "--mount",
        type=copied,
        action="append",
        default=[],
        metavar="gs://B[/P]=DIR",
        help="a bucket as a directory that all workers share",
    )
    add("--tries", type=positive, default=3, help="failures within an hour before it gives up")
    add("--restarts", type=int, default=1000, help="times that the TPU may be taken back")
    add("--timeout", type=positive, default=86400, help="seconds to wait for the TPU each time")
    add("--poll", type=positive, default=60, help="seconds between two looks at the workers")
    add("--patience", type=positive, default=3600, help="seconds for gcloud to answer again")
    add("--grace", type=int, default=300, help="seconds for the others when one worker failed")
    add("--delete", choices=("never", "done", "always"), default="never", help="the TPU, when?")
    add("--dry-run", action="store_true", help="print the commands, run none")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    options, command = parser.parse_args(words[:cut]), words[cut + 1 :]
    if not command:
        parser.error("expected -- COMMAND")
    if not (options.dry_run or shutil.which("gcloud")):
        parser.error("gcloud is not installed: https://cloud.google.com/sdk/docs/install")
    if options.mirror and has_several_vms(options):
        parser.error("--mirror serves one VM, and here are several: --mount, see README.md")
    return options, command


def copied(word: str) -> str:
    """A word that the workers will understand: a TPU costs money before they can say so."""
    pair(word)
    return word


def has_several_vms(options: argparse.Namespace) -> bool:
    """Whether the flags ask for them: a VM has up to 8 chips (v5e, v6e) or 8 TensorCores."""
    size = options.type.rpartition("-")[2]
    return options.slices not in (None, "1") or (size.isdecimal() and int(size) > 8)


def may_vanish(options: argparse.Namespace) -> bool:
    """Whether a TPU that is gone may have been taken back.

    A request stays in the queue, SUSPENDED, until somebody deletes it. A spot VM without one stays
    as well, PREEMPTED, as far as we know; to go on in vain is the lesser evil where it does not.
    """
    flags = ("--spot", "--preemptible")
    return options.direct and (options.spot or any(flag in options.create_flag for flag in flags))


def positive(word: str) -> int:
    """A whole number from 1."""
    if not word.isdecimal() or int(word) == 0:
        raise argparse.ArgumentTypeError(f"{word}: expected a whole number from 1")
    return int(word)


def machine_of(options: argparse.Namespace) -> Machine:
    """The machine that the flags describe."""
    place = [f"--{key}={value}" for key in ("project", "zone") if (value := getattr(options, key))]
    place += ["--direct"] * options.direct + ["--dry-run"] * options.dry_run
    creation = [
        f"--{key}={value}"
        for key in ("type", "slices", "within", "version")
        if (value := getattr(options, key))
    ]
    creation += ["--spot"] * options.spot
    if options.create_flag:
        creation += ["--", *options.create_flag]
    return Machine(options.name, tuple(place), tuple(creation))


def head() -> str:
    """The commit that all restarts run, whatever is committed meanwhile."""
    done = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def show(machine: Machine, start: str, options: argparse.Namespace) -> int:
    """Prints the calls of a run that nothing interrupts, and of a restart."""
    steps = [machine.create, lambda: machine.wait(options.timeout), lambda: machine.setup("HEAD")]
    if options.mount:
        steps.append(lambda: machine.mount(options.mount))
    for step in steps:
        if code := step():
            return code
    for command in (start, STATUS):
        print(machine.on_every_worker(command)[1], end="")
    print("# after a preemption, before all of this again:", flush=True)
    return machine.delete()


if __name__ == "__main__":
    sys.exit(main())
