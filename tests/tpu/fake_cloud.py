"""gcloud, kubectl and xpk that record their calls and answer from a script."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TPU = Path(__file__).parents[2] / "tpu"
PLACE = ("--project", "acme", "--zone", "us-west4-a")
IN_PLACE = ["--project=acme", "--zone=us-west4-a"]

PROGRAM = """#!{python} -IS
import json, os, sys, time

os.chdir({home!r})
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open("calls.jsonl", "a") as file:
    file.write(json.dumps(words) + "\\n")
if "-" in words:
    with open("stdin", "w") as file:
        file.write(sys.stdin.read())
line = " ".join(words)
for number, rule in enumerate(json.load(open("rules.json"))):
    if all(part in line for part in rule["parts"]):
        with open(f"used{{number}}", "a") as used:
            count = used.tell()
            used.write("x")
        reply = rule["replies"][min(count, len(rule["replies"]) - 1)]
        if reply == "HANG":
            with open("hung", "w") as file:
                file.write(str(os.getpid()))
            time.sleep(300)
        code, text = reply if isinstance(reply, list) else [0, reply]
        print(text, file=sys.stderr if code else sys.stdout)
        sys.exit(code)
"""


@dataclass
class Cloud:
    """Programs in a folder of their own, in front of the PATH."""

    home: Path

    def __post_init__(self):
        (self.home / "bin").mkdir()
        (self.home / "rules.json").write_text("[]")
        self.has("gcloud", "kubectl", "xpk")

    @property
    def environment(self):
        return {
            "PATH": f"{self.home / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "CLOUDSDK_CONFIG": str(self.home),
            "JAXBERT_TPU_SLEEP": "0",
            "JAXBERT_TPU_METADATA": "http://127.0.0.1:9/",
        }

    def has(self, *names):
        """Makes more such programs."""
        for name in names:
            program = self.home / "bin" / name
            program.write_text(PROGRAM.format(python=sys.executable, home=str(self.home)))
            program.chmod(0o755)

    def without_git(self):
        """Archives of this repository are slow to make and, to most tests, all the same."""
        git = self.home / "bin" / "git"
        git.write_text("#!/bin/sh\necho $* >>$HOME/git\necho 0123abc\n")
        git.chmod(0o755)

    def answers(self, *parts, replies):
        """The first rule whose parts are all in a call gives the next reply, at last the last.

        A reply is what is printed, or (exit status, what is printed as an error), or "HANG".
        """
        rules = json.loads((self.home / "rules.json").read_text())
        rules.append({"parts": parts, "replies": replies})
        (self.home / "rules.json").write_text(json.dumps(rules))

    def run(self, script, *words, stdin="", **environment):
        return subprocess.run(
            [str(TPU / script), *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment | environment,
            timeout=60,
        )

    @property
    def calls(self):
        file = self.home / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def verbs(self):
        """What was called, in two or three words each."""
        return [short(call) for call in self.calls]


def short(call):
    """["gcloud", "compute", "tpus", "queued-resources", "ssh", ...] as "ssh: the command"."""
    verb = call[4] if call[1:3] == ["compute", "tpus"] else " ".join(call[1:3])
    command = [word for word in call if word.startswith("--command=")]
    return f"{verb}: {command[0].removeprefix('--command=')}" if command else verb
