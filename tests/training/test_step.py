"""The train step: with a toy model whose every number is known, then with BERT."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_bert import (
    IGNORED,
    ROWS,
    SIZES,
    WITHOUT_DROPOUT,
    Training,
    make_training,
    one_device,
    pretraining_batch,
)

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.model import ModelOutput
from jaxbert.optim.groups import group_labels
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.optim.schedule import ScheduleConfig, make_schedule
from jaxbert.parallel.rules import batch_sharding
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.task import MODEL_INPUTS
from jaxbert.training.state import TrainState, new_state
from jaxbert.training.step import (
    StepConfig,
    jit_evaluation_step,
    make_evaluation_step,
    make_train_step,
)

PARAMS = {
    "encoder": {"embeddings": {"word": {"embedding": jnp.array([[5.0]])}}},
    "pooler": {"dense": {"kernel": jnp.array([[2.0]]), "bias": jnp.array([1.0])}},
}


def toy(params: Any, key: jax.Array) -> ModelOutput:
    """A model whose "hidden state" is its parameters, and whose "pooled" vector a random draw."""
    dense = params["pooler"]["dense"]
    embedding = params["encoder"]["embeddings"]["word"]["embedding"]
    values = jnp.stack([embedding[0, 0], dense["kernel"][0, 0], dense["bias"][0]])
    return ModelOutput(values, pooled=jax.random.uniform(key))


class ToyTask(NamedTuple):
    """The sum of a loss over rows, each of weight one."""

    loss: Callable[[ModelOutput, jax.Array], jax.Array]

    model_inputs: tuple[str, ...] = MODEL_INPUTS
    factors: Mapping[str, float] = MappingProxyType({})
    compares_rows: bool = False
    counts_steps: bool = False

    def loss_factor(self, name: str) -> float:
        return self.factors.get(name, 1.0)

    def loss_weights(self, batch: Any) -> dict[str, jax.Array]:
        return {"loss": jnp.asarray(batch["x"].size, jnp.float32)}

    def loss_sums(self, output: ModelOutput, batch: Any) -> dict[str, jax.Array]:
        return {"loss": jnp.sum(self.loss(output, batch["x"]))}


class MisnamedTask(ToyTask):
    """One whose weight has another name than its loss."""

    def loss_weights(self, batch: Any) -> dict[str, jax.Array]:
        return {"losses": jnp.ones(())}


def square_root(output: ModelOutput, x: jax.Array) -> jax.Array:
    """x = 0 gives a finite loss and a gradient that is not; x = inf neither."""
    return jnp.sqrt(output.last_hidden_state[1] * x)


def linear(output: ModelOutput, x: jax.Array) -> jax.Array:
    """Gradients: 100 for the embedding, 3 for the kernel, 4 for the bias."""
    return jnp.dot(jnp.array([100.0, 3.0, 4.0]), output.last_hidden_state) * x


def draw(output: ModelOutput, x: jax.Array) -> jax.Array:
    """Where a single row of the step has x = 1: what the model drew for it."""
    return output.pooled * x + 0 * output.last_hidden_state[1]


def run_toy(
    loss: Callable[[ModelOutput, jax.Array], jax.Array],
    xs: list[list[list[float]]],
    *,
    apply: Callable[..., ModelOutput] = toy,
    config: StepConfig | None = None,
    seed: int = 0,
    freeze: tuple[str, ...] = (),
    factors: Mapping[str, float] = MappingProxyType({}),
) -> tuple[TrainState, list[dict[str, float]]]:
    """One step per entry of `xs`, each [microbatches][rows]; every row weighs one."""
    optimizer_config = AdamW(0.1, freeze=freeze)
    schedule = make_schedule(ScheduleConfig("linear"), 0.1, 10)
    optimizer = make_optimizer(optimizer_config, schedule, PARAMS)
    config = StepConfig(accumulation_steps=len(xs[0])) if config is None else config
    labels = group_labels(PARAMS, freeze)
    step = jax.jit(
        make_train_step(
            apply,
            ToyTask(loss, factors=factors),  # type: ignore[arg-type]
            *(optimizer, schedule, labels, config, seed),
        )
    )
    state, rows = TrainState(jnp.zeros((), jnp.int32), PARAMS, optimizer.init(PARAMS)), []
    for x in np.array(xs, np.float32):
        state, metrics = step(state, {"x": x})
        rows.append({name: float(value) for name, value in metrics.items()})
    return state, rows


def same(one: Any, other: Any) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


@pytest.mark.parametrize(("bad", "loss"), [(0.0, 0.0), (math.inf, math.inf), (-1.0, math.nan)])
def test_an_update_that_is_not_finite_is_left_out(bad: float, loss: float):
    state, metrics = run_toy(square_root, [[[1.0]], [[bad]], [[4.0]]])
    without, _ = run_toy(square_root, [[[1.0]], [[4.0]]])
    assert (int(state.step), int(without.step)) == (3, 2)
    assert same((state.params, state.opt_state), (without.params, without.opt_state))
    np.testing.assert_equal(metrics[1]["loss"], loss)
    assert not math.isfinite(metrics[1]["loss"] + metrics[1]["grad_norm"])


def test_the_learning_rate_that_is_logged_is_the_one_that_acts():
    _, metrics = run_toy(square_root, [[[1.0]], [[0.0]], [[4.0]]])
    # Of ten linear steps; the second update was left out, so the third step makes it.
    assert [row["learning_rate"] for row in metrics] == pytest.approx([0.1, 0.09, 0.09])


@pytest.mark.parametrize(
    ("rate", "logged"),
    [(lambda count: 0.1 / (1 + count), [0.1, 0.05, 0.05]), (0.1, [0.1, 0.05, 0.1 / 3])],
)
def test_any_optimizer_of_optax_may_make_the_updates(rate: Any, logged: list[float]):
    """The second update is left out. One without a schedule has no count of what it has done."""
    optimizer = optax.sgd(rate)
    step = make_train_step(
        toy,
        ToyTask(square_root),  # type: ignore[arg-type]
        *(optimizer, lambda count: 0.1 / (1 + count), group_labels(PARAMS, ()), StepConfig(), 0),
    )
    state, rows = TrainState(jnp.zeros((), jnp.int32), PARAMS, optimizer.init(PARAMS)), []
    for x in (1.0, 0.0, 4.0):
        state, metrics = step(state, {"x": jnp.full((1, 1), x)})
        rows.append(float(metrics["learning_rate"]))
    assert rows == pytest.approx(logged)


def test_a_bad_microbatch_spoils_the_update_and_not_the_state():
    state, metrics = run_toy(square_root, [[[1.0], [math.inf]]])
    assert same(state.params, PARAMS)
    assert not math.isfinite(metrics[0]["loss"])


def test_the_norm_counts_trained_parameters_only():
    _, metrics = run_toy(linear, [[[1.0]]])
    assert metrics[0]["grad_norm"] == pytest.approx(math.sqrt(100**2 + 3**2 + 4**2))
    state, metrics = run_toy(linear, [[[1.0]]] * 3, freeze=("encoder/embeddings",))
    assert [row["grad_norm"] for row in metrics] == pytest.approx([5.0, 5.0, 5.0])
    assert same(state.params["encoder"], PARAMS["encoder"])
    assert not same(state.params["pooler"], PARAMS["pooler"])


def test_the_factor_of_a_loss_multiplies_the_total_and_its_gradient():
    _, plain = run_toy(linear, [[[1.0]]])
    _, metrics = run_toy(linear, [[[1.0]]], factors={"loss": 50.0, "another": 2.0})
    for name in ("loss", "grad_norm"):
        assert metrics[0][name] == pytest.approx(50 * plain[0][name])


def test_microbatches_add_up_to_the_mean_over_all_rows():
    _, whole = run_toy(linear, [[[1.0, 2.0, 3.0, 6.0]]])
    _, parts = run_toy(linear, [[[1.0, 2.0], [3.0, 6.0]]])
    assert parts[0] == pytest.approx(whole[0])
    assert whole[0]["loss"] == pytest.approx((500 + 6 + 4) * 12 / 4)


def test_a_batch_without_the_axis_of_microbatches_is_refused():
    with pytest.raises(
        UserError, match=r"batch\['x'\] is \[1, 2, 1\]: .*accumulation_steps=2, row"
    ):
        run_toy(linear, [[[[1.0], [2.0]]]], config=StepConfig(accumulation_steps=2))


def test_a_loss_without_its_weight_is_refused():
    task = MisnamedTask(linear)
    optimizer = optax.sgd(0.1)
    step = make_train_step(
        toy,
        task,  # type: ignore[arg-type]
        *(optimizer, lambda count: 0.1, group_labels(PARAMS, ()), StepConfig(), 0),
    )
    state = TrainState(jnp.zeros((), jnp.int32), PARAMS, optimizer.init(PARAMS))
    with pytest.raises(
        UserError, match=r"^MisnamedTask: loss_sums has \['loss'\], loss_weights only \['los"
    ):
        step(state, {"x": jnp.ones((1, 1))})


def test_parameters_that_lie_nowhere_are_told_where_to_lie():
    params = jax.tree.map(np.asarray, PARAMS)
    with pytest.raises(UserError, match=r"^params are NumPy's: put them on the mesh"):
        jit_evaluation_step(make_evaluation_step(toy, ToyTask(linear)), params, one_device())  # type: ignore[arg-type]


def test_every_step_microbatch_and_seed_has_its_own_dropout_key():
    first, second = [[1.0], [0.0]], [[0.0], [1.0]]
    drawn = {
        (seed, number): row["loss"]
        for seed in (0, 1)
        for number, row in enumerate(run_toy(draw, [first, second, first, second], seed=seed)[1])
    }
    assert len(set(drawn.values())) == len(drawn)
    _, again = run_toy(draw, [first, second])
    assert [row["loss"] for row in again] == [drawn[0, 0], drawn[0, 1]]


def test_the_two_microbatches_of_one_step_do_not_share_a_key():
    (_, one), (_, other) = (run_toy(draw, [x]) for x in ([[1.0], [0.0]], [[0.0], [1.0]]))
    assert one[0]["loss"] != other[0]["loss"]


@pytest.mark.parametrize(
    ("name", "expected"), [("auto", "threefry2x32"), ("rbg", "rbg"), ("unsafe_rbg", "unsafe_rbg")]
)
def test_the_dropout_generator_is_the_configured_one(name: Any, expected: str):
    found = []

    def apply(params: Any, key: jax.Array) -> ModelOutput:
        found.append(str(jax.random.key_impl(key)))
        return toy(params, key)

    run_toy(linear, [[[1.0]]], apply=apply, config=StepConfig(dropout_rng=name))
    assert set(found) == {expected}


ENCODER = EncoderConfig(**{**SIZES, "num_hidden_layers": 1}, **WITHOUT_DROPOUT)
TASK = MaskedLanguageModelling()


@pytest.fixture(scope="module")
def params() -> Any:
    return init_params(ENCODER, TASK.head, 0)


def unequal_batch(seed: int) -> dict[str, np.ndarray]:
    """Of the four quarters one has nothing to predict and one a single position."""
    batch = pretraining_batch(seed)
    batch["labels"][:2] = IGNORED
    batch["labels"][2:4, 1:] = IGNORED
    batch["labels"][3] = IGNORED
    batch["next_sentence_label"][5] = IGNORED
    return batch


def bert_training(params: Any, parts: int) -> Training:
    return make_training(
        ENCODER,
        TASK,
        params,
        10,
        optimizer=AdamW(1e-4),
        schedule=ScheduleConfig("linear"),
        step=StepConfig(accumulation_steps=parts),
    )


@pytest.fixture(scope="module")
def whole_and_parts(params: Any) -> tuple[list[Any], list[Any]]:
    batches = [unequal_batch(seed) for seed in range(3)]
    counts = [(batches[0]["labels"][i : i + 2] != IGNORED).sum() for i in range(0, ROWS, 2)]
    assert counts[:2] == [0, 1]
    assert min(counts[2:]) > 1
    whole = list(bert_training(params, 1).run(batches))
    return whole, list(bert_training(params, 4).run(batches, parts=4))


def test_four_microbatches_give_the_losses_of_the_whole_batch(whole_and_parts: Any):
    for (_, whole), (_, parts) in zip(*whole_and_parts, strict=True):
        assert set(whole) == set(parts)
        for name in whole:
            np.testing.assert_allclose(parts[name], whole[name], rtol=1e-6)


def test_four_microbatches_give_the_update_of_the_whole_batch(whole_and_parts: Any):
    (whole, _), (parts, _) = (states[-1] for states in whole_and_parts)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6)
    # Adam hides the size of a gradient; its first moment does not.
    (_, one), (_, other) = (
        optax.tree.get_all_with_path(state.opt_state, "mu")[0] for state in (whole, parts)
    )
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(one))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6 * scale)


def test_rows_beyond_the_vocabulary_stay_zero(whole_and_parts: Any):
    (state, _) = whole_and_parts[0][-1]
    table = state.params["encoder"]["embeddings"]["word"]["embedding"]
    assert table.shape[0] == 256
    assert not table[131:].any()
    assert not state.params["masked_lm"]["bias"][131:].any()
    assert state.params["masked_lm"]["bias"][:131].any()


def test_evaluation_sums_are_not_yet_divided_and_filler_rows_add_nothing(params: Any):
    mesh, batch = one_device(), unequal_batch(0)
    apply = make_apply(ENCODER, TASK.head)
    state = new_state(params, optax.identity(), mesh)
    step = jit_evaluation_step(make_evaluation_step(apply, TASK), state.params, mesh)

    def sums(batch: dict[str, np.ndarray]) -> dict[str, Any]:
        found, rows = step(
            state.params, jax.device_put(batch, batch_sharding(mesh, microbatches=False))
        )
        assert rows == ({}, {})
        return jax.device_get(found)

    found = sums(batch)
    assert found["masked_lm_loss"][1] == (batch["labels"] != IGNORED).sum()
    assert found["next_sentence_loss"][1] == ROWS - 1
    assert found["masked_lm_accuracy"][0] <= found["masked_lm_accuracy"][1]
    filler = {name: x.copy() for name, x in batch.items()}
    for name in ("labels", "next_sentence_label"):
        filler[name][4:] = IGNORED
    first = sums(filler)
    filler = {name: x.copy() for name, x in batch.items()}
    for name in ("labels", "next_sentence_label"):
        filler[name][:4] = IGNORED
    second = sums(filler)
    for name, (total, weight) in found.items():
        assert first[name][0] + second[name][0] == pytest.approx(total, rel=1e-5)
        assert first[name][1] + second[name][1] == weight
