"""What the demo trains: two configurations, small enough for two CPU cores."""

from pathlib import Path

from jaxbert.checkpoint.checkpoints import CheckpointConfig
from jaxbert.data.pretraining import PretrainingDataConfig
from jaxbert.data.reading import Reading
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.pretraining_model import ModelConfig
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.tasks.sentences import SentenceColumns
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.training.loop import LoopConfig

TASK = SequenceClassificationConfig(columns=SentenceColumns(text="text", label="label"))
READING = Reading(64)

CORPUS_MB = 6.0
VOCABULARY_SIZE = 4000
TRAIN_PER_LIBRARY = 80
TEST_PER_LIBRARY = 60
SEEDS = (0, 1, 2)


def pretraining(store: Path, num_steps: int) -> Pretrain:
    """BERT-tiny with masked LM and next sentences; no dropout, since nothing is seen often."""
    model = ModelConfig(
        preset="bert-tiny",
        overrides={
            "max_position_embeddings": 128,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
    )
    return Pretrain(
        store=str(store),
        model=model,
        data=PretrainingDataConfig(max_seq_length=64, validation_fraction=0.02),
        num_steps=num_steps,
        batch_size=32,
        optimizer=AdamW(learning_rate=1.5e-3),
        schedule=ScheduleConfig(warmup_steps=0.1),
        loop=LoopConfig(log_every=20, evaluate_every=1000, checkpoint_every=None),
    )


def fine_tuning(model: Path, train: Path, test: Path, seed: int) -> Finetune:
    """Which library does a docstring belong to? The same for every model that is compared.

    Of the learning rates 1e-3 and 2e-3 this is the better one for the model from scratch.
    """
    return Finetune(
        model=str(model),
        task=TASK,
        train=str(train),
        validation=str(test),
        max_seq_length=READING.max_seq_length,
        num_epochs=6,
        batch_size=32,
        seed=seed,
        optimizer=AdamW(learning_rate=2e-3),
        schedule=ScheduleConfig(warmup_steps=0.1),
        loop=LoopConfig(log_every=20, checkpoint_every=None),
        checkpoint=CheckpointConfig(keep_last=1),
    )
