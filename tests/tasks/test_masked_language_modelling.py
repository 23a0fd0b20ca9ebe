import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.losses import IGNORED
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.task import run_model

NAMES = {"masked_lm_loss", "next_sentence_loss"}


def output(rows: int, *, next_sentence: bool = True) -> ModelOutput:
    draws = np.random.default_rng(rows)
    return ModelOutput(
        last_hidden_state=jnp.zeros((rows, 6, 4)),
        logits=jnp.asarray(draws.normal(size=(rows, 3, 11)), jnp.float32),
        seq_relationship_logits=jnp.asarray(draws.normal(size=(rows, 2)), jnp.float32)
        if next_sentence
        else None,
    )


def batch(rows: int) -> dict[str, Any]:
    labels = np.arange(3 * rows).reshape(rows, 3) % 11
    return {"labels": jnp.asarray(labels), "next_sentence_label": jnp.arange(rows) % 2}


def log_probability(logits: Any, label: int) -> float:
    logits = np.asarray(logits, np.float64)
    return logits[label] - math.log(np.exp(logits).sum())


def test_the_two_losses_are_sums_over_positions_and_over_rows():
    task, out, labels = MaskedLanguageModelling(), output(2), batch(2)
    sums = task.loss_sums(out, labels)
    masked = -sum(log_probability(out.logits[r, p], 3 * r + p) for r in (0, 1) for p in range(3))
    following = -sum(log_probability(out.seq_relationship_logits[r], r) for r in (0, 1))
    assert {name: float(value) for name, value in sums.items()} == pytest.approx(
        {"masked_lm_loss": masked, "next_sentence_loss": following}
    )
    weights = {name: float(value) for name, value in task.loss_weights(labels).items()}
    assert weights == {"masked_lm_loss": 6, "next_sentence_loss": 2}


def test_filler_rows_and_unused_places_count_nothing():
    task, out, labels = MaskedLanguageModelling(), output(4), batch(4)
    labels["labels"] = labels["labels"].at[2:].set(IGNORED).at[0, 1:].set(IGNORED)
    labels["next_sentence_label"] = labels["next_sentence_label"].at[2:].set(IGNORED)
    real = ModelOutput(*(None if x is None else x[:2] for x in out))
    first = {name: x[:2] for name, x in labels.items()}
    for found, expected in (
        (task.loss_sums(out, labels), task.loss_sums(real, first)),
        (task.loss_weights(labels), task.loss_weights(first)),
    ):
        assert {name: float(x) for name, x in found.items()} == pytest.approx(
            {name: float(x) for name, x in expected.items()}
        )
    metrics = task.metric_sums(out, labels)
    assert float(metrics["masked_lm_accuracy"][1]) == 4
    assert float(metrics["next_sentence_accuracy"][1]) == 2


def test_accuracies_count_the_largest_logit():
    task, labels = MaskedLanguageModelling(), batch(2)
    logits = jnp.zeros((2, 3, 11)).at[0, 0, 0].set(1.0).at[0, 1, 1].set(1.0).at[1, 0, 7].set(1.0)
    out = output(2)._replace(logits=logits, seq_relationship_logits=jnp.eye(2)[:, ::-1])
    found = task.metric_sums(out, labels)
    assert float(found["masked_lm_accuracy"][0]) == 2
    assert float(found["next_sentence_accuracy"][0]) == 0


def test_the_order_of_sentences_has_its_own_names_and_the_same_numbers():
    out, labels = output(2), batch(2)
    orders, following = MaskedLanguageModelling("sentence_order"), MaskedLanguageModelling()
    assert orders.head == following.head
    for order, next_sentence in (
        (orders.loss_weights(labels), following.loss_weights(labels)),
        (orders.loss_sums(out, labels), following.loss_sums(out, labels)),
        (orders.metric_sums(out, labels), following.metric_sums(out, labels)),
    ):
        renamed = {
            name.replace("next_sentence", "sentence_order"): value
            for name, value in next_sentence.items()
        }
        assert order == renamed
        assert order != next_sentence


def test_without_sentence_pairs_there_is_one_loss():
    task = MaskedLanguageModelling("none")
    assert (task.head.kind, MaskedLanguageModelling().head.kind) == ("masked_lm", "pretraining")
    labels = {"labels": batch(2)["labels"]}
    assert set(task.loss_weights(labels)) == {"masked_lm_loss"}
    assert set(task.loss_sums(output(2, next_sentence=False), labels)) == {"masked_lm_loss"}
    both = MaskedLanguageModelling()
    assert set(both.loss_weights(batch(2))) == set(both.loss_sums(output(2), batch(2))) == NAMES


@pytest.mark.parametrize("loss", [0.0, 2.5, 1e6, math.nan])
def test_perplexity_is_the_exponential_and_never_overflows(loss: float):
    found = MaskedLanguageModelling().metrics({"masked_lm_loss": loss}, {})["perplexity"]
    np.testing.assert_allclose(found, np.exp(min(loss, 700.0)))


def test_a_model_gets_its_inputs_of_a_batch_and_nothing_else():
    seen: dict[str, Any] = {}

    def apply(params: Any, **inputs: Any) -> ModelOutput:
        seen.update(inputs)
        return output(1)

    given = {name: jnp.zeros((1, 3), int) for name in ("input_ids", "attention_mask", "labels")}
    run_model(apply, {}, given | {"row_ids": jnp.zeros(1), "masked_lm_positions": jnp.ones(1)})
    assert set(seen) == {"input_ids", "attention_mask", "masked_lm_positions", "key"}
    assert seen["key"] is None
