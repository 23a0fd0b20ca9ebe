"""Rows that are not trained on, evaluated during a run."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jax.sharding import Mesh

from jaxbert.data.stream import EvaluationRows, evaluation_batches
from jaxbert.experiment.checks import check_is_metric
from jaxbert.parallel.rows import RowPlacement
from jaxbert.training.evaluation import Kept, Metrics, collect
from jaxbert.training.step import EvaluationStep
from jaxbert.typing import HostBatch, Params


@dataclass(frozen=True)
class Evaluation:
    """One set of rows, and what they are judged by."""

    rows: EvaluationRows
    metrics: Metrics
    is_reported: bool = False
    """Whether its outputs are wanted when training is over."""


class HeldOut:
    """Evaluates parameters on every set.

    A set's name goes before those of its metrics; the only one may be called "".
    """

    def __init__(
        self,
        sets: Mapping[str, Evaluation],
        step: EvaluationStep,
        batch_size: int,
        mesh: Mesh,
        interrupted: Callable[[], bool],
        kept: Kept = lambda rows: rows,
    ):
        self._sets, self._step, self._batch_size = sets, step, batch_size
        self._mesh, self._interrupted, self._kept = mesh, interrupted, kept
        self._outputs: dict[str, Any] = {}

    def __call__(self, params: Params) -> dict[str, float] | None:
        """Metrics over all rows; None where an interruption cut it short."""
        found: dict[str, float] = {}
        for name, held_out in self._sets.items():
            batches = _until(self._batches(held_out), self._interrupted)
            metrics, outputs = self._evaluate(name, params, batches)
            if self._interrupted():
                return None
            found |= metrics
            if held_out.is_reported:
                self._outputs[name] = outputs
        return found

    def check_metric(self, name: str, params: Params) -> None:
        """Raises UserError for one that evaluation does not give.

        A misspelt name should not be found out after the first hours of training.
        """
        names = self.metric_names(params, 1)
        if name not in names:
            # Some are of rows that the first batch may lack, such as questions without an answer.
            names = self.metric_names(params, None)
        check_is_metric(name, names)

    def metric_names(self, params: Params, num_batches: int | None) -> list[str]:
        """What evaluation gives, from the first batches of every set; None: from all."""
        found: dict[str, float] = {}
        for name, held_out in self._sets.items():
            found |= self._evaluate(name, params, islice(self._batches(held_out), num_batches))[0]
        return [*found]

    def outputs(self, params: Params, *, known: bool) -> dict[str, Any]:
        """Outputs of the sets that are reported, as `training.evaluation.predict` gives them.

        `known`: these parameters are those that were evaluated last, if any were.
        """
        if known and self._outputs:
            return self._outputs
        return {
            name: self._collected(params, self._batches(held_out))[1]
            for name, held_out in self._sets.items()
            if held_out.is_reported
        }

    def _evaluate(
        self, name: str, params: Params, batches: Iterable[HostBatch]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics under their whole names, and outputs."""
        means, outputs = self._collected(params, batches)
        metrics = self._sets[name].metrics(means, outputs)
        return {of_set(name, metric): value for metric, value in metrics.items()}, outputs

    def _collected(
        self, params: Params, batches: Iterable[HostBatch]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        return collect(self._step, params, batches, self._mesh, self._kept)

    def _batches(self, held_out: Evaluation) -> Iterator[HostBatch]:
        numbers = RowPlacement(self._mesh).numbers(self._batch_size)
        return evaluation_batches(held_out.rows, self._batch_size, numbers)


def of_set(name: str, metric: str) -> str:
    """What a metric of a set is called."""
    return f"{name}_{metric}" if name else metric


def _until(batches: Iterable[HostBatch], interrupted: Callable[[], bool]) -> Iterator[HostBatch]:
    """The batches up to an interruption; at least one, so that there is something to divide."""
    for batch in batches:
        yield batch
        if interrupted():
            return
