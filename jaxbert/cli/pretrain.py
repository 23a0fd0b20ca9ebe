"""jaxbert pretrain."""

import argparse
from collections.abc import Callable, Sequence

from jaxbert.cli.training import Experiment, add_training_arguments, run_training

HELP = "pretrain an encoder on a token store; the same command again resumes"
EXAMPLE = """
jaxbert pretrain configs/pretrain/bert_base.yaml store=stores/wiki --run runs/base
jaxbert pretrain configs/pretrain/roberta_base.yaml model='{from_pretrained: roberta-base}' \\
    store=stores/law num_steps=12500 batch_size=2048 optimizer.learning_rate=5e-4 \\
    schedule.warmup_steps=0.06 --run runs/law
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_training_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    return run_training(arguments, _experiment)


def _experiment() -> Experiment:
    from jaxbert.config import parse_config
    from jaxbert.experiment.from_values import values_of
    from jaxbert.experiment.pretrain import Pretrain, check_pretraining, pretrain

    def load(file: str, overrides: Sequence[str], say: Callable[[str], None]) -> Pretrain:
        return parse_config(Pretrain, values_of("pretrain", file), overrides, origin=file)

    return Experiment(Pretrain, load, pretrain, check_pretraining)
