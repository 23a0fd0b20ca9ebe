"""One fine-tuning run by jaxbert, and the same by a plain PyTorch loop."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
import transformers

import jaxbert
from jaxbert.nn.functional import make_apply
from jaxbert.optim.groups import group_labels
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.optim.schedule import ScheduleConfig, make_schedule
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import batch_sharding
from jaxbert.tasks.finetuning import Examples
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.training.evaluation import evaluate
from jaxbert.training.state import new_state
from jaxbert.training.step import (
    StepConfig,
    gathering,
    jit_evaluation_step,
    jit_train_step,
    make_evaluation_step,
    make_train_step,
)

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
WITHOUT_DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class Recipe:
    """What all runs share."""

    epochs: float
    batch_size: int = 32
    max_seq_length: int = 96
    learning_rate: float = 5e-5
    warmup: float = 0.1
    eps: float = 1e-6
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    curve_steps: int | None = None
    """Of the runs without dropout; None: one epoch."""


@dataclass(frozen=True)
class Run:
    """One training run of one framework."""

    framework: str
    """jaxbert, pytorch, or pytorch-eager."""
    seed: int
    """Of the fresh classifier, the order of the data and dropout."""
    has_dropout: bool

    @property
    def name(self) -> str:
        """Its key in the results."""
        return f"{self.framework}, {'seed' if self.has_dropout else 'no dropout, seed'} {self.seed}"


class Job(NamedTuple):
    """What a framework is given."""

    run: Run
    recipe: Recipe
    model: jaxbert.Model
    task: SequenceClassification
    batches: Sequence[Mapping[str, np.ndarray]]
    dev: Sequence[Mapping[str, np.ndarray]]
    examples: Examples
    """What `dev` is of."""

    @property
    def warmup_steps(self) -> int:
        """As transformers rounds a fraction."""
        return math.ceil(self.recipe.warmup * len(self.batches))


class Outcome(NamedTuple):
    """What a framework gives back."""

    losses: list[float]
    metrics: dict[str, float]


def train_jaxbert(job: Job) -> Outcome:
    """The step, optimiser and evaluation that `jaxbert finetune` runs."""
    recipe, run, config = job.recipe, job.run, job.model.config
    if not run.has_dropout:
        config = replace(config, **WITHOUT_DROPOUT)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    apply = gathering(make_apply(config, job.task.head), mesh)
    params = jaxbert.functional(job.model)[1]
    schedule = make_schedule(
        ScheduleConfig(warmup_steps=job.warmup_steps), recipe.learning_rate, len(job.batches)
    )
    optimizer = make_optimizer(
        AdamW(
            recipe.learning_rate,
            eps=recipe.eps,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
        ),
        schedule,
        params,
    )
    state = new_state(params, optimizer, mesh)
    train_step = make_train_step(
        apply, job.task, optimizer, schedule, group_labels(params), StepConfig(), run.seed
    )
    step = jit_train_step(train_step, state, mesh)
    sharding = batch_sharding(mesh, microbatches=True)

    def update(batch: Mapping[str, np.ndarray]) -> float:
        nonlocal state
        microbatches = {name: values[None] for name, values in batch.items()}
        state, metrics = step(state, jax.device_put(microbatches, sharding))
        return float(metrics["loss"])

    losses = _losses(job, update)
    evaluation_step = jit_evaluation_step(make_evaluation_step(apply, job.task), state.params, mesh)
    metrics = evaluate(evaluation_step, state.params, job.dev, job.examples.metrics, mesh)
    return Outcome(losses, metrics)


def train_pytorch(job: Job) -> Outcome:
    """What a person would write with transformers' model and torch.optim."""
    recipe, run = job.recipe, job.run
    model = _torch_model(job).train()
    torch.manual_seed(run.seed)
    named = list(model.named_parameters())
    exempt = {name for name, _ in named if name.endswith("bias") or "LayerNorm" in name}
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in named if name not in exempt]},
        {"params": [p for name, p in named if name in exempt], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=recipe.learning_rate,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
    )
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, job.warmup_steps, len(job.batches)
    )

    def update(batch: Mapping[str, np.ndarray]) -> float:
        loss = torch.nn.functional.cross_entropy(*_logits_and_labels(model, batch))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        schedule.step()
        return float(loss.detach())

    return Outcome(_losses(job, update), _evaluate_pytorch(job, model.eval()))


def _torch_model(job: Job) -> Any:
    """The same weights, classifier included, by way of an export."""
    attention = "eager" if job.run.framework == "pytorch-eager" else "sdpa"
    dropout: dict[str, Any] = (
        {} if job.run.has_dropout else {**WITHOUT_DROPOUT, "classifier_dropout": 0.0}
    )
    with tempfile.TemporaryDirectory() as directory:
        jaxbert.save_pretrained(job.model, None, directory)
        return transformers.BertForSequenceClassification.from_pretrained(
            directory, attn_implementation=attention, **dropout
        )


def _evaluate_pytorch(job: Job, model: Any) -> dict[str, float]:
    logits, labels = [], []
    with torch.no_grad():
        for batch in job.dev:
            scores, targets = _logits_and_labels(model, batch)
            is_real = torch.from_numpy(batch["row_ids"] >= 0)
            logits.append(scores[is_real])
            labels.append(targets[is_real])
    loss = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(labels))
    scored = torch.cat(logits).numpy()
    rows = {"row_ids": np.arange(len(scored)), "logits": scored}
    return job.examples.metrics({"loss": float(loss)}, rows)


def _logits_and_labels(model: Any, batch: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    inputs = {name: torch.from_numpy(batch[name]).long() for name in INPUTS}
    return model(**inputs).logits, torch.from_numpy(batch["labels"]).long()


def _losses(job: Job, update: Callable[[Mapping[str, np.ndarray]], float]) -> list[float]:
    losses = []
    for number, batch in enumerate(job.batches, 1):
        losses.append(update(batch))
        if number % 20 == 0 or number == len(job.batches):
            print(f"{job.run.name}: {number}/{len(job.batches)} loss {losses[-1]:.4f}", flush=True)
    return losses
