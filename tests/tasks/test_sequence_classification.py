from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.data.reading import Reading
from jaxbert.data.tables import Row
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.losses import IGNORED
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sentences import SentenceColumns, Sentences
from jaxbert.tasks.sequence_classification import ClassifiedSentences, SequenceClassification
from jaxbert.tasks.single_label import SingleLabel

CLASSES = SequenceClassification(SingleLabel(("no", "yes", "maybe")))
NUMBER = SequenceClassification(Regression())


def output(logits: Any) -> ModelOutput:
    return ModelOutput(jnp.zeros((len(logits), 2, 4)), logits=jnp.asarray(logits, jnp.float32))


def as_floats(sums: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in sums.items()}


def test_classes_give_a_cross_entropy_over_the_rows_that_count():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    labels = np.array([0, 2, IGNORED, 1, IGNORED])
    batch = {"labels": jnp.asarray(labels), "row_ids": jnp.arange(5)}
    kept = [0, 1, 3]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(probabilities[kept, labels[kept]]).sum()
    assert as_floats(CLASSES.loss_sums(output(logits), batch)) == pytest.approx({"loss": expected})
    assert as_floats(CLASSES.loss_weights(batch)) == {"loss": 3.0}


def test_a_number_gives_a_squared_error_over_the_rows_that_count():
    batch = {
        "labels": jnp.array([1.0, 2.0, 1e30, -3.0]),
        "row_ids": jnp.array([7, 0, -1, 3]),
    }
    logits = [[0.5], [2.0], [0.0], [1.0]]
    found = as_floats(NUMBER.loss_sums(output(logits), batch))
    assert found == pytest.approx({"loss": 0.25 + 0.0 + 16.0})
    assert as_floats(NUMBER.loss_weights(batch)) == {"loss": 3.0}


@pytest.mark.parametrize("task", [CLASSES, NUMBER])
def test_a_batch_of_filler_rows_is_worth_nothing(task: SequenceClassification):
    labels = jnp.full(4, IGNORED) if task is CLASSES else jnp.ones(4)
    batch = {"labels": labels, "row_ids": jnp.full(4, -1)}
    out = output(np.ones((4, len(task.labels))))
    assert (
        as_floats(task.loss_sums(out, batch)) == as_floats(task.loss_weights(batch)) == {"loss": 0}
    )


def test_the_head_says_labels_and_problem():
    assert CLASSES.head.labels == ("no", "yes", "maybe")
    assert CLASSES.head.problem_type == "single_label_classification"
    assert NUMBER.head.problem_type == "regression"
    task = SequenceClassification(SingleLabel(("a",)), classifier_dropout=0.3)
    assert task.head.classifier_dropout == 0.3


def judged(task: Any, labels: Any, logits: np.ndarray, loss: float) -> dict[str, float]:
    examples = ClassifiedSentences(
        task, Sentences((), task.columns_read), {}, np.array(labels), Reading(8)
    )
    rows = {"row_ids": np.arange(len(labels)), "logits": logits}
    return examples.metrics({"loss": loss}, rows)


def test_class_metrics_come_from_the_rows():
    found = judged(CLASSES, [0, 1, 2, 2], np.eye(3)[[0, 1, 2, 0]], 0.5)
    # Cramer's phi of the 3 x 3 table of these four rows, by hand: (3*4 - 5) / sqrt((16-6)(16-6)).
    expected = {"loss": 0.5, "accuracy": 0.75, "matthews_correlation": 7 / 10}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert set(found) == {*expected, "f1"}


def test_number_metrics_come_from_the_rows():
    found = judged(NUMBER, [1.0, 2.0, 3.0], np.array([[1.0], [10.0], [100.0]]), 2.0)
    expected = float(np.corrcoef([1, 2, 3], [1, 10, 100])[0, 1])
    assert found == pytest.approx({"loss": 2.0, "pearson": expected, "spearman": 1.0})


def test_evaluation_brings_the_logits_to_the_host():
    assert set(CLASSES.row_outputs(output(np.ones((2, 3))))) == {"logits"}
    assert CLASSES.metric_sums(output(np.ones((2, 3))), {}) == {}


@pytest.mark.parametrize("is_one", [True, False])
def test_candidates_of_a_text_are_ranked_among_each_other(is_one: bool):
    """By the logit of one label, or by how far the second class is above the first."""
    pairs = ("ax", "ay", "bx", "az", "by", "cx")
    rows = tuple(
        Row({"query": pair[0], "passage": pair[1]}, "a.tsv", line)
        for line, pair in enumerate(pairs, 2)
    )
    relevant = np.array([1, 0, 0, 1, 1, 0])
    scores = np.array([0.5, 2.0, 0.1, 3.0, 0.2, 9.0])
    target = MultiLabel(("relevant",)) if is_one else SingleLabel(("no", "yes"))
    columns = SentenceColumns("query", "passage", ("relevant",) if is_one else "label")
    task = SequenceClassification(target, columns_read=columns, ranks=True)
    labels = relevant[:, None].astype(np.float32) if is_one else relevant
    logits = scores[:, None] if is_one else np.stack([1 - scores, np.ones(6)], axis=1)
    examples = ClassifiedSentences(task, Sentences(rows, columns), {}, labels, Reading(8))
    order = np.array([3, 0, 5, 1, 4, 2])
    found = examples.metrics({"loss": 1.0}, {"row_ids": order, "logits": logits[order]})
    # Of a: ranks 1 and 3 of three; of b: rank 1; c has none.
    expected = {
        "mrr": 1.0,
        "map": (np.mean([1 / 1, 2 / 3]) + 1) / 2,
        "ndcg_at_10": ((1 + 0.5) / (1 + 1 / np.log2(3)) + 1) / 2,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    plain = ClassifiedSentences(
        replace(task, ranks=False), Sentences(rows, columns), {}, labels, Reading(8)
    )
    assert "mrr" not in plain.metrics({"loss": 1.0}, {"row_ids": order, "logits": logits[order]})
