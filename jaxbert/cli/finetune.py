"""jaxbert finetune."""

import argparse
from collections.abc import Callable, Sequence

from jaxbert.cli.training import Experiment, add_training_arguments, run_training

HELP = "fine-tune a model on labelled data; the same command again resumes"
EXAMPLE = """
jaxbert finetune configs/finetune/classification.yaml model=runs/base \\
    train=train.tsv validation=dev.tsv --run runs/classifier
jaxbert finetune configs/finetune/mrpc.yaml train=train.tsv validation=dev.tsv --run runs/grid \\
    --sweep optimizer.learning_rate=2e-5,3e-5,5e-5 --sweep batch_size=16,32 --seeds 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_training_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    return run_training(arguments, _experiment)


def _experiment() -> Experiment:
    from jaxbert.experiment.finetune import check_finetuning, finetune
    from jaxbert.experiment.finetune_config import Finetune
    from jaxbert.experiment.from_values import values_of
    from jaxbert.experiment.recipe import parse_finetune

    def load(file: str, overrides: Sequence[str], say: Callable[[str], None]) -> Finetune:
        return parse_finetune(values_of("finetune", file), overrides, origin=file, say=say)

    return Experiment(Finetune, load, finetune, check_finetuning)
