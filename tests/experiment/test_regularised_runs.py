"""Fine-tuning runs with regularisation."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment.small_runs import after_polls, fine_tuning, trajectory, weights
from safetensors.numpy import load_file

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import check_finetuning, finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.lesson import lesson
from jaxbert.experiment.regularisation import RegularisationConfig
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.plan.subject import subject_of
from jaxbert.tasks.task import run_model
from jaxbert.training.log import read_metrics

RATE = 5e-3
# Dropout before the classifier alone is compiled in a third of the time.
R_DROP = "task.classifier_dropout=0.3"
# Times the rate this is 1: in every step the encoder begins anew from where it was.
NEAR = "regularisation={r_drop: 2, towards_start: 200}"
MOVED = "regularisation={adversarial: {epsilon: 0.5, weight: 3}}"


@pytest.fixture(scope="module")
def near(pretrained, tables, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("near") / "run"
    config = fine_tuning(pretrained, *tables, NEAR, R_DROP, "schedule.kind=constant")
    finetune(config, run, quiet=True)
    return run


def test_a_run_says_what_is_added_and_evaluates_the_labels_alone(near: Path):
    rows = read_metrics(near / "metrics.jsonl")
    trained = [row for row in rows if "loss" in row]
    for row in trained:
        assert row["loss"] == pytest.approx(row["labels_loss"] + 2 * row["r_drop_loss"], rel=1e-5)
        assert row["r_drop_loss"] > 0
    evaluated = {name for row in rows for name in row if name.startswith("eval/")}
    assert {"eval/loss", "eval/accuracy"} <= evaluated
    assert not any("r_drop" in name or "labels_loss" in name for name in evaluated)


def test_the_encoder_stays_where_it_was_and_the_head_does_not(near: Path, pretrained: Path):
    before, after = (load_file(run / "model/model.safetensors") for run in (pretrained, near))
    layers = [n for n in before if n.startswith("bert.encoder.") or ".embeddings." in n]
    moved = {name: np.abs(after[name] - before[name]).max() for name in layers}
    # One of AdamW's steps, and not some twenty.
    assert 0 < max(moved.values()) < 2 * RATE
    head = after["bert.pooler.dense.weight"] - before["bert.pooler.dense.weight"]
    assert np.abs(head).max() > 4 * RATE


def test_a_regularised_run_is_continued_bit_for_bit(near, pretrained, tables, tmp_path):
    config = fine_tuning(pretrained, *tables, NEAR, R_DROP, "schedule.kind=constant")
    run = tmp_path / "run"
    assert finetune(config, run, interrupted=after_polls(9), quiet=True).outcome == "preempted"
    finetune(config, run, quiet=True)
    assert weights(run) == weights(near)
    assert trajectory(run) == trajectory(near)
    other = fine_tuning(pretrained, *tables, "regularisation.towards_start=1")
    with pytest.raises(UserError, match="regularisation"):
        finetune(other, run, quiet=True)


def test_moved_embeddings_lose_more_and_are_learnt_too(pretrained, tables, tmp_path):
    run = tmp_path / "run"
    options = (MOVED, "loop.evaluate_every=null", "checkpoint.metric=null")
    finetune(fine_tuning(pretrained, *tables, *options), run, quiet=True)
    rows = [row for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
    for row in rows:
        total = row["labels_loss"] + 3 * row["adversarial_loss"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    assert all(row["adversarial_loss"] > row["labels_loss"] for row in rows[:4])
    assert rows[-1]["adversarial_loss"] < rows[0]["adversarial_loss"]


TASKS: dict[str, dict[str, Any]] = {
    "labels": {"labels": ["a", "b", "c"], "multi_label": True},
    "numbers": {"regression": True},
    "tags": {"kind": "token_classification", "labels": ["a", "b", "c"]},
    "places": {"kind": "question_answering"},
    "choices": {"kind": "multiple_choice"},
    "packed choices": {"kind": "multiple_choice"},
    "scores": {"kind": "sentence_embedding", "columns": {"label": "score"}},
}
PACKED = ("tags", "places", "packed choices")


@pytest.mark.parametrize("name", TASKS)
def test_texts_of_every_kind_of_task_are_moved(name: str):
    """By shapes alone: what a model is called with, and what the losses read of a batch."""
    values = {"model": "bert-tiny", "train": "a.tsv", "task": TASKS[name]}
    packing = (f"packing={name in PACKED}", "regularisation.adversarial={}")
    subject = subject_of(parse_config(Finetune, values, packing))
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    apply = subject.trainee.make_apply(jnp.dtype(jnp.float32), subject.settings.execution)
    found = lesson(apply, subject.task, subject.trainee, subject.settings, mesh)

    def losses(params: Any, batch: Any, key: Any) -> Any:
        output = run_model(found.apply, params, batch, key, inputs=found.task.model_inputs)
        return found.task.loss_sums(output, batch), found.task.loss_weights(batch)

    batch = {n: jnp.asarray(x) for n, x in subject.phases[0].make_batch(2).items()}
    sums, shares = jax.eval_shape(losses, subject.trainee.shapes, batch, jax.random.key(0))
    assert {*sums} == {*shares} == {"labels_loss", "adversarial_loss"}
    assert all(x.shape == () for x in sums.values())


FASTER = "optimizer.groups=[{params: encoder/embeddings, factor: 4}]"
RANKING = "task={kind: sentence_embedding, columns: {text: sentence, text_pair: label}}"
REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("regularisation={}",), "nothing is asked for"),
    (("regularisation.r_drop=0",), "r_drop"),
    (("regularisation.r_drop=1", "regularisation.adversarial={}"), "each read a batch twice"),
    (("regularisation.r_drop=1",), "nothing drops out of this bert model"),
    # Drawn in 8 bits this is none.
    (("regularisation.r_drop=1", "dropout.hidden=0.001"), "nothing drops out of this bert model"),
    (("regularisation.r_drop=1", RANKING), "r_drop: a ranking is between"),
    (("regularisation.adversarial={}", RANKING), "adversarial: a ranking is between"),
    (
        ("regularisation.r_drop=1", "cache_features=true", "optimizer.freeze_layers=all"),
        "regularisation acts on the encoder",
    ),
    (
        ("regularisation.adversarial={}", "distillation.teacher=bert-tiny"),
        "what a teacher would say",
    ),
    (("regularisation.towards_start=1", "lora={}"), "nothing that the model brings along"),
    (
        ("regularisation.towards_start=1", "optimizer.freeze=[encoder]"),
        "nothing that the model brings along",
    ),
    (
        (
            "regularisation.towards_start=1",
            "reinitialize_layers=1",
            "optimizer.freeze=[encoder/embeddings]",
        ),
        "nothing that the model brings along",
    ),
    (
        (
            "regularisation.towards_start=1",
            "optimizer.groups=[{params: mlp, weight_decay: 0.1}]",
        ),
        "'mlp' a weight_decay",
    ),
    (
        ("regularisation.towards_start=100", FASTER),
        "a learning rate of 0.02 it is 2, .* give at most 50",
    ),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_has_nothing_to_act_on_is_refused(options, message, pretrained, tables, tmp_path):
    with pytest.raises(UserError, match=message):
        finetune(fine_tuning(pretrained, *tables, *options), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_of_several_runs_each_is_checked(pretrained, tables, tmp_path):
    still, near = "regularisation.r_drop=1", "regularisation.towards_start=1"
    configs = [fine_tuning(pretrained, *tables, option) for option in (near, still)]
    with pytest.raises(UserError, match="nothing drops out of this bert model"):
        check_finetuning([*zip(configs, (tmp_path / "a", tmp_path / "b"), strict=True)])


def test_plans_refuse_the_same_and_count_what_is_read_again():
    values = {"model": "bert-tiny", "train": "a.tsv", "task": {"labels": ["a", "b"]}}
    found = []
    for added in ("{towards_start: 1}", "{r_drop: 1}", "{adversarial: {}}"):
        subject = subject_of(parse_config(Finetune, values, (f"regularisation={added}",)))
        batch = subject.phases[0].make_batch(2)
        found.append(subject.trainee.step_flops(batch) / subject.trainee.flops(batch))
    assert found == pytest.approx([1, 2, 7 / 3])
    still = ("regularisation.r_drop=1", "dropout={hidden: 0, attention: 0}")
    with pytest.raises(UserError, match="nothing drops out"):
        subject_of(parse_config(Finetune, values, still))


def test_layers_that_begin_anew_and_the_head_are_drawn_to_nothing():
    pull = RegularisationConfig(towards_start=0.5).pull(("encoder/layers/1/", "pooler/"))
    assert pull is not None
    drawn = {"encoder/layers/0/mlp/up/bias": 0.5, "encoder/final_norm/scale": 0.5}
    still = ("encoder/layers/1/mlp/up/kernel", "pooler/dense/kernel", "classifier/dense/bias")
    assert {path: pull(path) for path in (*drawn, *still)} == drawn | dict.fromkeys(still, 0)
