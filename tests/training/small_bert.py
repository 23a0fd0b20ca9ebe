"""A small BERT, batches that differ from step to step, and a compiled step on any mesh."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import make_apply
from jaxbert.optim.averaging import AveragingConfig, averaged
from jaxbert.optim.groups import group_labels
from jaxbert.optim.kinds import OptimizerConfig
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.optim.schedule import ScheduleConfig, make_schedule
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import batch_sharding
from jaxbert.tasks.task import Task
from jaxbert.training.state import TrainState, new_state
from jaxbert.training.step import StepConfig, TrainStep, gathering, jit_train_step, make_train_step
from jaxbert.typing import Params

SIZES: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "max_position_embeddings": 20,
}
WITHOUT_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

ROWS, LENGTH, PREDICTIONS = 8, 16, 4
IGNORED = -100


class Training(NamedTuple):
    """A compiled step, the state to start from, and where they live."""

    step: TrainStep
    state: TrainState
    mesh: Mesh

    def run(self, batches: list[dict[str, np.ndarray]], parts: int = 1) -> Iterator[Any]:
        """State and metrics after every batch, from a fresh copy of the state."""
        # The step donates what it is given.
        state = jax.tree.map(lambda x: x.copy(), self.state)
        for batch in batches:
            state, metrics = self.step(state, self.put(batch, parts))
            yield jax.device_get(state), jax.device_get(metrics)

    def put(self, batch: dict[str, np.ndarray], parts: int = 1) -> dict[str, jax.Array]:
        """The batch as `parts` microbatches on the devices."""
        split = {name: x.reshape(parts, -1, *x.shape[1:]) for name, x in batch.items()}
        return jax.device_put(split, batch_sharding(self.mesh, microbatches=True))


def make_training(
    model: EncoderConfig | Callable[..., Any],
    task: Task,
    params: Params,
    num_steps: int,
    *,
    optimizer: OptimizerConfig,
    schedule: ScheduleConfig,
    step: StepConfig | None = None,
    mesh: Mesh | None = None,
    averaging: AveragingConfig | None = None,
) -> Training:
    mesh = one_device() if mesh is None else mesh
    rate = make_schedule(schedule, optimizer.learning_rate, num_steps)
    transformation = make_optimizer(optimizer, rate, params)
    labels = group_labels(params, optimizer.freeze, optimizer.freeze_layers)
    if averaging is not None:
        transformation = averaged(transformation, averaging, labels)
    config = StepConfig() if step is None else step
    state = new_state(params, transformation, mesh, shard_optimizer=config.shard_optimizer)
    apply = make_apply(model, task.head) if isinstance(model, EncoderConfig) else model
    apply = gathering(apply, mesh)
    function = make_train_step(apply, task, transformation, rate, labels, config, 0, mesh)
    return Training(jit_train_step(function, state, mesh), state, mesh)


def one_device() -> Mesh:
    return make_mesh(MeshConfig(), jax.devices()[:1])


def text_batch(draws: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of unequal length with both segments."""
    lengths = draws.integers(6, LENGTH + 1, (ROWS, 1))
    positions = np.arange(LENGTH)
    mask = positions < lengths
    ids = draws.integers(5, SIZES["vocab_size"], (ROWS, LENGTH))
    return {
        "input_ids": np.where(mask, ids, 0).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "token_type_ids": (mask & (positions >= lengths // 2)).astype(np.int32),
    }


def pretraining_batch(seed: int) -> dict[str, np.ndarray]:
    """One to four masked positions a row, and next-sentence labels."""
    draws = np.random.default_rng(seed)
    batch = text_batch(draws)
    positions = np.zeros((ROWS, PREDICTIONS), np.int32)
    labels = np.full((ROWS, PREDICTIONS), IGNORED, np.int32)
    for row, length in enumerate(batch["attention_mask"].sum(axis=1)):
        count = draws.integers(1, PREDICTIONS + 1)
        positions[row, :count] = np.sort(draws.choice(length, count, replace=False))
        labels[row, :count] = draws.integers(5, SIZES["vocab_size"], count)
    is_random = draws.integers(0, 2, ROWS).astype(np.int32)
    return batch | {
        "masked_lm_positions": positions,
        "labels": labels,
        "next_sentence_label": is_random,
    }


def classification_batch(seed: int, num_labels: int) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(seed)
    return text_batch(draws) | {"labels": draws.integers(0, num_labels, ROWS).astype(np.int32)}
