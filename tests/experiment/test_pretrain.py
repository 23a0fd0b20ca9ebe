"""Whole pretraining runs: what they refuse, compile and do with a loss that is not finite."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from experiment.small_runs import UNTRAINABLE, pretraining, trajectory, write_corpus

from jaxbert.config import parse_config
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.errors import UserError
from jaxbert.experiment.inference import ready
from jaxbert.experiment.masked_lm import masked_lm_data
from jaxbert.experiment.pretrain import Pretrain, pretrain
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.report.reading import read_runs
from jaxbert.text.tokenizer import load_tokenizer

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    found: list[str] = []

    def listen(event: str, _seconds: float, **_kwargs: object) -> None:
        if event == COMPILED:
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def test_nothing_is_compiled_after_the_first_step_evaluation_and_checkpoint(
    store, tmp_path, compilations
):
    run, after_the_first = tmp_path / "run", []

    def note() -> bool:
        """Asked before every step and after every evaluation batch."""
        if any(name.startswith("eval/") for row in trajectory(run) for name in row):
            after_the_first.append(len(compilations))
        return False

    overrides = ("num_steps=8", "loop.evaluate_every=2", "loop.checkpoint_every=1")
    config = pretraining(store, *overrides)
    pretrain(config, run, interrupted=note, quiet=True)
    assert len(after_the_first) > 6 + 3
    assert after_the_first[0] > 0
    assert set(after_the_first) == {after_the_first[0]}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *UNTRAINABLE,
        (("batch_size=12",), "batch_size=12 is not a multiple of step.accumulation_steps=1"),
        (("step.accumulation_steps=3",), "is not a multiple of step.accumulation_steps=3"),
        (("evaluation_batch_size=9",), "evaluation_batch_size=9 is not a multiple"),
        (("checkpoint.metric=accuracy",), "did you mean 'masked_lm_accuracy'"),
        (("mesh.data=3",), "mesh: replica=1, data=3"),
        (("mesh.tensor=4",), "mesh.tensor=4 does not divide num_attention_heads=2"),
        (("optimizer.freeze=[nothing]",), "'nothing' matches no parameter"),
    ],
)
def test_what_cannot_work_is_one_line_and_may_be_corrected(store, tmp_path, overrides, message):
    with pytest.raises(UserError) as caught:
        pretrain(pretraining(store, *overrides), tmp_path / "run", quiet=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_is_not_bound_to_a_configuration_that_failed(store, tmp_path):
    for override, outcome in (("batch_size=12", None), ("num_steps=1", "finished")):
        config = pretraining(store, override)
        if outcome is None:
            with pytest.raises(UserError, match="batch_size=12"):
                pretrain(config, tmp_path / "run", quiet=True)
        else:
            assert pretrain(config, tmp_path / "run", quiet=True).outcome == outcome


def test_a_model_is_not_trained_on_a_store_of_another_vocabulary(pretrained, tmp_path):
    corpus = write_corpus(tmp_path / "corpus.txt")
    options = PrepareOptions(vocab_size=100, processes=1)
    prepare([str(corpus)], tmp_path / "store", options)
    values = {
        "store": str(tmp_path / "store"),
        "model": {"from_pretrained": str(pretrained)},
        "num_steps": 2,
    }
    with pytest.raises(UserError, match=r"prepare the store with --tokenizer .*run/model"):
        pretrain(parse_config(Pretrain, values), tmp_path / "run", quiet=True)


def test_a_model_with_more_embeddings_than_tokens_is_trained_on(store, pretrained, tmp_path):
    found = load_params(pretrained)
    config, padded = (
        replace(found.config, vocab_size=found.config.vocab_size + 7),
        tmp_path / "padded",
    )
    save_params(found.params, config, found.head, load_tokenizer(pretrained), padded)
    values = {
        "store": str(store),
        "num_steps": 1,
        "batch_size": 8,
        "model": {"from_pretrained": str(padded)},
        "data": {"max_seq_length": 32},
    }
    run = tmp_path / "run"
    pretrain(parse_config(Pretrain, values), run, quiet=True)
    assert load_params(run).config == config
    assert masked_lm_data(ready(run), str(store)).num_examples


def test_a_pretrained_model_is_trained_on(store, pretrained, tmp_path):
    config = parse_config(
        Pretrain,
        {
            "store": str(store),
            "num_steps": 1,
            "batch_size": 8,
            "model": {"from_pretrained": str(pretrained)},
            "data": {"max_seq_length": 32, "validation_fraction": 0.4},
            "optimizer": {"learning_rate": 1e-9},
        },
    )
    fitted = pretrain(config, tmp_path / "run", quiet=True)
    before = json.loads((pretrained / "all_results.json").read_text())
    expected = before["eval_masked_lm_loss"]
    np.testing.assert_allclose(fitted.results["eval_masked_lm_loss"], expected, rtol=1e-5)


@pytest.fixture(scope="module")
def diverged(store, tmp_path_factory) -> tuple[Path, str]:
    """A run whose learning rate is absurd: the loss of some step is not finite."""
    run = tmp_path_factory.mktemp("diverged") / "run"
    with pytest.raises(UserError) as caught:
        pretrain(diverging(store), run, quiet=True)
    return run, str(caught.value)


def diverging(store: Path, *overrides: str) -> Pretrain:
    return pretraining(store, "optimizer.learning_rate=1e30", "loop.checkpoint_every=1", *overrides)


def test_a_loss_that_is_not_finite_ends_the_run_with_its_batch_saved(diverged):
    run, message = diverged
    step = int(message.split(" at step ")[1].split(":")[0])
    batch = run / f"nonfinite_step_{step}.npz"
    assert str(batch) in message
    assert "step.nonfinite=skip" in message
    with np.load(batch) as saved:
        assert saved["input_ids"].shape == (8, 32)
    assert max(row["step"] for row in trajectory(run)) == step - 1
    assert (run / "checkpoints" / str(step - 1)).is_dir()
    [report] = read_runs([str(run)])
    assert (report.outcome, report.has_ended) == ("diverged", False)


def test_the_run_goes_on_from_its_last_checkpoint_when_such_updates_are_skipped(diverged, store):
    run, _ = diverged
    fitted = pretrain(diverging(store, "step.nonfinite=skip"), run, quiet=True)
    assert (fitted.outcome, fitted.step) == ("finished", 12)
    assert [row["step"] for row in trajectory(run) if "loss" in row] == list(range(1, 13))
    leaves = jax.tree.leaves(fitted.params)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
