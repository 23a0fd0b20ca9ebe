"""Tiny corpora, tables and configurations, and what a run directory tells afterwards."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxbert.config import parse_config
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.training.metrics_file import read_metrics

ANIMALS = ["cat", "dog", "bird", "fish"]
THINGS = ["tree", "house", "river", "garden"]
VERBS = ["sees", "likes", "finds", "follows"]
ADJECTIVES = ["old", "young", "red", "green", "quiet", "large"]

DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
MODEL = {
    "preset": "bert-tiny",
    "overrides": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
        **dict.fromkeys(DROPOUT, 0.0),
    },
}
"""Without dropout, with which the programs of a run take three times as long to compile."""
WITH_DROPOUT = tuple(f"model.overrides.{name}=0.1" for name in DROPOUT)

PAIRS = "data.sentence_pairs=next_sentence"
WITHOUT_VALIDATION = "data.validation_fraction=0"
UNTRAINABLE = [
    (("data.max_seq_length=64",), "exceeds the model's max_position_embeddings=32"),
    (("model.overrides.vocab_size=999",), "model.overrides: a vocabulary of 999"),
    (("model.preset=roberta-base", PAIRS), "roberta has no head for sentence pairs"),
    (("model.preset=electra-small-discriminator", PAIRS), "set data.sentence_pairs=none"),
    (("objective={kind: replaced_token_detection}", PAIRS), "learns nothing of sentence pairs"),
    (
        (
            "objective={kind: replaced_token_detection}",
            "data.sentence_pairs=none",
            "model={from_pretrained: bert-tiny}",
        ),
        "objective.generator: going on from a discriminator",
    ),
    (
        (
            "objective={kind: replaced_token_detection, generator: generators/small}",
            "data.sentence_pairs=none",
        ),
        "objective.generator=generators/small: goes on beside its discriminator",
    ),
    (("checkpoint.metric=masked_lm_loss", WITHOUT_VALIDATION), "needs validation data"),
    (("checkpoint.metric=masked_lm_los",), "is no metric of this task: did you mean 'masked_lm_l"),
    (("loop.early_stopping_patience=2",), "early_stopping_patience needs checkpoint.metric"),
    (
        (
            "loop.early_stopping_patience=2",
            "loop.evaluate_every=null",
            "checkpoint.metric=masked_lm_loss",
        ),
        "without loop.evaluate_every there is one at the end alone",
    ),
    (
        ("checkpoint.keep_every=10", "loop.checkpoint_every=3"),
        "a multiple of loop.checkpoint_every=3 or loop.evaluate_every=4",
    ),
]
"""What `pretraining` may not be given, and why: known without data, so that plans refuse it too."""


def sentence(generator: random.Random) -> str:
    first = generator.choice(ANIMALS + THINGS)
    verb, adjective = generator.choice(VERBS), generator.choice(ADJECTIVES)
    return f"The {adjective} {first} {verb} the {generator.choice(ANIMALS + THINGS)}."


def label(text: str) -> str:
    return "animal" if text.split()[2] in ANIMALS else "thing"


def sentences(number: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [sentence(generator) for _ in range(number)]


def write_corpus(path: Path) -> Path:
    generator = random.Random(0)
    documents = [" ".join(sentences(generator.randint(4, 8), seed)) for seed in range(60)]
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return path


def write_labelled(path: Path, number: int, seed: int) -> Path:
    rows = [f"{text}\t{label(text)}\n" for text in sentences(number, seed)]
    path.write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    return path


def make_store(directory: Path, vocab_size: int = 160) -> Path:
    corpus = write_corpus(directory / "corpus.txt")
    options = PrepareOptions(vocab_size=vocab_size, processes=1)
    prepare([str(corpus)], directory / "store", options)
    return directory / "store"


def pretraining(store: Path, *overrides: str, model: dict[str, Any] = MODEL) -> Pretrain:
    values = {
        "store": str(store),
        "model": model,
        "num_steps": 12,
        "batch_size": 8,
        "data": {
            "max_seq_length": 32,
            "validation_fraction": 0.4,
        },
        "optimizer": {"learning_rate": 1e-3},
        # Saving takes longer than a step: if a test asks for no more, evaluations save.
        "loop": {"log_every": 1, "evaluate_every": 4, "checkpoint_every": None},
    }
    return parse_config(Pretrain, values, overrides)


def fine_tuning(model: Path, train: Path, validation: Path, *overrides: str) -> Finetune:
    values = {
        "model": str(model),
        "train": str(train),
        "validation": str(validation),
        "max_seq_length": 32,
        "batch_size": 8,
        "optimizer": {"learning_rate": 5e-3},
        "loop": {"log_every": 1, "evaluate_every": "epoch", "checkpoint_every": None},
        "checkpoint": {"metric": "accuracy"},
    }
    return parse_config(Finetune, values, overrides)


def pairs(path: Path, number: int, seed: int) -> Path:
    """An animal and what it is like, and the thing and the verb that belong to them."""
    draws, lines = random.Random(seed), ["anchor\tpositive\n"]
    for _ in range(number):
        what, how = draws.randrange(4), draws.randrange(4)
        anchor = f"{ADJECTIVES[how]} {ANIMALS[what]}"
        lines.append(f"{anchor}\tthe {THINGS[what]} {VERBS[how]}\n")
    path.write_text("".join(lines))
    return path


def after_polls(number: int) -> Callable[[], bool]:
    """An `interrupted` that is true from the `number`-th time it is asked on."""
    asked = 0

    def interrupted() -> bool:
        nonlocal asked
        asked += 1
        return asked > number

    return interrupted


def trajectory(run: Path) -> list[dict[str, Any]]:
    """Every row of metrics.jsonl without what is measured by the clock."""
    timed = ("tokens_per_second", "padding", "data_share", "dispatch_share")
    return [
        {name: value for name, value in row.items() if name not in timed}
        for row in read_metrics(run / "metrics.jsonl")
    ]


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()
