"""Runs that keep an average of their parameters, and means of checkpoints."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from experiment.small_runs import after_polls, fine_tuning, pretraining, trajectory, weights
from experiment.test_replaced_token_runs import ELECTRA

from jaxbert.checkpoint.reading import read_params
from jaxbert.errors import UserError
from jaxbert.experiment.export import export_checkpoint
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.inference import ready
from jaxbert.experiment.masked_lm import evaluate_masked_lm, masked_lm_data
from jaxbert.experiment.pretrain import pretrain
from jaxbert.hub.load import load_params
from jaxbert.hub.mean import mean
from jaxbert.tree import flat

DECAY = 0.6
EVERY_STEP = (
    *("loop.checkpoint_every=1", "checkpoint.keep_every=1", "loop.evaluate_every=2"),
    *(f"averaging.decay={DECAY}", "schedule.kind=constant"),
)


def visited(run: Path, steps: int) -> list[dict[str, np.ndarray]]:
    """The parameters after every step, by path."""
    saved = (run / "checkpoints" / str(step) for step in range(1, steps + 1))
    return [flat(read_params(checkpoint)) for checkpoint in saved]


def assert_is_average(found: Any, seen: list[dict[str, np.ndarray]]) -> None:
    """In float64, of the parameters of all steps."""
    shares = DECAY ** np.arange(len(seen) - 1, -1, -1, dtype=np.float64)
    shares /= shares.sum()
    for path, values in flat(found).items():
        expected = sum(map(np.multiply, shares, (params[path] for params in seen)))
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6, err_msg=path)


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("averaged") / "run"
    assert pretrain(pretraining(store, *EVERY_STEP, "num_steps=4"), run).outcome == "finished"
    return run


def test_a_run_exports_and_evaluates_the_average(whole: Path, store: Path):
    seen, exported = visited(whole, 4), load_params(whole).params
    assert_is_average(exported, seen)
    path = "masked_lm/dense/kernel"
    assert np.abs(flat(exported)[path] - seen[-1][path]).max() > 1e-4
    model = ready(whole)
    found = evaluate_masked_lm(model, masked_lm_data(model, str(store)))
    logged = trajectory(whole)[-1]
    assert found["masked_lm_loss"] == pytest.approx(logged["eval/masked_lm_loss"], rel=1e-6)


def test_a_checkpoint_is_exported_as_its_average(whole: Path, tmp_path: Path):
    export_checkpoint(whole, tmp_path / "last", "latest")
    for file in ("model.safetensors", "README.md", "config.json"):
        assert (tmp_path / "last" / file).read_bytes() == (whole / "model" / file).read_bytes()
    export_checkpoint(whole, tmp_path / "second", 2)
    assert_is_average(load_params(tmp_path / "second").params, visited(whole, 2))


def test_an_interrupted_run_that_is_given_more_steps_ends_as_the_whole_one(
    whole: Path, store: Path, tmp_path: Path
):
    shorter, longer = (pretraining(store, *EVERY_STEP, f"num_steps={n}") for n in (2, 4))
    run = tmp_path / "run"
    assert pretrain(shorter, run, interrupted=after_polls(1), quiet=True).step == 1
    assert pretrain(shorter, run, quiet=True).step == 2
    pretrain(longer, run, quiet=True)
    assert weights(run) == weights(whole)
    ends = [read_params(path / "checkpoints" / "4", averaged=True) for path in (run, whole)]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    losses = [[row["loss"] for row in trajectory(path) if "loss" in row] for path in (run, whole)]
    assert losses[0] == losses[1]


def test_no_average_begins_or_ends_in_the_middle_of_a_run(whole: Path, store: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    without = pretraining(store, *EVERY_STEP, "num_steps=6", "averaging=null")
    with pytest.raises(UserError, match=r"averaging was \{'decay': 0.6\}, is None\)") as error:
        pretrain(without, run, quiet=True)
    assert "\n" not in str(error.value)
    # As an earlier version wrote it.
    text = (run / "config.yaml").read_text()
    section = f"averaging:\n  decay: {DECAY}\n"
    assert section in text
    (run / "config.yaml").write_text(text.replace(section, ""))
    with pytest.raises(UserError, match=r"averaging was None, is \{'decay': 0.6\}\)"):
        pretrain(pretraining(store, *EVERY_STEP, "num_steps=6"), run, quiet=True)


def test_what_is_unfrozen_late_was_its_own_average_until_then(pretrained, tables, tmp_path):
    options = (
        *EVERY_STEP,
        *("num_steps=4", "unfreezing.every=2", "optimizer.freeze_layers=0"),
        *("checkpoint.metric=null", "validation=null", "loop.evaluate_every=null"),
    )
    finetune(fine_tuning(pretrained, *tables, *options), tmp_path / "run", quiet=True)
    seen, exported = visited(tmp_path / "run", 4), load_params(tmp_path / "run").params
    layer = "encoder/layers/0/mlp/up/kernel"
    assert np.array_equal(seen[0][layer], seen[1][layer])
    assert not np.array_equal(seen[1][layer], seen[2][layer])
    assert_is_average(exported, seen)


def test_a_head_on_kept_features_is_averaged_beside_its_encoder(pretrained, tables, tmp_path):
    options = (
        *EVERY_STEP,
        *("num_steps=3", "cache_features=true", "optimizer.freeze_layers=all"),
        *("checkpoint.metric=null", "validation=null", "loop.evaluate_every=null"),
    )
    finetune(fine_tuning(pretrained, *tables, *options), tmp_path / "run", quiet=True)
    exported = load_params(tmp_path / "run").params
    encoder = flat(load_params(pretrained).params["encoder"])
    for path, values in flat(exported.pop("encoder")).items():
        np.testing.assert_array_equal(values, encoder[path], err_msg=path)
    assert_is_average(exported, visited(tmp_path / "run", 3))


def test_both_models_of_replaced_token_detection_are_averages(store: Path, tmp_path: Path):
    run = tmp_path / "run"
    pretrain(pretraining(store, *ELECTRA, *EVERY_STEP, "num_steps=2"), run, quiet=True)
    seen = visited(run, 2)
    for name in ("model", "generator"):
        found = flat(load_params(run / name).params)
        path = next(path for path in found if path.endswith("mlp/up/kernel"))
        first, second = (
            next(x[p] for p in x if p.endswith(path) and x[p].shape == found[path].shape)
            for x in seen
        )
        expected = (DECAY * first.astype(np.float64) + second) / (DECAY + 1)
        np.testing.assert_allclose(found[path], expected, rtol=0, atol=1e-6)


def test_several_checkpoints_make_the_mean_of_their_models(pretrained: Path, tmp_path: Path):
    exported = export_checkpoint(pretrained, tmp_path / "mean", (8, "latest"))
    assert exported.steps == (8, 12)
    saved = [read_params(pretrained / "checkpoints" / step) for step in ("8", "12")]
    expected = mean(saved)
    jax.tree.map(np.testing.assert_array_equal, load_params(tmp_path / "mean").params, expected)
    card = (tmp_path / "mean" / "README.md").read_text()
    assert "The mean of the run's models after steps 8 and 12." in card
    assert "## Results" not in card
    for steps, message in (((12, "latest"), "step 12 is named twice"), ((), "name a checkpoint")):
        with pytest.raises(UserError, match=message):
            export_checkpoint(pretrained, tmp_path / "other", steps)
