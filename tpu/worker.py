#!/usr/bin/env python3
"""One worker: runs a command in the background, with its directories in a bucket if need be.

Runs on a TPU VM in ~/jaxbert with the Python of the system (3.9 or newer); the scripts beside it
call it there through ssh. The command goes on when ssh ends, and writes to ~/jaxbert-run/log.

  --fetch gs://B/P=DIR   copies a directory of a bucket to DIR before the command starts
  --mirror gs://B/P=DIR  the same where DIR is empty, and then keeps the bucket like DIR: every
                         JAXBERT_TPU_MIRROR seconds (default 300) and at the end; 1 in place of
                         status 0 where that fails

`mount` makes a bucket, or a path in it, the directory DIR, through Cloud Storage FUSE, and installs
that where it is missing. It ends with 2 for what the user has to put right, otherwise with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import mounting
import supervision
from supervision import STATE

HERE = Path(__file__).resolve().parents[1]

EXAMPLE = """example:
  worker.py start --fetch gs://b/stores/wiki=stores/wiki --mirror gs://b/runs/base=runs/base -- \\
      jaxbert pretrain configs/pretrain/bert_base.yaml store=stores/wiki --run runs/base"""


def main() -> int:
    """Runs one verb."""
    arguments = parse_arguments()
    STATE.mkdir(parents=True, exist_ok=True)
    # What `install` has made is found first, by the command too.
    places = [HERE / ".venv/bin", Path.home() / ".local/bin"]
    os.environ["PATH"] = os.pathsep.join([*map(str, places), os.environ["PATH"]])
    return arguments.verb(arguments)


def parse_arguments() -> argparse.Namespace:
    """The verbs and their flags."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=formatter)
    verbs = parser.add_subparsers(required=True, dest="name", metavar="VERB")
    verbs.add_parser("install", help="Python and the package").set_defaults(verb=install)
    add = verbs.add_parser("mount", help="buckets as directories").add_argument
    add("pairs", nargs="+", type=pair, metavar="URL=DIR")
    verbs.choices["mount"].set_defaults(verb=mount)
    verbs.add_parser("status", help="running, exited N, lost, absent").set_defaults(verb=status)
    verbs.add_parser("stop", help="asks the command to save and end").set_defaults(verb=stop)
    for name, verb in (("start", start), ("supervise", supervise)):
        add = verbs.add_parser(name, help="a command").add_argument
        add("--fetch", action="append", default=[], type=pair, metavar="URL=DIR")
        add("--mirror", action="append", default=[], type=pair, metavar="URL=DIR")
        add("command", nargs="+")
        verbs.choices[name].set_defaults(verb=verb)
    add = verbs.add_parser("log", help="what the command printed").add_argument
    add("--lines", type=int, default=100)
    add("--follow", action="store_true")
    add("--if-failed", action="store_true", help="nothing where the command ended with 0")
    verbs.choices["log"].set_defaults(verb=log)
    return parser.parse_args()


def pair(word: str) -> supervision.Pair:
    """A bucket's directory and the one here."""
    url, _, directory = word.partition("=")
    has_bucket = re.match(r"gs://[^/]", url) is not None
    # With another = nobody knows which one parts the two, and the wrong one would mirror nothing.
    if not (has_bucket and directory) or "=" in directory:
        raise argparse.ArgumentTypeError(
            f"{word}: expected gs://BUCKET/PATH=DIRECTORY, and no other = in it"
        )
    return url, Path(directory)


def install(_arguments: argparse.Namespace) -> int:
    """Python and the package, in ~/jaxbert/.venv."""
    # The images of TPU VMs have Python 3.10; uv brings a newer one beside it.
    script = """set -euo pipefail
command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
[ -x .venv/bin/python ] || uv venv --python 3.12 .venv
uv pip install --python .venv/bin/python --editable '.[tpu,gcs]'
.venv/bin/jaxbert --version"""
    return subprocess.run(["bash", "-c", script], cwd=HERE).returncode


def mount(arguments: argparse.Namespace) -> int:
    """Mounts buckets, unless they are mounted already."""
    host = socket.gethostname()
    for url, directory in arguments.pairs:
        try:
            is_new = mounting.mount(url, HERE / directory)
        except mounting.MountError as error:
            print(f"worker.py: {host}: {url} cannot be mounted at {directory}: {error}")
            return error.code
        print(f"{host}: {url} is mounted at {directory}{'' if is_new else ' already'}")
    return 0


def start(arguments: argparse.Namespace) -> int:
    """Starts the command, unless it is running already."""
    words = sys.argv[2:]
    if is_running():
        running = shlex.split((STATE / "command").read_text())
        if running != words:
            print(f"worker.py: another command is running here: {shlex.join(running)}")
            return 2
        return status(arguments)
    (STATE / "status").unlink(missing_ok=True)
    (STATE / "command").write_text(shlex.join(words) + "\n")
    with open(STATE / "lock", "wb") as lock, open(STATE / "log", "ab") as output:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Until the supervisor handles it, SIGTERM waits: it would end without leaving a status.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        process = subprocess.Popen(
            [sys.executable, __file__, "supervise", *words],
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    (STATE / "pid").write_text(str(process.pid))
    return status(arguments)


def status(_arguments: argparse.Namespace) -> int:
    """Prints one line that run.py reads."""
    print("jaxbert-worker", socket.gethostname(), state_in_words())
    return 0


def state_in_words() -> str:
    """running, exited N, lost or absent."""
    if is_running():
        return "running"
    if (STATE / "status").exists():
        return f"exited {(STATE / 'status').read_text().strip()}"
    # Started, and neither running nor ended: the machine was restarted.
    return "lost" if (STATE / "command").exists() else "absent"


def is_running() -> bool:
    """Whether a command runs: its supervisor holds a lock, which goes with the process."""
    with contextlib.suppress(BlockingIOError), open(STATE / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    return True


def stop(arguments: argparse.Namespace) -> int:
    """Sends SIGTERM: jaxbert saves a checkpoint and ends with 75."""
    if is_running():
        os.kill(int((STATE / "pid").read_text()), signal.SIGTERM)
    return status(arguments)


def log(arguments: argparse.Namespace) -> int:
    """Shows the end of what the command printed."""
    if arguments.if_failed and state_in_words() in ("exited 0", "running"):
        return 0
    if not (STATE / "log").exists():
        print(f"worker.py: nothing has run on {socket.gethostname()} yet", file=sys.stderr)
        return 2
    follow = ["-F"] if arguments.follow else []
    return subprocess.run(
        ["tail", "-n", str(arguments.lines), *follow, str(STATE / "log")]
    ).returncode


def supervise(arguments: argparse.Namespace) -> int:
    """Runs the command in the foreground and leaves its exit status behind."""
    code = 1
    try:
        supervision.say(shlex.join(sys.argv[2:]))
        code = supervision.supervise(arguments.command, arguments.fetch, arguments.mirror)
        supervision.say(f"ended with status {code}")
    finally:
        # Whoever finds none takes the machine for one that was restarted, and tries for ever.
        temporary = STATE / "status.new"
        temporary.write_text(f"{code}\n")
        temporary.replace(STATE / "status")
    return code


if __name__ == "__main__":
    sys.exit(main())
