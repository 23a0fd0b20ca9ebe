"""A head that no table of jaxbert knows, under names of its own, on meshes."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from small_bert import make_training, one_device

from jaxbert.nn.head import Head
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.task import Task
from jaxbert.training.step import StepConfig


@dataclass(frozen=True)
class Squares(Task):
    """The mean over rows of what is squared."""

    head = Head()
    model_inputs = ("features",)

    def loss_weights(self, batch: Any) -> dict[str, jax.Array]:
        return {"loss": jnp.float32(len(batch["features"]))}

    def loss_sums(self, output: Any, batch: Any) -> dict[str, jax.Array]:
        return {"loss": jnp.sum(output**2)}


def test_a_head_under_a_name_of_ones_own_trains_split_as_on_one_device():
    draws = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return draws.normal(size=shape).astype(np.float32)

    params = {
        "pooler": {"dense": {"kernel": drawn(8, 6), "bias": drawn(6)}},
        "tagger": {"maps": drawn(2, 6, 4), "prior": drawn(4)},
    }

    batch = {"features": drawn(8, 8)}

    def apply(params: Any, *, features: jax.Array, key: Any) -> jax.Array:
        dense, tagger = params["pooler"]["dense"], params["tagger"]
        pooled = jnp.tanh(features @ dense["kernel"] + dense["bias"][None])
        return pooled @ tagger["maps"].sum(axis=0) + tagger["prior"][None]

    def trained(mesh: Any) -> Any:
        training = make_training(
            *(apply, Squares(), params, 2),
            optimizer=AdamW(1e-2),
            schedule=ScheduleConfig("constant"),
            step=StepConfig(shard_optimizer=True),
            mesh=mesh,
        )
        [*_, (state, _)] = training.run([batch] * 2)
        return state.params

    found, expected = (
        trained(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))),
        trained(one_device()),
    )
    for ours, theirs, before in zip(*map(jax.tree.leaves, (found, expected, params)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.abs(theirs - before).max() > 1e-2
