"""Fused attention is attention by its definition, with a mask of dropout that can be told."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_checks import assert_agree, quickly, value_and_gradients

from jaxbert.families import preset
from jaxbert.nn import fused
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.fused import fused_attention
from jaxbert.nn.hashed_mask import draw_seeds, kept_weights
from jaxbert.nn.head import Head
from jaxbert.nn.numerics import attention_weights
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.training.step import gathering

BATCH, LENGTH = 2, 300
COLUMNS = np.arange(LENGTH)
PACKED = jnp.asarray([np.repeat([1, 2, 0], n) for n in ((47, 190, 63), (299, 1, 0))], jnp.int32)
PADDED = jnp.asarray(COLUMNS[None] < np.array([[201], [1]]), jnp.int32)
ONES = jnp.ones_like(PADDED)
KEY = jax.random.key(3)


def defined(query, keys, value, query_ids, key_ids, dropped=0, key=KEY):
    """Attention by its definition, float32; `dropped` of 256 weights are dropped."""
    query, keys, value = (x.astype(jnp.float32) for x in (query, keys, value))
    mask = (query_ids[:, :, None] == key_ids[:, None, :])[:, None]
    scores = jnp.einsum("bqnd,bknd->bnqk", query, keys) * query.shape[-1] ** -0.5
    weights = attention_weights(scores, mask)
    if dropped:
        batch, length, heads, _ = query.shape
        # The kernels fill rows up before they draw.
        kept = kept_weights(draw_seeds(key, batch, heads), length + -length % 128, dropped)
        kept = kept[..., :length, :length].swapaxes(-1, -2)
        weights = jnp.where(kept, weights * (256 / (256 - dropped)), 0.0)
    return jnp.einsum("bnqk,bknd->bqnd", weights, value)


def random_inputs(heads, head_dim, dtype=jnp.float32):
    """Query, keys, value, and a cotangent."""
    rng = np.random.default_rng(0)
    shape = (BATCH, LENGTH, heads, head_dim)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32).astype(dtype) for _ in range(4)]


@pytest.mark.parametrize(
    ("ids", "heads", "head_dim", "rate", "dtype", "scores"),
    [
        ((ONES, PADDED), 2, 64, 0.1, jnp.float32, fused._SCORES),
        ((PACKED, PACKED), 1, 128, 0.5, jnp.float32, 0),
        ((PACKED, PACKED), 8, 32, 0.0, jnp.float32, fused._SCORES),
        ((PACKED, PACKED), 4, 64, 0.1, jnp.bfloat16, 0),
    ],
    ids=["padded", "one head, parts of rows", "four heads, all kept", "bfloat16, parts of rows"],
)
def test_values_and_gradients_are_those_of_the_definition(
    ids, heads, head_dim, rate, dtype, scores, monkeypatch
):
    """`scores`: so many are worked on at a time, 0: as few as can be."""
    monkeypatch.setattr(fused, "_SCORES", scores)
    inputs = random_inputs(heads, head_dim, dtype)
    found = value_and_gradients(fused_attention, inputs, *ids, rate, KEY)
    expected = value_and_gradients(defined, inputs, *ids, round(256 * rate))
    assert_agree(found, expected, dtype, tolerance=1e-5 if dtype == jnp.float32 else 3e-2)


def test_without_a_key_nothing_is_dropped():
    *inputs, _ = random_inputs(2, 64)
    found = quickly(partial(fused_attention, dropout_rate=0.5))(*inputs, PACKED, PACKED)
    np.testing.assert_allclose(found, defined(*inputs, PACKED, PACKED), rtol=1e-5, atol=1e-5)


def test_a_row_of_padding_is_finite():
    found, gradients = value_and_gradients(
        fused_attention, random_inputs(2, 64), ONES, jnp.zeros_like(ONES)
    )
    assert all(np.isfinite(x).all() for x in (found, *gradients))


BERT = replace(
    preset("bert-tiny"), vocab_size=50, num_hidden_layers=1, num_attention_heads=4, hidden_size=256
)
HEAD = Head("masked_lm")


def test_a_model_over_a_mesh_drops_what_it_does_on_one_device():
    """Split rows and heads, packed rows, dropout of weights and of all else."""
    ids = np.random.default_rng(1).integers(1, 50, (2, 140)).astype(np.int32)
    numbers = np.repeat([[1, 2, 0], [1, 2, 2]], (50, 60, 30), axis=1).astype(np.int32)
    apply = make_apply(BERT, HEAD, execution=Execution(attention="fused"))

    def call(mesh):
        split = gathering(apply, mesh)

        def loss(params, key):
            logits = split(params, ids, sequence_ids=numbers, key=key).logits
            return jnp.mean(jnp.where((numbers > 0)[..., None], logits, 0.0) ** 2)

        params = init_params(BERT, HEAD, 0)
        return quickly(jax.value_and_grad(loss))(params, KEY)

    found, gradients = call(make_mesh(MeshConfig(data=2, tensor=2), jax.devices()[:4]))
    expected, right = call(make_mesh(MeshConfig(), jax.devices()[:1]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(right), strict=True):
        scale = max(np.abs(theirs).max(), 1e-3)
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)


COMPILED = """
import sys
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import NamedSharding
from jaxbert.nn.execution import Execution
from jaxbert.nn.fused import fused_attention
from jaxbert.nn.placement import Placement, placed
from jaxbert.parallel.mesh import MeshConfig, make_mesh

chip = "megacore" if sys.argv[1].startswith("v5p") else "default"
topology = topologies.get_topology_desc(
    platform="tpu", topology_name=sys.argv[1], chip_config_name=chip
)
placement = Placement(make_mesh(MeshConfig(tensor=2), topology.devices), ("data",), "tensor")
rows = NamedSharding(placement.mesh, placement.by_row)

def attend(query, keys, value, ids, key):
    return fused_attention(query, keys, value, ids, ids, 0.1, key)

def loss(query, keys, value, ids, seed):
    with placed(placement):
        run = Execution(remat="products").rematerialised(attend)
        found = run(query, keys, value, ids, jax.random.key(seed, impl="rbg"))
        return jnp.sum(found.astype(jnp.float32) ** 2)

step = jax.jit(jax.grad(loss, argnums=(0, 1, 2)), in_shardings=(*[rows] * 4, None))
for length in map(int, sys.argv[2:]):
    x = jax.ShapeDtypeStruct((8, length, 4, 64), jnp.bfloat16)
    ids, seed = (jax.ShapeDtypeStruct(n, jnp.int32) for n in ((8, length), ()))
    compiled = step.lower(x, x, x, ids, seed).compile()
    if not sys.argv[1].startswith("v6e"):  # of which jaxlib 0.10.2 cannot write the text
        print(compiled.as_text().count('custom_call_target="tpu_custom_call"'), "kernels")
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
@pytest.mark.parametrize(
    ("topology", "lengths"),
    [("v5e:2x2", (200, 512, 2048)), ("v5p:2x2x1", (512,)), ("v6e:2x2", (512,))],
)
def test_it_compiles_for_tpus_that_are_not_here(topology, lengths):
    """The longest rows that `auto` gives it too; what a layer computes again is no kernel."""
    from jaxbert.plan.compilation import ENVIRONMENT

    found = subprocess.run(
        [sys.executable, "-c", COMPILED, topology, *map(str, lengths)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout == "2 kernels\n" * (0 if topology.startswith("v6e") else len(lengths))
