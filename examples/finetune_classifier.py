"""Fine-tune a classifier on a table, then predict with it.

    python examples/finetune_classifier.py --model bert-base-uncased \\
        --train train.csv --validation dev.csv --out runs/classifier
"""

import argparse
from itertools import islice
from pathlib import Path

import jaxbert
from jaxbert.cli.reporting import run_script
from jaxbert.tasks.sentences import SentenceColumns, read_sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="model directory, run or hub id")
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-seq-length", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    columns = {"text": arguments.text_column, "label": arguments.label_column}
    config = {
        "model": arguments.model,
        "task": {"kind": "sequence_classification", "columns": columns},
        "train": arguments.train,
        "validation": arguments.validation,
        "max_seq_length": arguments.max_seq_length,
        "num_epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        # Lower layers learn more slowly: each has 0.9 times the rate of the one above.
        "optimizer": {"learning_rate": arguments.learning_rate, "layer_decay": 0.9},
        "schedule": {"warmup_steps": 0.1},
        "loop": {"evaluate_every": "epoch", "early_stopping_patience": 2},
        "checkpoint": {"metric": "accuracy"},
    }
    # The same command again continues where the last checkpoint stands.
    print(jaxbert.finetune(config, arguments.out).results)

    rows = read_sentences(arguments.validation, SentenceColumns(**columns), labelled=False)
    for prediction in jaxbert.Predictor(arguments.out).records(islice(rows, 5)):
        print(prediction)


if __name__ == "__main__":
    run_script(main)
