"""Evaluation: every row counted once, sums divided once, in float64."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.metrics.sums import Sums
from jaxbert.parallel.rows import RowPlacement
from jaxbert.tasks.task import Task
from jaxbert.training.step import EvaluationStep
from jaxbert.typing import HostBatch, Params

T = TypeVar("T")


def evaluate(
    step: EvaluationStep,
    params: Params,
    batches: Iterable[HostBatch],
    task: Task,
    mesh: Mesh,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics, and the outputs of every example with labels and row_ids, in the order of these.

    `batches` are this process's rows; what is returned is of all. Those with row_ids = -1 only
    fill a batch or a packed row and are dropped.
    """
    sums, rows = Sums(), []
    placement = RowPlacement(mesh)
    dispatched = (step(params, placement.put(batch)) for batch in batches)
    for device_sums, outputs in _one_behind(dispatched):
        sums.add(jax.device_get(device_sums))
        if outputs:
            gathered = jax.device_get(outputs)
            real = gathered["row_ids"] >= 0
            rows.append({name: values[real] for name, values in gathered.items()})
    together = (
        {name: np.concatenate([part[name] for part in rows]) for name in rows[0]} if rows else {}
    )
    if together:
        order = np.argsort(together["row_ids"], kind="stable")
        together = {name: values[order] for name, values in together.items()}
    return task.metrics(sums.means(), together), together


def _one_behind(items: Iterable[T]) -> Iterator[T]:
    """The items, each after the next one is made: the device works while the host fetches."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting
