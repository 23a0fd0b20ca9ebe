"""jaxbert plan."""

import argparse
import re
from typing import TYPE_CHECKING

from jaxbert.cli.arguments import number
from jaxbert.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxbert.experiment.finetune_config import Finetune
    from jaxbert.experiment.pretrain import Pretrain
    from jaxbert.plan.report import Plan
    from jaxbert.plan.search import Trial

HELP = "compile a run for a TPU that is not here: does it fit, how fast may it be, at what cost"
EXAMPLE = """
jaxbert plan configs/pretrain/bert_base.yaml --topology v5e:2x4 --json plan.json
jaxbert plan configs/finetune/classification.yaml batch_size=64 --topology v5e:2x2 --search
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("config", help="YAML file of a pretraining or fine-tuning run")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="e.g. mesh.fsdp=4 batch_size=512"
    )
    parser.add_argument(
        "--topology", required=True, help="e.g. v5e:2x4, v5p:2x2x2; two slices: 2xv5e:16x16"
    )
    parser.add_argument("--json", metavar="FILE", help="also write every figure, with its origin")
    parser.add_argument(
        "--search",
        action="store_true",
        help="try other ways to run the same updates: rows of a device at a time, "
        "rematerialisation, mesh, attention kernel; mostly 6 to 12 programs, each as long as a "
        "plan; Ctrl-C shows what was found so far, --json has it after every trial",
    )
    parser.add_argument(
        "--price-per-chip-hour", type=_price, metavar="X", help="of a whole chip, in any currency"
    )
    parser.add_argument("--texts", metavar="DIR", help="also write the compiled programs")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    import sys
    from functools import partial
    from pathlib import Path

    from jaxbert.cli.plan_tables import print_plan
    from jaxbert.plan.planning import plan

    if arguments.search and arguments.texts is not None:
        raise UserError(
            "--texts: each trial of --search would replace the last: plan the best alone"
        )
    config = _config(arguments)
    _check_places(arguments)
    texts = None if arguments.texts is None else Path(arguments.texts)
    if texts is not None:
        texts.mkdir(parents=True, exist_ok=True)
    compiled = partial(
        plan,
        topology=arguments.topology,
        price_per_chip_hour=arguments.price_per_chip_hour,
        texts=texts,
    )
    if arguments.search:
        return _search(config, compiled, arguments.json)
    found = compiled(config, say=partial(print, file=sys.stderr))
    print_plan(found)
    if arguments.json:
        _write(Path(arguments.json), found, [])
    return 0 if found.fits else 1


def _price(text: str) -> float:
    """As argparse reads it."""
    import math

    price = number(text)
    if not 0 <= price < math.inf:
        raise argparse.ArgumentTypeError(f"expected a price of 0 or more, found {text!r}")
    return price


def _check_places(arguments: argparse.Namespace) -> None:
    """Raises UserError where nothing can be written, minutes before there is something to write."""
    from pathlib import Path

    from jaxbert.text.remote import check_is_here

    for path in filter(None, (arguments.json, arguments.texts)):
        check_is_here(path)
    if arguments.json and not (directory := Path(arguments.json).absolute().parent).is_dir():
        raise UserError(f"--json {arguments.json}: there is no directory {directory}: make it")
    if arguments.json and Path(arguments.json).is_dir():
        raise UserError(f"--json {arguments.json}: is a directory: name a file in it")
    if arguments.texts and Path(arguments.texts).exists() and not Path(arguments.texts).is_dir():
        raise UserError(f"--texts {arguments.texts}: is no directory: name another")


def _search(
    config: "Pretrain | Finetune",
    compiled: "Callable[[Pretrain | Finetune], Plan]",
    json: str | None,
) -> int:
    """Shows the best plan and all trials; those that there are where it is interrupted."""
    import sys
    from functools import partial
    from pathlib import Path

    from jaxbert.cli.plan_tables import outcome, print_plan, print_trials
    from jaxbert.plan.search import best_first, search

    say = partial(print, file=sys.stderr, flush=True)
    trials: list[Trial] = []
    status = 0
    try:
        for trial in search(config, compiled, say):
            trials = best_first([*trials, trial])
            say(f"  {outcome(trial)}")
            # After every trial: a search takes long, and may be killed.
            if json and trials[0].plan is not None:
                _write(Path(json), trials[0].plan, trials)
    except KeyboardInterrupt:
        if not trials or trials[0].plan is None:
            raise
        say("interrupted: the best so far")
        status = 130
    found = trials[0].plan
    assert found is not None, "a search that finds nothing raises"
    print_plan(found)
    print_trials(trials)
    return status or int(not found.fits)


def _config(arguments: argparse.Namespace) -> "Pretrain | Finetune":
    """The configuration of whichever kind it is."""
    import sys
    from functools import partial

    from jaxbert.config import parse_config
    from jaxbert.experiment.from_values import verb_of
    from jaxbert.experiment.pretrain import Pretrain
    from jaxbert.experiment.recipe import parse_finetune
    from jaxbert.yaml_values import read_values

    for word in arguments.overrides:
        if not re.match(r"[\w.]+=", word):
            raise UserError(f"expected one CONFIG.yaml and key=value words, found {word!r}")
    values = read_values(arguments.config)
    given = values if isinstance(values, dict) else {}
    origin, overrides = str(arguments.config), arguments.overrides
    words = (word.partition("=") for word in overrides)
    told = verb_of(given | {key.partition(".")[0]: value for key, _, value in words}, origin)
    if told is not None and told[0] == "finetune":
        say = partial(print, file=sys.stderr)
        return parse_finetune(values, overrides, origin=origin, reads_data=False, say=say)
    return parse_config(Pretrain, values, overrides, origin=origin)


def _write(path: "Path", found: "Plan", trials: "list[Trial]") -> None:
    import dataclasses
    import json

    values = dataclasses.asdict(found)
    if trials:
        values["trials"] = [dataclasses.asdict(trial) for trial in trials]
    text = json.dumps(values, indent=2) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json {path}: cannot be written: {error.strerror}") from None
