"""Gradients of batches that are read twice: by the formula, over devices, in microbatches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_bert import SIZES, WITHOUT_DROPOUT, classification_batch

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import batch_sharding, shardings
from jaxbert.tasks.r_drop import RDrop, Twice, TwiceApply
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.training.gradients import make_gradients
from jaxbert.training.step import gathering

ENCODER = EncoderConfig(
    **SIZES | WITHOUT_DROPOUT | {"num_hidden_layers": 1, "initializer_range": 0.5}
)
# Before the classifier alone: it is compiled in a third of the time.
TASK = SequenceClassification(SingleLabel(("a", "b", "c")), classifier_dropout=0.3)
PLAIN = make_apply(ENCODER, TASK.head)
WEIGHT, REAL = 2.0, 5
HELD = RDrop(TASK, WEIGHT)
PARAMS = init_params(ENCODER, TASK.head, 0)
KEY = jax.random.key(3, impl="threefry2x32")


def given() -> dict[str, np.ndarray]:
    """Eight rows, of which the last three only fill it: microbatches have unequal weights."""
    made = classification_batch(0, 3)
    ids = np.array([*range(REAL), -1, -1, -1], np.int32)
    labels = np.where(ids < 0, -100, made["labels"]).astype(np.int32)
    return made | {"labels": labels, "row_ids": ids, "weights": np.ones(8, np.float32)}


def gradients(apply: Any, parts: int = 1, mesh: Any = None) -> tuple[dict[str, float], Any]:
    labels = jax.tree.map(lambda _: "trained", PARAMS)
    batch = {name: x.reshape(parts, -1, *x.shape[1:]) for name, x in given().items()}
    params = PARAMS
    if mesh is not None:
        apply = gathering(apply, mesh)
        batch = jax.device_put(batch, batch_sharding(mesh, microbatches=True))
        params = jax.device_put(params, shardings(params, mesh))
    step = make_gradients(apply, HELD, labels, "float32", mesh)
    losses, found = jax.device_get(jax.jit(step)(params, batch, KEY))
    assert {*losses} == {"labels_loss", "r_drop_loss"}
    # The passes differ.
    assert losses["r_drop_loss"] > 0.01
    return losses, found


def assert_close(found: Any, expected: Any) -> None:
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-6), found, expected
    )


@pytest.fixture(scope="module")
def single() -> tuple[dict[str, float], Any]:
    return gradients(TwiceApply(PLAIN))


def test_the_gradient_is_that_of_the_formula_with_both_keys(single: Any):
    inputs = {name: given()[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    chosen = np.arange(REAL), given()["labels"][:REAL]

    def formula(params: Any) -> jax.Array:
        keys = jax.random.split(jax.random.split(KEY, 1)[0])
        outputs = [PLAIN(params, **inputs, key=key).logits[:REAL] for key in keys]
        one, other = (jax.nn.log_softmax(x) for x in outputs)
        apart = jnp.sum((jnp.exp(one) - jnp.exp(other)) * (one - other)) / 2
        return (WEIGHT * apart - jnp.sum(one[chosen] + other[chosen]) / 2) / REAL

    losses, found = single
    expected, slopes = jax.jit(jax.value_and_grad(formula))(PARAMS)
    total = losses["labels_loss"] + WEIGHT * losses["r_drop_loss"]
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert_close(found, slopes)


def test_devices_that_split_rows_and_parameters_drop_alike(single: Any):
    mesh = make_mesh(MeshConfig(data=4, fsdp=2))
    assert_close(gradients(TwiceApply(PLAIN), mesh=mesh), single)


def test_microbatches_of_unequal_weight_add_up():
    """Of passes that differ by their parameters, as keys are other ones in each microbatch."""

    def unlike(params: Any, *, key: Any, **inputs: Any) -> Twice:
        larger = jax.tree.map(lambda x: 1.5 * x, params)
        return Twice(PLAIN(params, **inputs), PLAIN(larger, **inputs))

    assert_close(gradients(unlike, parts=2), gradients(unlike))
