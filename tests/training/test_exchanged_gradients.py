"""What devices exchange for the gradient of a batch, and that losses between rows see all rows."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_bert import ROWS, SIZES, make_training, pretraining_batch

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params, init_params, make_apply
from jaxbert.nn.placement import all_rows, first_row
from jaxbert.optim.groups import FROZEN, group_labels
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import batch_sharding, shardings
from jaxbert.plan.collectives import collectives_of
from jaxbert.plan.hlo import Program
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.training.gradients import make_gradients
from jaxbert.training.step import StepConfig, gathering
from jaxbert.tree import flat

ENCODER, TASK = EncoderConfig(**SIZES | {"num_hidden_layers": 1}), MaskedLanguageModelling()
PARTS = 2
BYTES = sum(4 * leaf.size for leaf in jax.tree.leaves(abstract_params(ENCODER, TASK.head)))


def lowered(dtype: Any, freeze: tuple[str, ...] = (), **axes: int) -> jax.stages.Lowered:
    """Gradients of a small BERT in bfloat16, two microbatches of a row for each of 8 devices."""
    mesh = make_mesh(MeshConfig(**axes))
    params = abstract_params(ENCODER, TASK.head)
    places = shardings(params, mesh)
    params = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), params, places
    )
    apply = gathering(make_apply(ENCODER, TASK.head, jnp.bfloat16), mesh)
    labels = group_labels(params, freeze)
    gradients = make_gradients(apply, TASK, labels, dtype, mesh, jnp.bfloat16)
    place = batch_sharding(mesh, microbatches=True)
    batch = {
        name: jax.ShapeDtypeStruct((PARTS, *x.shape), x.dtype, sharding=place)
        for name, x in pretraining_batch(0).items()
    }

    def of_step(params: Any, batch: Any) -> Any:
        return gradients(params, batch, jax.random.key(0, impl="rbg"))

    return jax.jit(of_step, out_shardings=(None, places)).lower(params, batch)


def exchanged(program: jax.stages.Lowered, kind: str = "all_reduce") -> dict[str, int]:
    """Numbers of arrays that devices add up or put together, by their type, as the program is
    written; of what is put together a device's part."""
    found: dict[str, int] = {}
    pattern = (
        rf"stablehlo.{kind}\".*?> : \((.*?)\) ->"
        if kind == "all_gather"
        else (rf"stablehlo.{kind}\".*?\}}\) : \((.*?)\) ->")
    )
    for operands in re.findall(pattern, program.as_text(), re.DOTALL):
        for shape, dtype in re.findall(r"tensor<((?:\d+x)*)(\w+)>", operands):
            size = int(np.prod([int(n) for n in shape.split("x") if n]))
            found[dtype] = found.get(dtype, 0) + size * (size > 1)
    return found


def test_a_compiled_step_exchanges_every_gradient_once_whatever_its_uses_and_microbatches():
    # LLVM's passes change nothing of it.
    quickly = {"xla_backend_optimization_level": 0}
    compiled = lowered("float32", data=8).compile(compiler_options=quickly)
    program = Program.parse(compiled.as_text())
    mesh = {"replica": 1, "data": 8, "fsdp": 1, "tensor": 1}
    found = collectives_of(program, mesh)
    assert {each.kind for each in found} == {"all-reduce"}
    assert 0 <= sum(each.num_bytes for each in found) - BYTES <= 64, "and a few scalars"


def test_gradients_are_exchanged_in_the_chosen_precision_and_frozen_ones_not_at_all():
    frozen = r"encoder/embeddings/.*"
    labels = flat(group_labels(abstract_params(ENCODER, TASK.head), (frozen,)))
    leaves = flat(abstract_params(ENCODER, TASK.head))
    trained = sum(leaf.size for path, leaf in leaves.items() if labels[path] != FROZEN)
    program = lowered("bfloat16", (frozen,), data=8)
    assert exchanged(program) == {"bf16": trained, "f32": 0}


@pytest.mark.parametrize(("dtype", "name"), [("float32", "f32"), ("bfloat16", "bf16")])
def test_a_step_exchanges_gradients_in_the_precision_that_its_section_says(dtype: Any, name: str):
    shapes = abstract_params(ENCODER, TASK.head)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    made = make_training(
        *(ENCODER, TASK, params, 10),
        optimizer=AdamW(),
        schedule=ScheduleConfig(),
        step=StepConfig(gradient_dtype=dtype),
        mesh=make_mesh(MeshConfig(data=8)),
    )
    batch = made.put(pretraining_batch(0))
    program = made.step.lower(made.state, batch)  # type: ignore[attr-defined]
    assert exchanged(program)[name] == BYTES // 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_split_parameters_are_gathered_as_they_are_read_and_gradients_scattered_as_chosen(dtype):
    leaves = flat(abstract_params(ENCODER, TASK.head))
    # Norms, biases, token types and the two classes of next sentence are whole on every device.
    split = {
        path: leaf.size for path, leaf in leaves.items() if leaf.ndim == 2 and min(leaf.shape) > 2
    }
    rounded = sum(size for path, size in split.items() if path.endswith("kernel"))
    tables = sum(split.values()) - rounded
    program = lowered(dtype, fsdp=8, data=1)
    parts = {"bf16": rounded // 8, "f32": tables // 8}
    assert exchanged(program, "all_gather") == parts
    name = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    assert exchanged(program, "reduce_scatter") == {name: rounded + tables}
    whole = sum(leaf.size for path, leaf in leaves.items() if path not in split)
    assert exchanged(program)[name] == whole


def test_parameters_that_are_sent_rounded_have_the_gradients_of_whole_ones():
    # As ALBERT: kernels of one layer, which is used twice, and others that are used once.
    encoder = replace(ENCODER, num_hidden_layers=2, num_hidden_groups=1)
    params = init_params(encoder, TASK.head, 0)
    batch = {name: np.stack([x] * PARTS) for name, x in pretraining_batch(0).items()}

    def of(**axes: int) -> Any:
        mesh = make_mesh(MeshConfig(**axes))
        apply = gathering(make_apply(encoder, TASK.head, jnp.bfloat16), mesh)
        labels = group_labels(params)
        gradients = make_gradients(apply, TASK, labels, "float32", mesh, jnp.bfloat16)
        placed = jax.device_put(params, shardings(params, mesh))
        return jax.jit(gradients)(placed, batch, jax.random.key(0))

    (losses, found), (right, expected) = of(data=1, fsdp=8), of(data=8)
    for name in losses:
        np.testing.assert_allclose(losses[name], right[name], rtol=1e-6)
    for path, theirs in flat(expected).items():
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(flat(found)[path], theirs, atol=1e-5 * scale, err_msg=path)


def test_split_parameters_in_bfloat16_have_gradients_in_bfloat16():
    params = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), abstract_params(ENCODER, TASK.head)
    )
    mesh = make_mesh(MeshConfig(data=1, fsdp=8))
    apply = gathering(make_apply(ENCODER, TASK.head, jnp.bfloat16), mesh)
    gradients = make_gradients(apply, TASK, group_labels(params), "float32", mesh, jnp.bfloat16)
    batch = {name: np.stack([x] * PARTS) for name, x in pretraining_batch(0).items()}
    _, found = jax.eval_shape(gradients, params, batch, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}


def test_a_device_draws_the_dropout_of_its_own_rows():
    text = lowered("float32", data=4, tensor=2).as_text()
    drawn = re.findall(r"stablehlo.rng_bit_generator .*tensor<(\d+)x[\dx]*ui8>", text)
    assert len(drawn) == 4
    assert set(drawn) == {str(ROWS // 4)}


class BetweenRows(SimpleNamespace):
    """The sum, over pairs of different rows, of the square of their product."""

    model_inputs = ("x",)
    compares_rows = False

    def loss_factor(self, name: str) -> float:
        return 1.0

    def loss_weights(self, batch: Any) -> dict[str, jax.Array]:
        return {"loss": jnp.asarray(batch["x"].shape[0], jnp.float32)}

    def loss_sums(self, output: jax.Array, batch: Any) -> dict[str, jax.Array]:
        products = output @ all_rows(output).T
        own = first_row(len(output)) + jnp.arange(len(output))
        same = own[:, None] == jnp.arange(products.shape[1])[None]
        return {"loss": jnp.sum(jnp.where(same, 0, products**2))}


@pytest.mark.parametrize("axes", [{"data": 8}, {"replica": 2, "data": 2, "fsdp": 2}])
def test_a_loss_between_rows_is_that_of_one_device(axes: dict[str, int]):
    draws = np.random.default_rng(0)
    batch = {"x": draws.normal(size=(PARTS, 16, 6)).astype(np.float32)}
    kernel = draws.normal(size=(6, 4)).astype(np.float32)
    params = {"pooler": {"dense": {"kernel": kernel, "bias": np.ones(4, np.float32)}}}

    def apply(params: Any, *, x: jax.Array, key: jax.Array) -> jax.Array:
        dense = params["pooler"]["dense"]
        return x @ dense["kernel"] + dense["bias"][None]

    labels = jax.tree.map(lambda _: "head", params)

    def of(mesh: Any) -> Any:
        gradients = make_gradients(apply, BetweenRows(), labels, "float32", mesh)  # type: ignore[arg-type]
        return jax.jit(gradients)(params, batch, jax.random.key(0))

    (losses, found), (right, expected) = of(make_mesh(MeshConfig(**axes))), of(None)
    np.testing.assert_allclose(losses["loss"], right["loss"], rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_weights_that_add_up_to_less_than_one_are_divided_by_as_they_are():
    task = SimpleNamespace(
        model_inputs=("x",),
        compares_rows=False,
        loss_factor=lambda name: 1.0,
        loss_weights=lambda batch: {"loss": jnp.sum(batch["weights"])},
        loss_sums=lambda output, batch: {"loss": jnp.sum(batch["weights"] * output)},
    )
    params = {"scale": jnp.float32(3.0)}
    batch = {"x": jnp.array([[1.0, 2.0]]), "weights": jnp.array([[0.125, 0.125]])}

    def apply(params: Any, x: Any, key: Any) -> Any:
        return params["scale"] * x

    for weights, expected in ((batch["weights"], (4.5, 1.5)), (jnp.zeros((1, 2)), (0.0, 0.0))):
        gradients = make_gradients(apply, task, {"scale": "head"}, "float32", None)
        losses, found = gradients(params, batch | {"weights": weights}, jax.random.key(0))
        assert (float(losses["loss"]), float(found["scale"])) == expected
