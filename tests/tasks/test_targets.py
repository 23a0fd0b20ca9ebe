"""What a classifier's outputs stand for: losses, metrics and predictions of each kind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight

from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.families.head_fields import head_from_hf, head_to_hf, thresholds_from_hf
from jaxbert.hub.config_file import read_description
from jaxbert.hub.save import config_fields
from jaxbert.metrics.balance import (
    balanced_weights,
    described_balance,
    effective_classes,
    label_log_odds,
)
from jaxbert.nn.head import Head
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.losses import IGNORED
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import FEW_CLASSES, SingleLabel
from jaxbert.text.training import train_wordpiece

MANY = SingleLabel(tuple(f"product {number}" for number in range(FEW_CLASSES + 37)))
SOME = MultiLabel(("joy", "anger", "fear"))


def as_jax(**values: Any) -> dict[str, Any]:
    return {name: jnp.asarray(value) for name, value in values.items()}


def fetched(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(values) for name, values in outputs.items()}


def test_several_labels_have_the_mean_of_binary_cross_entropies_over_labels():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(5, 3)) * 4
    labels = (generator.random((5, 3)) < 0.4).astype(np.float32)
    batch = as_jax(labels=labels, row_ids=[3, -1, 0, 8, -1])
    probabilities = scipy.special.expit(logits)
    expected = -np.where(labels > 0, np.log(probabilities), np.log1p(-probabilities)).mean(axis=1)
    found = SOME.losses(jnp.asarray(logits, jnp.float32), batch)
    np.testing.assert_allclose(found, expected * [1, 0, 1, 1, 0], rtol=1e-5)
    assert float(SOME.weight(batch)) == 3
    assert SOME.loss(logits, labels) == pytest.approx(expected.mean())


def test_several_labels_of_packed_rows_cost_what_they_cost_alone():
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(2, 3, 3)).astype(np.float32)
    labels = (generator.random((2, 3, 3)) < 0.4).astype(np.float32)
    row_ids = np.array([[4, 9, -1], [2, -1, -1]])
    packed = SOME.losses(jnp.asarray(logits), as_jax(labels=labels, row_ids=row_ids))
    there = row_ids >= 0
    alone = SOME.losses(
        jnp.asarray(logits[there]), as_jax(labels=labels[there], row_ids=row_ids[there])
    )
    np.testing.assert_array_equal(np.asarray(packed)[there], alone)
    assert not np.asarray(packed)[~there].any()


def test_labels_are_predicted_from_their_own_thresholds_on():
    task = MultiLabel(SOME.labels, thresholds=(0.5, 0.9, 0.2))
    logits = scipy.special.logit(np.array([[0.6, 0.8, 0.3], [0.4, 0.95, 0.1], [0.1, 0.1, 0.1]]))
    found = list(task.predictions({"logits": logits}))
    assert [row["labels"] for row in found] == [["joy", "fear"], ["anger"], []]
    assert found[0]["probabilities"] == pytest.approx({"joy": 0.6, "anger": 0.8, "fear": 0.3})
    half = [row["labels"] for row in SOME.predictions({"logits": logits})]
    assert half == [["joy", "anger"], ["anger"], []]


def test_a_probability_at_its_threshold_is_enough():
    probabilities = np.array([0.5, 0.73, 0.25])
    logits = scipy.special.logit(probabilities)[None]
    reached = tuple(scipy.special.expit(logits[0]).tolist())
    beyond = tuple(np.nextafter(reached, 1.0).tolist())
    for thresholds, labels in ((reached, ["joy", "anger", "fear"]), (beyond, [])):
        task = replace(SOME, thresholds=thresholds)
        assert next(task.predictions({"logits": logits}))["labels"] == labels
        metrics = task.metrics(np.ones((1, 3)), {"logits": logits})
        assert metrics["accuracy"] == float(bool(labels))
    assert next(SOME.predictions({"logits": np.zeros((1, 3))}))["labels"] == [*SOME.labels]


def test_tuned_thresholds_have_the_best_f1_that_any_threshold_has():
    generator = np.random.default_rng(2)
    labels = generator.random((60, 3)) < [0.1, 0.5, 0.0]
    logits = generator.normal(size=(60, 3)) + labels
    logits[10:20] = logits[:10]
    task = SOME.tuned(labels.astype(np.float32), {"logits": logits})
    assert task.thresholds is not None
    probabilities = scipy.special.expit(logits)
    for place in (0, 1):
        column, truth = probabilities[:, place], labels[:, place]
        scores = [f1_score(truth, column >= value) for value in column]
        assert f1_score(truth, column >= task.thresholds[place]) == pytest.approx(max(scores))
    assert task.thresholds[2] == 0.5


def test_labels_of_regression_far_from_where_a_model_begins_are_told_of():
    near = Regression().notes(np.array([0.0, 2.5, 5.0], np.float32))
    assert near == ("labels: 2.5 on average, 0 to 5, deviation 2.04124",)
    for width, remedy in ((9, "task.prior_bias=true"), (20, "(label - average) / deviation")):
        for mean in (1000, -1000):
            labels = np.array([mean - width, mean + width], np.float32)
            [note] = Regression().notes(labels)
            assert note.startswith(f"labels: {mean} on average, ")
            assert note.endswith(remedy)


def test_many_classes_bring_the_most_probable_alone_to_the_host():
    logits = np.random.default_rng(3).normal(size=(7, len(MANY.labels))).astype(np.float32) * 3
    found = fetched(MANY.outputs(jnp.asarray(logits)))
    assert {name: values.shape for name, values in found.items()} == {
        "classes": (7, 5),
        "log_probabilities": (7, 5),
    }
    logs = scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
    order = np.argsort(-logs, axis=-1)[:, :5]
    np.testing.assert_array_equal(found["classes"], order)
    expected = np.take_along_axis(logs, order, axis=-1)
    np.testing.assert_allclose(found["log_probabilities"], expected, rtol=1e-5, atol=1e-6)
    row = next(MANY.predictions(found))
    assert [*row["probabilities"]] == [MANY.labels[place] for place in order[0]]
    assert row["label"] == MANY.labels[order[0, 0]]
    assert [*row["probabilities"].values()] == pytest.approx(np.exp(expected[0]), rel=1e-5)


def test_many_classes_are_judged_by_the_first_and_by_all_that_came():
    classes = np.array([[3, 1, 2, 4, 5], [1, 3, 2, 4, 5], [9, 8, 7, 6, 5], [3, 1, 2, 4, 5]])
    found = MANY.metrics(np.array([3, 5, 1, 1]), {"classes": classes})
    assert (found["accuracy"], found["top_5_accuracy"]) == (0.25, 0.75)
    assert found["f1"] == pytest.approx(
        f1_score([3, 5, 1, 1], classes[:, 0], average="macro", zero_division=0.0)
    )


def test_evaluation_has_the_plain_loss_whatever_is_trained():
    plain = SingleLabel(("a", "b", "c"))
    other = SingleLabel(plain.labels, class_weights=(1.0, 5.0, 0.5), label_smoothing=0.2)
    logits = jnp.asarray(np.random.default_rng(4).normal(size=(4, 3)), jnp.float32)
    batch = as_jax(labels=[0, 2, IGNORED, 1])
    total, weight = other.metric_sums(logits, batch)["loss"]
    np.testing.assert_allclose(total, plain.losses(logits, batch).sum(), rtol=1e-6)
    assert float(weight) == float(plain.weight(batch)) == 3
    assert float(other.weight(batch)) == 6.5
    assert plain.metric_sums(logits, batch) == {}


def test_a_classifier_that_is_split_over_devices_is_never_gathered():
    mesh = make_mesh(MeshConfig(tensor=8, data=1))
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(None, "tensor"))
    task = SingleLabel(tuple(map(str, range(1024))), label_smoothing=0.1)
    generator = np.random.default_rng(6)
    pooled = generator.normal(size=(6, 4)).astype(np.float32)
    kernel = generator.normal(size=(4, 1024)).astype(np.float32)
    batch = as_jax(labels=[0, 1023, 500, 129, IGNORED, 3])

    def loss(kernel: Any, pooled: Any, batch: Any) -> Any:
        return jnp.sum(task.losses(pooled @ kernel, batch)) / task.weight(batch)

    places = {"in_shardings": (split, whole, whole), "out_shardings": (whole, split)}
    step = jax.jit(jax.value_and_grad(loss), **places).lower(kernel, pooled, batch).compile()
    assert "all-gather" not in step.as_text()
    arguments = (jax.device_put(kernel, split), *jax.device_put((pooled, batch), whole))
    found, expected = step(*arguments), jax.value_and_grad(loss)(kernel, pooled, batch)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-6)


def test_windows_of_many_classes_are_refused():
    tokenizer = train_wordpiece(["a text"], 50, min_frequency=1)
    with pytest.raises(UserError, match=r"of 165 classes .* use truncation=head_tail"):
        SequenceClassification(MANY).examples(
            [], tokenizer, Reading(16, windows=WindowConfig(stride=2)), labelled=False
        )


def test_thresholds_of_a_config_are_numbers_one_a_label():
    fields = {"jaxbert_thresholds": [0.5, 1, 0.25]}
    assert thresholds_from_hf(fields) == (0.5, 1.0, 0.25)
    with pytest.raises(UserError, match=r"jaxbert_thresholds=0\.5: expected a list of numbers"):
        thresholds_from_hf({"jaxbert_thresholds": 0.5})
    with pytest.raises(UserError, match="jaxbert_thresholds has 3 numbers for 2 labels"):
        head_from_hf({**fields, "num_labels": 2}, "sequence_classification")
    with pytest.raises(UserError, match="3 thresholds for 2 labels"):
        Head("sequence_classification", ("a", "b"), thresholds=(0.5, 1.0, 0.25))


@pytest.mark.parametrize("thresholds", [None, (0.25, 0.5, 0.75)])
def test_thresholds_are_written_to_config_json_and_read_from_it(thresholds: Any):
    head = replace(SequenceClassification(SOME).head, thresholds=thresholds)
    fields = json.loads(json.dumps(head_to_hf(head)))
    assert ("jaxbert_thresholds" in fields) == (thresholds is not None)
    assert head_from_hf(fields, "sequence_classification") == head


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.random.default_rng(5).choice(4, 50, p=[0.6, 0.2, 0.15, 0.05])
    counts = np.bincount(labels, minlength=5)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(balanced_weights(counts), [*expected, 1.0], rtol=1e-12)


def test_a_line_tells_how_unequal_the_classes_are():
    assert effective_classes(np.array([5, 5, 0, 5])) == pytest.approx(3)
    line = described_balance(np.array([8, 1, 0, 1]), ["a", "b", "c", "d"])
    assert line == (
        "classes: 4 of 1 ('b') to 8 examples ('a'); to guess among them is as hard as among 1.9 "
        "equal ones; 2 with one example; 1 without any ('c')"
    )
    assert described_balance(np.array([7, 7]), ["a", "b"]) == "classes: 2, of 7 examples each"


@pytest.mark.parametrize("head", [None, "sequence_classification"])
def test_other_labels_than_those_of_the_file_have_no_thresholds(tmp_path: Path, head: Any):
    config, saved = preset("bert-tiny"), SequenceClassification(SOME).head
    fields = config_fields(config, replace(saved, thresholds=(0.2, 0.3, 0.4)))
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert read_description(tmp_path, head=head).head.thresholds == (0.2, 0.3, 0.4)
    other = read_description(tmp_path, head=head, labels=("x", "y")).head
    assert (other.labels, other.thresholds) == (("x", "y"), None)


def test_log_odds_are_those_of_a_label_and_finite_for_one_of_no_row_or_of_all():
    matrix = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]], np.float32)
    expected = [np.log(1.5 / 3.5), np.log(0.5 / 4.5), np.log(4.5 / 0.5)]
    np.testing.assert_allclose(label_log_odds(matrix), expected, rtol=1e-6)
