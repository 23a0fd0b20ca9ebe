"""A bucket as a directory of this machine, through Cloud Storage FUSE (gcsfuse)."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from outcome import EXIT_MISTAKE
from supervision import PAUSES, STATE

MOUNTS = Path(os.environ.get("JAXBERT_TPU_MOUNTS", "/proc/self/mounts"))
SECONDS = 120
"""For an answer: without credentials gcsfuse asks for them for ever."""

MISTAKES = re.compile(r"unknown bucket|bucket doesn't exist|permission denied|error 40[134]", re.I)
"""What the user has to put right, in gcsfuse's words."""

OPTIONS = (
    # Directories are there without objects of their own: nothing else that writes a bucket, such as
    # gcloud storage, makes any.
    "--implicit-dirs",
    # Checkpoints get their names last, when they are whole. Without hierarchical namespace gcsfuse
    # renames no directory, 0 being its limit, unless it is told how many files it may move for it.
    "--rename-dir-limit=100000",
    # What another worker has written is seen at once. By itself gcsfuse believes for a minute what
    # it saw, on TPU VMs for ever, and for five seconds what it did not see.
    "--metadata-cache-ttl-secs=0",
    "--metadata-cache-negative-ttl-secs=0",
    # What is synced is in the bucket, and not only what is closed: metrics.jsonl stays open, and a
    # checkpoint must not outlive the rows before it. In exchange files wait in /tmp till then.
    "--enable-streaming-writes=false",
)
OLDEST = 3
"""Of gcsfuse: which is sure to know these options."""

# https://cloud.google.com/storage/docs/cloud-storage-fuse/install
INSTALLATION = """set -euo pipefail
# VMs that have just started update themselves, and lock apt meanwhile.
get() { sudo DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }
key=/usr/share/keyrings/cloud.google.asc
get update
get install -y curl lsb-release
source="https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -c -s) main"
echo "deb [signed-by=$key] $source" | sudo tee /etc/apt/sources.list.d/gcsfuse.list
curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee $key
get update
get install -y gcsfuse"""


class MountError(Exception):
    """Why a bucket is not mounted, in a line, and with which status that ends."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


def mount(url: str, directory: Path) -> bool:
    """Mounts gs://BUCKET or a path in it; False where it is mounted there already."""
    directory = directory.resolve()
    bucket, _, path = url.removeprefix("gs://").partition("/")
    path = path.strip("/")
    url = f"gs://{bucket}/{path}".rstrip("/")
    mounted = mounted_at(directory)
    if mounted and is_dead(directory):
        subprocess.run(["fusermount", "-u", "-z", str(directory)])
        mounted = ""
    if mounted:
        # The kernel knows the bucket and not the path.
        known = note(directory).read_text() if note(directory).exists() else url
        found = known if mounted == bucket else mounted
        if found != url:
            reason = f"{found} is mounted there; first: fusermount -u {directory}"
            raise MountError(reason, EXIT_MISTAKE)
        return False
    make_empty(directory)
    if not is_recent():
        install()
    call([*OPTIONS, *([f"--only-dir={path}"] if path else []), bucket, str(directory)])
    note(directory).write_text(url)
    return True


def mounted_at(directory: Path) -> str:
    """The bucket that the kernel has there, or whatever else it has; "" for nothing."""
    found = ""
    for line in MOUNTS.read_text().splitlines():
        source, target = line.split()[:2]
        if target.replace("\\040", " ") == str(directory):
            found = source
    return found


def is_dead(directory: Path) -> bool:
    """Whether the program behind a mounted directory is gone."""
    try:
        directory.stat()
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def note(directory: Path) -> Path:
    """The file that says what we have mounted there."""
    return STATE / f"mounted-{hashlib.sha256(str(directory).encode()).hexdigest()[:24]}"


def make_empty(directory: Path) -> None:
    """Makes the directory; files in it would be out of sight, and never come into the bucket."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise MountError(f"the directory cannot be made: {error.strerror}", EXIT_MISTAKE) from None
    if names:
        raise MountError(f"the directory is not empty: it has {names[0]}", EXIT_MISTAKE)


def is_recent() -> bool:
    """Whether gcsfuse is installed, and new enough."""
    if not shutil.which("gcsfuse"):
        return False
    shown = subprocess.run(["gcsfuse", "--version"], capture_output=True, text=True)
    version = re.search(r"version (\d+)\.", shown.stdout + shown.stderr)
    return version is None or int(version[1]) >= OLDEST


def install() -> None:
    """Installs gcsfuse from Google's packages for Ubuntu, trying a few times."""
    left = list(PAUSES)
    while True:
        done = subprocess.run(
            ["bash", "-c", INSTALLATION], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode == 0:
            return
        if not left:
            raise MountError(f"gcsfuse cannot be installed: {last_line(done.stderr)}")
        time.sleep(float(os.environ.get("JAXBERT_TPU_SLEEP", left.pop(0))))


def call(words: list[str]) -> None:
    """Calls gcsfuse, which goes on in the background when the bucket is mounted."""
    # A file and no pipe: what goes on might keep the pipe open.
    with tempfile.TemporaryFile("w+") as output:
        try:
            code = subprocess.run(
                ["gcsfuse", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
            ).returncode
        except subprocess.TimeoutExpired:
            raise MountError(f"gcsfuse gave no answer within {SECONDS} s") from None
        output.seek(0)
        text = output.read()
    if code:
        raise MountError(
            last_line(text) or f"gcsfuse ended with {code}",
            EXIT_MISTAKE if MISTAKES.search(text) else 1,
        )


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
