import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from jaxbert.metrics.multi_label import multi_label_metrics


def drawn(rows: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(rows)
    truth = generator.random((rows, labels)) < 0.3
    return truth, np.clip(0.3 * truth + 0.7 * generator.random((rows, labels)), 0, 1)


def test_metrics_are_those_of_scikit_learn():
    truth, probabilities = drawn(80, 5)
    predicted = probabilities >= 0.5
    assert multi_label_metrics(truth, probabilities, predicted) == {
        "f1_micro": f1_score(truth, predicted, average="micro"),
        "f1_macro": f1_score(truth, predicted, average="macro"),
        "accuracy": accuracy_score(truth, predicted),
        "average_precision": pytest.approx(average_precision_score(truth, probabilities)),
        "roc_auc": pytest.approx(roc_auc_score(truth, probabilities)),
    }


def test_labels_that_no_row_has_or_all_have_count_only_where_they_mean_something():
    truth, probabilities = drawn(40, 4)
    truth[:, 0], truth[:, 1] = False, True
    found = multi_label_metrics(truth, probabilities, probabilities >= 0.5)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(truth[:, 2:], probabilities[:, 2:]))
    expected = average_precision_score(truth[:, 1:], probabilities[:, 1:])
    assert found["average_precision"] == pytest.approx(expected)


def test_a_single_label_is_not_read_as_two_classes():
    truth, probabilities = drawn(50, 1)
    found = multi_label_metrics(truth, probabilities, probabilities >= 0.5)
    expected = f1_score(truth[:, 0], probabilities[:, 0] >= 0.5)
    assert found["f1_micro"] == found["f1_macro"] == expected != found["accuracy"]


def test_no_rows_and_no_labels_have_a_value_and_no_warning():
    nothing = np.zeros((0, 3), bool)
    found = multi_label_metrics(nothing, nothing.astype(float), nothing)
    assert found == {"f1_micro": 0.0, "f1_macro": 0.0, "accuracy": 0.0}
    bare = np.zeros((4, 3), bool)
    assert multi_label_metrics(bare, bare + 0.1, bare) == {
        "f1_micro": 0.0,
        "f1_macro": 0.0,
        "accuracy": 1.0,
    }
