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
from jaxbert.tasks.adversarial import Adversarial, AdversarialApply, AdversarialConfig
from jaxbert.tasks.r_drop import RDrop, TwiceApply
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.task import Task
from jaxbert.training.gradients import make_gradients
from jaxbert.training.step import gathering

SMALL = {"num_hidden_layers": 1, "max_position_embeddings": 32, "initializer_range": 0.5}
ENCODER = EncoderConfig(**SIZES | WITHOUT_DROPOUT | SMALL)
# Before the classifier alone: it is compiled in a third of the time.
TASK = SequenceClassification(SingleLabel(("a", "b", "c")), classifier_dropout=0.3)
STILL = SequenceClassification(SingleLabel(("a", "b", "c")), classifier_dropout=0.0)
PLAIN = make_apply(ENCODER, TASK.head)
PARAMS = init_params(ENCODER, TASK.head, 0)
KEY = jax.random.key(3, impl="threefry2x32")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
WEIGHT, EPSILON, REAL = 2.0, 0.5, 5

HELD = RDrop(TASK, WEIGHT)
MOVED = Adversarial(STILL, AdversarialConfig(EPSILON, WEIGHT))


def moving(apply: Any) -> AdversarialApply:
    return AdversarialApply(apply, STILL, EPSILON)


def given() -> dict[str, np.ndarray]:
    """Eight rows, of which the last three only fill it: microbatches have unequal weights."""
    made = classification_batch(0, 3)
    ids = np.array([*range(REAL), -1, -1, -1], np.int32)
    labels = np.where(ids < 0, -100, made["labels"]).astype(np.int32)
    return made | {"labels": labels, "row_ids": ids, "weights": np.ones(8, np.float32)}


def gradients(
    task: Task, apply: Any, *, parts: int = 1, mesh: Any = None, batch: Any = None
) -> tuple[dict[str, float], Any]:
    labels = jax.tree.map(lambda _: "trained", PARAMS)
    batch = given() if batch is None else batch
    batch = {name: x.reshape(parts, -1, *x.shape[1:]) for name, x in batch.items()}
    params = PARAMS
    if mesh is not None:
        batch = jax.device_put(batch, batch_sharding(mesh, microbatches=True))
        params = jax.device_put(params, shardings(params, mesh))
    step = make_gradients(apply, task, labels, "float32", mesh)
    losses, found = jax.device_get(jax.jit(step)(params, batch, KEY))
    return losses, found


def assert_close(found: Any, expected: Any) -> None:
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=5e-6), found, expected
    )


@pytest.fixture(scope="module")
def held() -> tuple[dict[str, float], Any]:
    return gradients(HELD, TwiceApply(PLAIN), parts=2)


@pytest.fixture(scope="module")
def moved() -> tuple[dict[str, float], Any]:
    return gradients(MOVED, moving(make_apply(ENCODER, STILL.head)))


def test_r_drop_is_the_formula_with_two_keys_for_each_microbatch(held: Any):
    keys = jax.vmap(jax.random.split)(jax.random.split(KEY, 2))
    labels = given()["labels"].reshape(2, 4)

    def formula(params: Any) -> jax.Array:
        total = jnp.zeros(())
        for part, real in ((0, 4), (1, REAL - 4)):
            inputs = {n: given()[n].reshape(2, 4, -1)[part] for n in INPUTS}
            one, other = (
                jax.nn.log_softmax(PLAIN(params, **inputs, key=key).logits[:real])
                for key in keys[part]
            )
            chosen = np.arange(real), labels[part, :real]
            apart = jnp.sum((jnp.exp(one) - jnp.exp(other)) * (one - other)) / 2
            total += WEIGHT * apart - jnp.sum(one[chosen] + other[chosen]) / 2
        return total / REAL

    losses, found = held
    assert {*losses} == {"labels_loss", "r_drop_loss"}
    expected, slopes = jax.jit(jax.value_and_grad(formula))(PARAMS)
    total = losses["labels_loss"] + WEIGHT * losses["r_drop_loss"]
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert losses["r_drop_loss"] > 0.01
    assert_close(found, slopes)


def test_adversarial_training_is_the_formula_around_the_plain_gradient(moved: Any):
    batch, apply = given(), make_apply(ENCODER, STILL.head)
    chosen, mask = (np.arange(REAL), batch["labels"][:REAL]), batch["attention_mask"]
    inputs = {n: batch[n] for n in ("attention_mask", "token_type_ids")}

    def mean(params: Any, added: Any) -> jax.Array:
        words = params["encoder"]["embeddings"]["word"]["embedding"][batch["input_ids"]]
        logits = apply(params, **inputs, inputs_embeds=words + added).logits
        return -jnp.mean(jax.nn.log_softmax(logits[:REAL])[chosen])

    still = np.zeros((*mask.shape, SIZES["hidden_size"]), np.float32)
    slope = jax.jit(jax.grad(mean, 1))(PARAMS, still)
    step = np.asarray(slope, np.float64) * mask[..., None]
    norms = np.sqrt(np.square(step).sum((1, 2), keepdims=True))
    step = (EPSILON * step / np.where(norms > 0, norms, 1)).astype(np.float32)
    expected, slopes = jax.jit(
        jax.value_and_grad(lambda params: mean(params, still) + WEIGHT * mean(params, step))
    )(PARAMS)
    losses, found = moved
    assert {*losses} == {"labels_loss", "adversarial_loss"}
    total = losses["labels_loss"] + WEIGHT * losses["adversarial_loss"]
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert losses["adversarial_loss"] > 1.05 * losses["labels_loss"]
    assert_close(found, slopes)


def test_devices_that_split_rows_and_parameters_drop_alike(held: Any):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2), jax.devices()[:4])
    assert_close(gradients(HELD, TwiceApply(gathering(PLAIN, mesh)), parts=2, mesh=mesh), held)


def test_devices_that_split_rows_tables_and_heads_move_microbatches_alike(moved: Any):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    apply = moving(gathering(make_apply(ENCODER, STILL.head), mesh))
    assert_close(gradients(MOVED, apply, parts=2, mesh=mesh), moved)


def test_packed_texts_are_moved_as_in_rows_of_their_own(moved: Any):
    batch = given()
    lengths = batch["attention_mask"].sum(axis=1)
    rows = [(0, 1), (2, 3), (4,)]
    packed = {n: np.zeros((3, 32), np.int32) for n in ("input_ids", "token_type_ids")}
    packed |= {"sequence_ids": np.zeros((3, 32), np.int32)}
    packed |= {"sequence_starts": np.zeros((3, 2), np.int32)}
    packed |= {"labels": np.full((3, 2), -100, np.int32), "row_ids": np.full((3, 2), -1, np.int32)}
    packed |= {"weights": np.ones((3, 2), np.float32)}
    for row, texts in enumerate(rows):
        start = 0
        for place, text in enumerate(texts):
            columns = slice(start, start + lengths[text])
            for name in ("input_ids", "token_type_ids"):
                packed[name][row, columns] = batch[name][text, : lengths[text]]
            packed["sequence_ids"][row, columns] = place + 1
            packed["sequence_starts"][row, place] = start
            packed["labels"][row, place] = batch["labels"][text]
            packed["row_ids"][row, place] = text
            start += lengths[text]
    found = gradients(MOVED, moving(make_apply(ENCODER, STILL.head)), batch=packed)
    assert_close(found, moved)
