"""Evaluation during a run, and the outputs that it leaves for the report."""

from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.experiment import held_out
from jaxbert.experiment.held_out import Evaluation, HeldOut
from jaxbert.parallel.mesh import MeshConfig, make_mesh


class Rows:
    """Seven rows, of which every one is its number."""

    num_evaluation_rows = 7

    def evaluation_rows(self, numbers: Any) -> dict[str, np.ndarray]:
        return {"row_ids": np.asarray(numbers)}


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> tuple[HeldOut, list[int]]:
    """An evaluator, and how many rows every pass over a set had."""
    passes: list[int] = []

    def collect(step: Any, params: Any, batches: Any, mesh: Any, kept: Any) -> tuple[dict, dict]:
        ids = np.concatenate([batch["row_ids"] for batch in batches])
        passes.append(int((ids >= 0).sum()))
        return {"loss": float(params)}, {"row_ids": ids[ids >= 0]}

    monkeypatch.setattr(held_out, "collect", collect)
    sets = {
        "all": Evaluation(Rows(), lambda means, rows: means, is_reported=True),
        "other": Evaluation(Rows(), lambda means, rows: means),
    }
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    return HeldOut(sets, lambda *_: None, 2, mesh, lambda: False), passes


def test_metrics_have_their_sets_names_and_the_outputs_are_those_of_all_rows(evaluated):
    evaluator, passes = evaluated
    assert evaluator(3) == {"all_loss": 3.0, "other_loss": 3.0}
    assert passes == [7, 7]
    assert evaluator.outputs(3, known=True)["all"]["row_ids"].tolist() == list(range(7))
    assert passes == [7, 7]


def test_other_parameters_are_evaluated_again(evaluated):
    evaluator, passes = evaluated
    evaluator(3)
    assert [*evaluator.outputs(4, known=False)] == ["all"]
    assert passes == [7, 7, 7]


def test_a_batch_that_tells_the_metrics_names_leaves_no_outputs(evaluated):
    evaluator, passes = evaluated
    assert evaluator.metric_names(3, 1) == ["all_loss", "other_loss"]
    assert passes == [2, 2]
    assert evaluator.metric_names(3, None) == ["all_loss", "other_loss"]
    assert passes == [2, 2, 7, 7]
    assert evaluator.outputs(3, known=True)["all"]["row_ids"].tolist() == list(range(7))


@pytest.mark.parametrize("polls", range(10))
def test_an_evaluation_that_is_cut_short_gives_nothing(monkeypatch: pytest.MonkeyPatch, polls: int):
    """Two sets of four batches: asked after each of them, and after a set."""
    asked = []

    def interrupted() -> bool:
        asked.append(True)
        return len(asked) > polls

    def collect(step: Any, params: Any, batches: Any, mesh: Any, kept: Any) -> tuple[dict, dict]:
        return {"batches": len([*batches])}, {}

    monkeypatch.setattr(held_out, "collect", collect)
    sets = {name: Evaluation(Rows(), lambda means, rows: means) for name in ("one", "other")}
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    evaluator = HeldOut(sets, lambda *_: None, 2, mesh, interrupted)
    assert evaluator(3) is None
    # Whoever is asked to end does not go through the rest first.
    assert len(asked) <= polls + 2
