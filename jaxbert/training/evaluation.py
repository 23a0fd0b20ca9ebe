"""Evaluation: every example counted once, sums divided once, in float64."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.metrics.sums import Sums
from jaxbert.parallel.rows import RowPlacement
from jaxbert.training.step import EvaluationStep, Outputs, PredictionStep
from jaxbert.typing import HostBatch, Params

T = TypeVar("T")
Metrics = Callable[[dict[str, float], Mapping[str, Any]], dict[str, float]]
"""Divided sums, and rows as `predict` gives them -> metrics."""
Kept = Callable[[dict[str, Any]], dict[str, Any]]
"""`Task.kept`: what of the rows of a batch is kept until all batches are done."""


def _all(rows: dict[str, Any]) -> dict[str, Any]:
    return rows


def evaluate(
    step: EvaluationStep,
    params: Params,
    batches: Iterable[HostBatch],
    metrics: Metrics,
    mesh: Mesh,
    kept: Kept = _all,
) -> dict[str, float]:
    """Metrics over all examples; see `collect`."""
    return metrics(*collect(step, params, batches, mesh, kept))


def collect(
    step: EvaluationStep,
    params: Params,
    batches: Iterable[HostBatch],
    mesh: Mesh,
    kept: Kept = _all,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Divided sums over all examples, and their outputs as `predict` gives them.

    `batches` are this process's rows; what is returned is of all. Those with row_ids = -1 only
    fill a batch or a packed row and are dropped.
    """
    sums, gathered = Sums(), []
    placement = RowPlacement(mesh)
    dispatched = (step(params, placement.put(batch)) for batch in batches)
    for device_sums, outputs in _one_behind(dispatched):
        sums.add(jax.device_get(device_sums))
        gathered.append(_fetched(outputs, kept))
    return sums.means(), _in_order(gathered)


def predict(
    step: PredictionStep,
    params: Params,
    batches: Iterable[HostBatch],
    mesh: Mesh,
    kept: Kept = _all,
) -> dict[str, Any]:
    """Outputs of every example, ordered by their `row_ids`, which are among them.

    What the task gives of rows comes as arrays [examples, ...], what it gives of tokens as lists of
    arrays [tokens, ...], one an example.
    """
    placement = RowPlacement(mesh)
    dispatched = (step(params, placement.put(batch)) for batch in batches)
    return _in_order([_fetched(outputs, kept) for outputs in _one_behind(dispatched)])


def _fetched(outputs: Outputs, kept: Kept) -> Outputs:
    found: Outputs = jax.device_get(outputs)
    return found._replace(rows=kept(found.rows))


def _in_order(gathered: list[Outputs]) -> dict[str, Any]:
    if not gathered or not gathered[0].rows:
        return {}
    is_real = [outputs.rows["row_ids"] >= 0 for outputs in gathered]
    rows = {
        name: np.concatenate(
            [o.rows[name][real] for o, real in zip(gathered, is_real, strict=True)]
        )
        for name in gathered[0].rows
    }
    order = np.argsort(rows["row_ids"], kind="stable")
    found: dict[str, Any] = {name: values[order] for name, values in rows.items()}
    if gathered[0].tokens:
        found |= _tokens_in_order([outputs.tokens for outputs in gathered], found["row_ids"])
    return found


def _tokens_in_order(
    gathered: list[dict[str, Any]], row_ids: np.ndarray
) -> dict[str, list[np.ndarray]]:
    is_real = [tokens["example"] >= 0 for tokens in gathered]
    flat = {
        name: np.concatenate([t[name][real] for t, real in zip(gathered, is_real, strict=True)])
        for name in gathered[0]
    }
    # An example is a run of columns of one row, so that a stable sort keeps its tokens in order.
    order = np.argsort(flat["example"], kind="stable")
    ends = np.searchsorted(flat["example"][order], row_ids, side="right")
    return {
        name: np.split(values[order], ends[:-1])
        for name, values in flat.items()
        if name != "example"
    }


def _one_behind(items: Iterable[T]) -> Iterator[T]:
    """The items, each after the next one is made: the device works while the host fetches."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting
