"""A fine-tuning run with gradual unfreezing, whole and interrupted around its boundaries."""

from pathlib import Path

import numpy as np
import pytest
from experiment.small_runs import after_polls, fine_tuning, trajectory, weights

from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.hub.load import load_params
from jaxbert.tree import flat


@pytest.fixture(scope="module")
def unfreezing(pretrained: Path, tables) -> Finetune:
    """The head alone for two steps, then the only layer too, and never the embeddings."""
    return fine_tuning(
        pretrained,
        *tables,
        "num_steps=4",
        "unfreezing.every=2",
        "optimizer.freeze_layers=0",
        "checkpoint.metric=null",
        "validation=null",
    )


@pytest.fixture(scope="module")
def whole(unfreezing: Finetune, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("unfrozen") / "run"
    assert finetune(unfreezing, run, quiet=True).outcome == "finished"
    return run


def test_a_run_interrupted_around_a_boundary_ends_as_the_whole_one(
    unfreezing, whole, tmp_path, capsys
):
    run, steps = tmp_path / "run", []
    # Before the boundary, on it, and after it.
    for _ in range(3):
        fitted = finetune(unfreezing, run, interrupted=after_polls(1), quiet=True)
        assert fitted.outcome == "preempted"
        steps.append(fitted.step)
    assert steps == [1, 2, 3]
    assert finetune(unfreezing, run).outcome == "finished"
    assert trajectory(run) == trajectory(whole)
    assert weights(run) == weights(whole)
    assert "trained parameters: 306 after step 0, 2,530 after step 2" in capsys.readouterr().err


def test_what_is_frozen_all_the_way_is_exported_as_it_came(pretrained, whole):
    before, after = (flat(load_params(run).params) for run in (pretrained, whole))
    for path in before.keys() & after.keys():
        is_embedding = path.startswith("encoder/embeddings/")
        assert np.array_equal(before[path], after[path]) == is_embedding, path
