"""Every kind of optimiser against Optax's own, and what all of them have in common."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.optim.groups import GroupConfig, is_decayed
from jaxbert.optim.kinds import Adafactor, AdamW, Lamb, Lion, Muon, OptimizerConfig
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import shardings, update_shardings
from jaxbert.tree import flat, map_with_path

STEPS = 3


def schedule(count: Any) -> Any:
    return 0.02 / (1 + count)


def tree(seed: int) -> Any:
    """Wide and tall matrices, which Adafactor factors from 3 on, and vectors; of few shapes."""
    draws = np.random.default_rng(seed)
    shapes = {
        "encoder/embeddings/word/embedding": (6, 4),
        "encoder/embeddings/norm/scale": (4,),
        "encoder/layers/0/mlp/down/kernel": (6, 4),
        "encoder/layers/1/mlp/up/kernel": (4, 6),
        "encoder/layers/1/mlp/down/bias": (4,),
        "pooler/dense/kernel": (4, 6),
        "pooler/dense/bias": (4,),
    }
    leaves = {path: jnp.asarray(draws.normal(size=s), jnp.float32) for path, s in shapes.items()}
    nested: Any = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = leaf
    return nested


def run(optimizer: optax.GradientTransformation, steps: int = STEPS, scale: float = 1.0) -> Any:
    """Parameters and state after some steps; not compiled where that takes longer."""
    params = tree(0)
    state = optimizer.init(params)
    is_muon = "ns_coeffs" in str(state)
    update = jax.jit(optimizer.update) if is_muon and steps > 1 else optimizer.update
    for seed in range(1, steps + 1):
        gradients = jax.tree.map(lambda x: scale * x, tree(seed))
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def made(config: OptimizerConfig) -> optax.GradientTransformation:
    return make_optimizer(config, schedule, tree(0))


def decays(params: Any) -> Any:
    return map_with_path(lambda path, _: is_decayed(path), params)


def muon(adam: dict[str, float], **options: Any) -> optax.GradientTransformation:
    """Muon for the matrices of the layers, Adam for the rest."""

    def label(path: str, _: Any) -> str:
        is_matrix = path.startswith("encoder/layers/") and path.endswith("kernel")
        return "muon" if is_matrix else "adam"

    kinds = {"muon": optax.contrib.muon(schedule, **options), "adam": optax.adam(schedule, **adam)}
    return optax.partition(kinds, lambda params: map_with_path(label, params))


# No option as it is by default, there or here: what reads none of them would take the same steps.
ADAM = {"b1": 0.7, "b2": 0.8, "eps": 1e-2}
PAIRS: list[tuple[OptimizerConfig, optax.GradientTransformation]] = [
    (
        Adafactor(min_dim_size_to_factor=3, clipping_threshold=1.1),
        optax.adafactor(schedule, min_dim_size_to_factor=3, clipping_threshold=1.1),
    ),
    (
        Adafactor(
            min_dim_size_to_factor=5,
            decay_rate=0.7,
            clipping_threshold=None,
            scale_parameter=False,
        ),
        optax.adafactor(
            schedule,
            min_dim_size_to_factor=5,
            decay_rate=0.7,
            clipping_threshold=None,
            multiply_by_parameter_scale=False,
        ),
    ),
    (
        Lion(weight_decay=0.3, b1=0.7, b2=0.8),
        optax.lion(schedule, 0.7, 0.8, weight_decay=0.3, mask=decays),
    ),
    (
        Muon(weight_decay=0.0, ns_steps=2, consistent_rms=0.3, **ADAM),
        muon(ADAM, consistent_rms=0.3, ns_steps=2),
    ),
    (
        Muon(weight_decay=0.0, momentum=0.8, ns_steps=1, consistent_rms=None, **ADAM),
        muon(ADAM, beta=0.8, ns_steps=1),
    ),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].kind)
def test_a_kind_takes_the_steps_of_optax(pair: Any):
    config, reference = pair
    steps = 1 if config.kind == "muon" and config.ns_steps == 1 else STEPS
    expected, _ = run(optax.chain(optax.clip_by_global_norm(2.0), reference), steps)
    found, _ = run(made(replace(config, max_grad_norm=2.0)), steps)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5), found, expected)


Reference = Callable[[str, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""The step of a parameter from its path, its value, Adam's two moments and the number of steps."""


def by_hand(step_of: Reference) -> Any:
    """The trained tree in float64, with moments that decay by 0.8 and 0.9."""

    def trained(path: str, value: Any, *gradients: Any) -> Any:
        value, m, v = np.asarray(value, np.float64), 0.0, 0.0
        for step, gradient in enumerate(gradients):
            gradient = np.asarray(gradient, np.float64)
            m = 0.8 * m + 0.2 * gradient
            v = 0.9 * v + 0.1 * gradient**2
            value = value - schedule(step) * step_of(path, value, m, v, step + 1)
        return value

    return map_with_path(trained, *(tree(seed) for seed in range(STEPS + 1)))


def test_without_bias_correction_adam_is_that_of_berts_code():
    """`AdamWeightDecayOptimizer.apply_gradients` of Devlin et al. 2018, in float64."""
    config = AdamW(
        bias_correction=False, weight_decay=0.3, max_grad_norm=None, b1=0.8, b2=0.9, eps=1e-2
    )
    found, _ = run(made(config))
    expected = by_hand(
        lambda path, value, m, v, _: m / (np.sqrt(v) + config.eps) + 0.3 * is_decayed(path) * value
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), found, expected)
    corrected, _ = run(made(replace(config, bias_correction=True)))
    assert not np.allclose(corrected["pooler"]["dense"]["bias"], found["pooler"]["dense"]["bias"])


def test_lamb_is_that_of_googles_code_with_corrected_moments():
    """`LAMBOptimizer.apply_gradients` of Lan et al. 2020, in float64: no ratio where no decay."""
    config = Lamb(weight_decay=0.3, max_grad_norm=None, b1=0.8, b2=0.9, eps=1e-2)
    found, _ = run(made(config))

    def step_of(path: str, value: Any, m: Any, v: Any, number: int) -> Any:
        update = m / (1 - 0.8**number) / (np.sqrt(v / (1 - 0.9**number)) + config.eps)
        if path.endswith(("bias", "norm/scale")):
            return update
        update = update + 0.3 * value
        return update * np.linalg.norm(value) / np.linalg.norm(update)

    expected = by_hand(step_of)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5), found, expected)


def test_lamb_moves_a_bias_from_zero_as_far_as_the_rate_says():
    params = {"encoder": {"layers": {"0": {"mlp": {"up": {"bias": jnp.zeros(4)}}}}}}
    optimizer = make_optimizer(Lamb(), lambda _: 1e-3, params)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, -1e-3), params)
    state, found = optimizer.init(params), params
    for _ in range(3):
        updates, state = optimizer.update(gradients, state, found)
        found = optax.apply_updates(found, updates)
    np.testing.assert_allclose(flat(found)["encoder/layers/0/mlp/up/bias"], 3e-3, rtol=1e-2)


ZEROS = jnp.zeros((16, 8))


def test_lamb_moves_a_table_from_zero_as_one_of_the_least_size():
    """DeBERTa-v3's difference of embeddings, whose ratio was that of its first steps for ever."""
    at = "discriminator/encoder/embeddings/word/embedding"
    params = {"discriminator": {"encoder": {"embeddings": {"word": {"embedding": ZEROS}}}}}
    # From 0, as after a warm-up, where the first step goes nowhere.
    optimizer = make_optimizer(Lamb(weight_decay=0.0), lambda count: 1e-2 * (count > 0), params)
    draws = np.random.default_rng(0).normal(size=ZEROS.shape)
    gradients = jax.tree.map(lambda x: jnp.asarray(draws, jnp.float32), params)
    state, found, update = optimizer.init(params), params, jax.jit(optimizer.update)
    for _ in range(21):
        updates, state = update(gradients, state, found)
        found = optax.apply_updates(found, updates)
    rms = np.sqrt(np.mean(np.square(flat(found)[at])))
    np.testing.assert_allclose(rms, 20 * 1e-2 * 1e-3, rtol=1e-2)


KINDS = (AdamW, partial(Adafactor, min_dim_size_to_factor=3), Lamb, Lion, partial(Muon, ns_steps=1))
GROUP = GroupConfig("pooler/dense/kernel", factor=4.0, weight_decay=0.0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind().kind)
def test_rates_by_depth_and_group_multiply_the_steps_of_every_kind(kind: Any):
    config = kind(weight_decay=0.0, max_grad_norm=None)
    plain, _ = run(made(config), steps=1)
    config = replace(config, layer_decay=0.5, groups=(GROUP,), freeze=("embeddings/word",))
    found, state = run(made(config), steps=1)
    before, plain, found = flat(tree(0)), flat(plain), flat(found)
    factors = {"encoder/layers/1": 0.5, "encoder/layers/0": 0.25, "encoder/embeddings": 0.125}
    for path in before:
        if path == "encoder/embeddings/word/embedding":
            np.testing.assert_array_equal(found[path], before[path])
            continue
        factor = next((f for prefix, f in factors.items() if path.startswith(prefix)), 1.0)
        factor = 4.0 if path == "pooler/dense/kernel" else factor
        step = plain[path] - before[path]
        np.testing.assert_allclose(found[path] - before[path], factor * step, rtol=0, atol=2e-6)
    assert not any("embeddings/word" in path for path in flat(state))


@pytest.mark.parametrize("kind", [*KINDS[:2], *KINDS[3:]], ids=lambda kind: kind().kind)
def test_decay_is_the_rate_times_the_parameter_whatever_the_gradient(kind: Any):
    config = kind(weight_decay=0.1, groups=(replace(GROUP, factor=None, weight_decay=0.5),))
    found, _ = run(made(config), steps=1, scale=0.0)
    for path, value in flat(tree(0)).items():
        rate = 0.5 if path == "pooler/dense/kernel" else 0.1 * is_decayed(path)
        np.testing.assert_allclose(flat(found)[path], value * (1 - 0.02 * rate), rtol=1e-6)


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[4]], ids=lambda kind: kind().kind)
def test_a_state_that_is_split_over_devices_takes_the_same_steps(kind: Any):
    """Of the kinds that look at more than one entry at a time."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    optimizer, params = made(kind()), tree(0)
    places = update_shardings(params, mesh), update_shardings(optimizer.init(params), mesh)
    split = jax.jit(
        lambda gradients, state, params: optimizer.update(gradients, state, params),
        in_shardings=(places[0], places[1], places[0]),
        out_shardings=places,
    )
    found, expected = (
        update(tree(1), optimizer.init(params), params) for update in (split, optimizer.update)
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind().kind)
def test_the_state_of_every_kind_has_its_places_on_a_mesh(kind: Any):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    state = jax.eval_shape(made(kind()).init, tree(0))
    places, split = flat(shardings(state, mesh)), flat(update_shardings(state, mesh))
    for path, leaf in flat(state).items():
        is_moment = leaf.ndim and not any(x in path for x in ("v_row", "v_col", "ns_coeffs"))
        if is_moment and leaf.size > 1 and path.endswith("mlp/up/kernel"):
            assert places[path].spec == PartitionSpec("fsdp", "tensor")
            assert split[path].spec in {
                PartitionSpec(("fsdp", "data"), "tensor"),
                PartitionSpec("fsdp", ("tensor", "data")),
            }
        elif not is_moment or leaf.size == 1:
            assert places[path].is_fully_replicated, path


def test_a_kind_is_named_and_adamw_goes_without_saying():
    def optimizer(*overrides: str, **values: Any) -> OptimizerConfig:
        return parse_config(TrainingSettings, {"optimizer": values}, overrides).optimizer

    assert optimizer(learning_rate=1e-3, layer_decay=0.9) == AdamW(1e-3, layer_decay=0.9)
    assert optimizer("optimizer.b1=0.5") == AdamW(b1=0.5)
    assert optimizer("optimizer.kind=lamb", learning_rate=1e-3) == Lamb(1e-3)
    assert optimizer(kind="lion", b1=0.8) == Lion(b1=0.8)
    group = {"params": "pooler", "factor": 2.0}
    assert optimizer(kind="muon", groups=[group]) == Muon(groups=(GroupConfig(**group),))
    for values, message in (
        ({"momentum": 0.9}, "'optimizer.kind' is missing: valid: adafactor, adamw, lamb"),
        ({"lerning_rate": 1.0}, "unknown key 'optimizer.lerning_rate': did you mean 'learning_"),
        ({"kind": "adam"}, "'optimizer.kind': no 'adam': did you mean 'adamw'"),
        ({"kind": "lion", "eps": 1e-3}, "unknown key 'optimizer.eps'"),
        ({"kind": "lamb", "b1": 1.5}, "'optimizer.b1': Input should be less"),
        ({"freeze_layers": -1}, "'optimizer.freeze_layers': Input should be greater"),
        ({"groups": [{"params": "x", "factr": 2}]}, "'optimizer.groups.0.factr': did you mean"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            optimizer(**values)
        assert "\n" not in str(caught.value)
