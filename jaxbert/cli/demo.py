"""jaxbert demo."""

import argparse

from jaxbert.cli.arguments import positive

HELP = "pretrain, fine-tune, export and reload a small BERT on this machine's documentation"
EXAMPLE = """
jaxbert demo --out demo
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--out", default="demo", help="directory to write to (default: demo)")
    parser.add_argument(
        "--steps", type=positive, default=3000, help="pretraining steps (default 3000)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    import logging
    import time
    from pathlib import Path

    from rich.console import Console

    from jaxbert.cli.cpu_memory import keep_memory
    from jaxbert.demo.report import show, write
    from jaxbert.demo.run import run_demo
    from jaxbert.text.remote import check_is_here

    # That every fine-tuning starts with a new classifier is the point, not news.
    logging.getLogger("jaxbert.hub.load").setLevel(logging.ERROR)
    console, started = Console(), time.monotonic()
    check_is_here(arguments.out)
    keep_memory()
    out = Path(arguments.out)

    def say(text: str) -> None:
        console.print(
            f"[{time.monotonic() - started:4.0f} s] {text}", highlight=False, markup=False
        )

    outcome = run_demo(out, num_steps=arguments.steps, say=say)
    show(outcome, console)
    write(outcome, out)
    say(f"everything is in {out}: results.json, accuracy.png, and a directory for every run")
    return 0
