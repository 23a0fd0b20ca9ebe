"""Kernels compute what XLA's attention does; which one runs follows from a small table."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_checks import assert_agree, quickly, value_and_gradients

from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.nn import kernels
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import abstract_params, init_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.nn.kernels import AttentionCall, choose_kernel, cudnn_attention
from jaxbert.nn.numerics import attention_weights
from jaxbert.nn.parts import RotaryPositions
from jaxbert.nn.placement import Placement, placed
from jaxbert.nn.splash import block_size, splash_attention
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.training.step import gathering

LENGTH, HEADS, HEAD_DIM = 150, 2, 16
COLUMNS = np.arange(LENGTH)
PACKED = jnp.asarray(np.where(COLUMNS < 47, 1, np.where(COLUMNS < 139, 2, 0))[None], jnp.int32)
PADDED = jnp.asarray((COLUMNS < 101)[None], jnp.int32)
ONES = jnp.ones_like(PADDED)

HEAD = Head("masked_lm")
MODERN = EncoderConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=32,
    max_position_embeddings=256,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    layer_types=("full_attention", "sliding_attention"),
    local_attention=24,
    rotary=RotaryPositions(),
    position_embedding_type="none",
)
BERT = replace(MODERN, layer_types=None, rotary=None, attention_probs_dropout_prob=0.1)


def defined(query, keys, value, query_ids, key_ids, reach=None):
    """Attention by its definition, float32."""
    shared_by = query.shape[2] // keys.shape[2]
    query, keys, value = (x.astype(jnp.float32) for x in (query, keys, value))
    keys, value = (jnp.repeat(x, shared_by, axis=2) for x in (keys, value))
    mask = (query_ids[:, :, None] == key_ids[:, None, :])[:, None]
    if reach is not None:
        columns = np.arange(query.shape[1])
        mask = mask & (np.abs(columns[:, None] - columns[None, :]) <= reach)[None, None]
    scores = jnp.einsum("bqnd,bknd->bnqk", query, keys) * query.shape[-1] ** -0.5
    return jnp.einsum("bnqk,bknd->bqnd", attention_weights(scores, mask), value)


def random_inputs(shared=HEADS, dtype=jnp.float32, batch=1):
    """Query, keys, value, and a cotangent."""
    rng = np.random.default_rng(0)
    sizes = (HEADS, shared, shared, HEADS)
    return [
        jnp.asarray(rng.normal(size=(batch, LENGTH, n, HEAD_DIM)), jnp.float32).astype(dtype)
        for n in sizes
    ]


@pytest.mark.parametrize(
    ("ids", "shared", "reach", "dtype"),
    [
        ((ONES, PADDED), HEADS, None, jnp.float32),
        ((PACKED, PACKED), 1, 20, jnp.float32),
        ((PACKED, PACKED), HEADS, None, jnp.bfloat16),
    ],
    ids=["padded", "packed, local, grouped", "packed, bfloat16"],
)
def test_splash_is_attention_by_its_definition(ids, shared, reach, dtype):
    inputs = random_inputs(shared, dtype)
    found = value_and_gradients(splash_attention, inputs, *ids, reach)
    expected = value_and_gradients(defined, inputs, *ids, reach)
    assert_agree(found, expected, dtype, tolerance=1e-5 if dtype == jnp.float32 else 2e-2)


def test_a_row_of_padding_is_finite():
    found, gradients = value_and_gradients(
        splash_attention, random_inputs(), ONES, jnp.zeros_like(ONES)
    )
    assert all(np.isfinite(x).all() for x in (found, *gradients))


def test_blocks_divide_the_length():
    assert [block_size(n) for n in (128, 384, 512, 640, 1152, 8192)] == [
        128,
        384,
        512,
        128,
        384,
        512,
    ]


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig(data=2, tensor=2), jax.devices()[:4])


def test_keys_that_heads_on_two_devices_share(mesh):
    *inputs, _ = random_inputs(shared=1, batch=2)
    ids = jnp.repeat(PACKED, 2, axis=0)
    with placed(Placement(mesh, ("data",), "tensor")):
        found = quickly(splash_attention)(*inputs, ids, ids)
    expected = defined(*inputs, ids, ids)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_model_over_a_mesh_computes_the_same_by_splash(mesh):
    """Packed rows, rotary positions, local windows, shared keys, split rows and heads."""
    ids = np.random.default_rng(1).integers(1, 50, (2, 140)).astype(np.int32)
    numbers = np.repeat([[1, 2, 0], [1, 2, 2]], (50, 60, 30), axis=1).astype(np.int32)
    weights = jnp.asarray(numbers > 0, jnp.float32)[..., None]

    def call(attention):
        apply = make_apply(MODERN, HEAD, execution=Execution(attention=attention))
        apply = gathering(apply, mesh)

        def loss(params):
            logits = apply(params, ids, sequence_ids=numbers).logits * weights
            return jnp.sum(logits**2), logits

        params = init_params(MODERN, HEAD, 0)
        return quickly(jax.value_and_grad(loss, has_aux=True))(params)

    (_, found), gradients = call("splash")
    (_, expected), right = call("xla")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(right), strict=True):
        scale = max(np.abs(theirs).max(), 1.0)
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-5)


def shapes(config, attention, **call):
    apply = make_apply(config, HEAD, execution=Execution(attention=attention))
    ids = np.ones((1, 140), np.int32)
    return jax.eval_shape(lambda p: apply(p, ids, **call), abstract_params(config, HEAD))


def test_weights_that_are_wanted_are_computed_whatever_the_kernel():
    found = shapes(MODERN, "splash", capture=("attentions",)).attentions
    assert [x.shape for x in found] == [(1, 4, 140, 140)] * 2


def test_a_kernel_asked_for_by_name_never_drops_an_option():
    key = jax.random.key(0)
    with pytest.raises(UserError, match=r"no dropout.*attention_probs_dropout_prob=0.*auto"):
        shapes(BERT, "splash", key=key)
    shapes(BERT, "splash")
    shapes(BERT, "auto", key=key)
    with pytest.raises(UserError, match=r"'fused' takes heads that together fill registers of 128"):
        shapes(BERT, "fused", key=key)
    deberta = replace(preset("deberta-v3-small"), vocab_size=50, num_hidden_layers=1)
    with pytest.raises(UserError, match="disentangled"):
        shapes(deberta, "splash")
    mpnet = replace(preset("mpnet-base"), vocab_size=50, num_hidden_layers=1)
    for kernel in ("fused", "splash", "cudnn"):
        with pytest.raises(UserError, match=rf"'{kernel}': no kernel adds a bias .*=auto"):
            shapes(mpnet, kernel)
    with pytest.raises(UserError, match="'cudnn' runs on gpu, and this is cpu"):
        shapes(MODERN, "cudnn")


@pytest.mark.parametrize(
    ("platform", "call", "kernel"),
    [
        ("tpu", AttentionCall(256, 12, 64, jnp.bfloat16), "xla"),
        ("tpu", AttentionCall(384, 12, 64, jnp.bfloat16), "fused"),
        ("tpu", AttentionCall(512, 12, 64, jnp.bfloat16, drops_weights=True), "fused"),
        ("tpu", AttentionCall(2048, 12, 64, jnp.bfloat16), "fused"),
        # Of 12 heads of 32 a device has 6, which fill one register and a half.
        ("tpu", AttentionCall(512, 12, 32, jnp.bfloat16), "xla"),
        ("tpu", AttentionCall(512, 16, 32, jnp.bfloat16), "fused"),
        ("tpu", AttentionCall(2048, 16, 32, jnp.bfloat16), "xla"),
        ("tpu", AttentionCall(512, 12, 64, jnp.bfloat16, is_local=True), "xla"),
        ("tpu", AttentionCall(1024, 12, 64, jnp.bfloat16, is_local=True), "splash"),
        ("tpu", AttentionCall(4096, 12, 64, jnp.bfloat16), "splash"),
        ("tpu", AttentionCall(1024, 3, 64, jnp.bfloat16), "splash"),
        ("tpu", AttentionCall(8192, 12, 64, jnp.bfloat16, drops_weights=True), "xla"),
        ("tpu", AttentionCall(512, 12, 64, jnp.bfloat16, wants_weights=True), "xla"),
        ("tpu", AttentionCall(512, 12, 64, jnp.bfloat16, is_disentangled=True), "xla"),
        ("tpu", AttentionCall(512, 12, 64, jnp.bfloat16, is_biased=True), "xla"),
        ("tpu", AttentionCall(4096, 12, 64, jnp.bfloat16, is_biased=True), "xla"),
        ("tpu", AttentionCall(8192, 12, 24, jnp.bfloat16), "xla"),
        ("gpu", AttentionCall(8192, 12, 64, jnp.bfloat16), "xla"),
        ("cpu", AttentionCall(8192, 12, 64, jnp.bfloat16), "xla"),
    ],
)
def test_auto_follows_the_table(platform, call, kernel, mesh, monkeypatch):
    monkeypatch.setattr(kernels, "current_platform", lambda: platform)
    with placed(Placement(mesh, ("data",), "tensor")):
        assert choose_kernel("auto", call) == kernel


def test_auto_leaves_a_model_that_nobody_placed_to_xla(monkeypatch):
    monkeypatch.setattr(kernels, "current_platform", lambda: "tpu")
    assert choose_kernel("auto", AttentionCall(8192, 12, 64, jnp.bfloat16)) == "xla"


def test_cudnn_takes_bfloat16_only(monkeypatch):
    monkeypatch.setattr(kernels, "current_platform", lambda: "gpu")
    assert choose_kernel("cudnn", AttentionCall(512, 12, 64, jnp.bfloat16)) == "cudnn"
    with pytest.raises(UserError, match="takes bfloat16"):
        choose_kernel("cudnn", AttentionCall(512, 12, 64, jnp.float32))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (AttentionCall(2049, 12, 64, jnp.bfloat16), "rows of at most 2048 tokens, found 2049"),
        (AttentionCall(1025, 12, 32, jnp.bfloat16), "rows of at most 1024 tokens, found 1025"),
        (AttentionCall(128, 12, 64, jnp.bfloat16, is_local=True), "no local windows: .*auto"),
    ],
)
def test_what_cannot_be_fused_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        choose_kernel("fused", call)


@pytest.fixture
def cudnn_is_xla(monkeypatch):
    """The same call, computed by XLA."""
    call = jax.nn.dot_product_attention
    monkeypatch.setattr(
        jax.nn,
        "dot_product_attention",
        lambda *inputs, implementation, mask: call(*inputs, mask=mask, implementation="xla"),
    )


@pytest.mark.parametrize("kernel", ["splash", "cudnn"])
@pytest.mark.parametrize("shared", [1, 2])
def test_kernels_are_split_by_head_where_rows_are_split_already(kernel, shared, mesh, cudnn_is_xla):
    """As in the step, where a device sees its own rows."""
    *inputs, _ = random_inputs(shared=shared, batch=2)
    ids = jnp.concatenate([PACKED, PADDED])

    def of_own_rows(query, keys, value, ids):
        with placed(Placement(mesh, ("data",), "tensor")):
            if kernel == "splash":
                return splash_attention(query, keys, value, ids, ids)
            mask = (ids[:, :, None] == ids[:, None, :])[:, None]
            return cudnn_attention(query, keys, value, mask)

    spec = jax.P("data")
    split = jax.shard_map(
        of_own_rows,
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        axis_names={"data"},
        check_vma=False,
    )
    expected = defined(*inputs, ids, ids)
    np.testing.assert_allclose(quickly(split)(*inputs, ids), expected, rtol=1e-5, atol=1e-5)


def test_what_cudnn_is_asked_for_is_attention(cudnn_is_xla):
    *inputs, _ = random_inputs(shared=1)
    mask = jnp.asarray(PADDED, bool)[:, None, None, :]
    expected = defined(*inputs, ONES, PADDED)
    np.testing.assert_allclose(cudnn_attention(*inputs, mask), expected, rtol=1e-5, atol=1e-5)


COMPILED = """
import jax, jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import NamedSharding
from jaxbert.nn.kernels import AttentionCall, choose_kernel
from jaxbert.nn.placement import Placement, placed
from jaxbert.nn.splash import splash_attention
from jaxbert.parallel.mesh import MeshConfig, make_mesh

devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices
placement = Placement(make_mesh(MeshConfig(tensor=2), devices), ("data",), "tensor")
rows = NamedSharding(placement.mesh, placement.by_row)

def loss(query, keys, value, ids):
    with placed(placement):
        assert choose_kernel("auto", AttentionCall(4096, 12, 64, query.dtype)) == "splash"
        return jnp.sum(splash_attention(query, keys, value, ids, ids).astype(jnp.float32) ** 2)

step = jax.jit(jax.grad(loss, argnums=(0, 1, 2)), in_shardings=rows)
x = jax.ShapeDtypeStruct((4, 200, 2, 64), jnp.bfloat16)
text = step.lower(x, x, x, jax.ShapeDtypeStruct((4, 200), jnp.int32)).compile().as_text()
print(text.count('custom_call_target="tpu_custom_call"'), "kernels")
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_forward_and_backward_compile_for_a_tpu_that_is_not_here():
    from jaxbert.plan.compilation import ENVIRONMENT

    found = subprocess.run(
        [sys.executable, "-c", COMPILED],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout == "2 kernels\n"
