"""What the verbs that train have in common."""

import argparse
from collections.abc import Callable
from typing import Any

from jaxbert.config import json_schema, load_config


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, overrides and --run."""
    parser.add_argument("config", nargs="?", help="YAML file; see configs/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="e.g. optimizer.learning_rate=3e-5"
    )
    parser.add_argument("--run", help="run directory; the same command again continues it")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON schema of the configuration and end"
    )


def run_training(
    arguments: argparse.Namespace, config_class: type, train: Callable[..., Any]
) -> int:
    """Loads the configuration, trains until done or preempted, prints the figures."""
    import json

    from rich.console import Console
    from rich.table import Table

    from jaxbert.errors import UserError
    from jaxbert.training.signals import EXIT_PREEMPTED, Preemption

    if arguments.schema:
        print(json.dumps(json_schema(config_class), indent=2))
        return 0
    if arguments.config is None or arguments.run is None:
        raise UserError("give a CONFIG.yaml and --run DIRECTORY")
    preemption = Preemption()
    preemption.install()
    config: Any = load_config(config_class, arguments.config, arguments.overrides)
    fitted = train(config, arguments.run, interrupted=preemption.requested)
    if fitted.outcome == "preempted":
        print(f"SIGTERM: saved at step {fitted.step}; the same command continues {arguments.run}")
        return EXIT_PREEMPTED
    table = Table("figure", "value", title=f"{arguments.run}: {fitted.outcome.replace('_', ' ')}")
    for name, value in fitted.results.items():
        table.add_row(name, f"{value:g}" if isinstance(value, int) else f"{value:.4f}")
    Console().print(table)
    return 0
