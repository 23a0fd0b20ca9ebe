"""An objective of your own in jaxbert's loop: which words are not where they were written?

    python examples/own_objective.py runs/base/model sentences.txt --out runs/moved

What the loop does for every objective comes with it: a mesh of devices, resuming bit for bit (the
same command again), checkpoints, TensorBoard, a model in Hugging Face's layout.
"""

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optax

import jaxbert
from jaxbert.cli.reporting import run_script
from jaxbert.data.stream import Phase, Stream
from jaxbert.experiment.artifacts import Exports, TrainedModel, write_artifacts
from jaxbert.experiment.fit import fit
from jaxbert.experiment.parameters import read
from jaxbert.experiment.run_directory import open_run
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.experiment.trainee import Data, Trainee
from jaxbert.hub.load import open_params
from jaxbert.nn.head import Head
from jaxbert.optim.kinds import AdamW
from jaxbert.tasks.task import Task
from jaxbert.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class MovedWords(Task):
    """Batch: labels int32 [batch, seq], -100 where nothing is asked."""

    head = Head("token_classification", labels=("in place", "moved"))

    def loss_weights(self, batch):
        """How many tokens are asked about."""
        return {"moved_loss": (batch["labels"] >= 0).sum().astype("float32")}

    def loss_sums(self, output, batch):
        """Cross-entropies; the loop divides by the weights of the whole batch."""
        asked = batch["labels"] >= 0
        losses = optax.softmax_cross_entropy_with_integer_labels(
            output.logits.astype("float32"), batch["labels"].clip(0)
        )
        return {"moved_loss": (losses * asked).sum()}


@dataclass(frozen=True)
class ShuffledRows:
    """The stream of rows: each a function of its position, so that resuming is a seek."""

    sentences: list[str]
    tokenizer: Tokenizer
    length: int
    padding: float = 0.0

    @property
    def num_rows(self):
        """An epoch."""
        return len(self.sentences)

    def rows(self, positions, step):
        """Some rows; on several hosts each asks for its own."""
        made = [self._row(int(position)) for position in positions]
        return {name: np.stack([row[name] for row in made]) for name in made[0]}

    def _row(self, position):
        random = np.random.default_rng(position)
        ids = np.array(self.tokenizer.encode_plain([random.choice(self.sentences)])[0])
        ids = ids[: self.length - 2]
        order = np.arange(len(ids))
        if len(ids) > 1:
            chosen = np.flatnonzero(random.random(len(ids)) < 0.3)
            order[chosen] = random.permutation(chosen)
        tokens = [self.tokenizer.cls_id, *ids[order], self.tokenizer.sep_id]
        moved = ids[order] != ids
        row = {
            "input_ids": np.full(self.length, self.tokenizer.pad_id, np.int32),
            "attention_mask": (np.arange(self.length) < len(tokens)).astype(np.int32),
            "labels": np.full(self.length, -100, np.int32),
        }
        row["input_ids"][: len(tokens)] = tokens
        row["labels"][1 : 1 + len(moved)] = moved
        return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="model directory, run or hub id")
    parser.add_argument("text", type=Path, help="a sentence a line")
    parser.add_argument("--out", type=Path, required=True, help="run directory")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    arguments = parser.parse_args()

    settings = TrainingSettings(
        batch_size=arguments.batch_size, optimizer=AdamW(learning_rate=arguments.learning_rate)
    )
    task = MovedWords()
    opened = open_params(arguments.model, head=task.head)
    tokenizer = jaxbert.load_tokenizer(arguments.model)
    sentences = [line for line in arguments.text.read_text().splitlines() if line.strip()]
    rows = ShuffledRows(sentences, tokenizer, arguments.length)
    # A run never continues on other data than it began with: these tell.
    fingerprints = {"the sentences": hashlib.sha256("\n".join(sentences).encode()).hexdigest()}
    data = Data(Stream([Phase(rows, settings.batch_size)]), {}, fingerprints)
    trainee = Trainee.of(opened.config, task.head, read(opened))
    with open_run(arguments.out, settings) as run:
        fitted = fit(run, settings, trainee, task, data, arguments.steps)
        # None after a preemption, and in all processes but the first.
        if fitted.params is not None:
            models = {"model": TrainedModel(fitted.params, opened.config, task.head)}
            exports = Exports(models, tokenizer, str(arguments.text))
            write_artifacts(run, fitted.results, exports, settings)
    print(fitted.results)


if __name__ == "__main__":
    run_script(main)
