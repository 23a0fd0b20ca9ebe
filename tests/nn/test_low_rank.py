from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbert.adapt.lora import merged, with_factors
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import functional, init_params, make_apply, model_from_params
from jaxbert.nn.head import Head
from jaxbert.nn.linear import Linear, LowRank
from jaxbert.nn.lora import LoRA
from jaxbert.nn.parts import RelativeAttention, RotaryPositions
from jaxbert.tree import flat, map_with_path

SIZES: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "max_position_embeddings": 20,
}
ENCODERS = {
    "post-norm": EncoderConfig(**SIZES),
    "shared layer": EncoderConfig(**SIZES, embedding_size=12, num_hidden_groups=1),
    "shared keys": EncoderConfig(**SIZES, relative_attention=RelativeAttention()),
    "position keys": EncoderConfig(
        **SIZES, relative_attention=RelativeAttention(share_att_key=False)
    ),
    "gated": EncoderConfig(
        **SIZES,
        norm_placement="pre",
        gated_mlp=True,
        rotary=RotaryPositions(),
        num_key_value_heads=2,
    ),
}
HEAD = Head("sequence_classification", labels=("a", "b"))
EVERYWHERE = LoRA(rank=3, alpha=5.0, targets=("attention/.*", "mlp/.*"))
IDS = np.random.default_rng(0).integers(5, 131, (2, 16)).astype(np.int32)


def adapted(encoder: EncoderConfig, lora: LoRA) -> tuple[Any, Any]:
    """Parameters before, and with factors of which none is zero."""
    params = init_params(encoder, HEAD, 0)

    def filled(path: str, leaf: jax.Array) -> jax.Array:
        noise = jax.random.normal(jax.random.key(len(path)), leaf.shape)
        return 0.3 * noise if path.endswith("lora_b") else leaf

    return params, map_with_path(filled, with_factors(params, lora, 1))


@pytest.mark.parametrize("name", ENCODERS)
def test_merged_parameters_compute_the_same_and_fresh_factors_change_nothing(name: str):
    encoder = ENCODERS[name]
    before, params = adapted(encoder, EVERYWHERE)
    plain, apply = make_apply(encoder, HEAD), make_apply(encoder, HEAD, lora=EVERYWHERE)
    first = plain(before, IDS).logits
    np.testing.assert_array_equal(apply(with_factors(before, EVERYWHERE, 1), IDS).logits, first)
    found, whole = apply(params, IDS).logits, merged(params, EVERYWHERE)
    assert np.abs(found - first).max() > 1e-3
    assert flat(whole).keys() == flat(before).keys()
    np.testing.assert_allclose(plain(whole, IDS).logits, found, rtol=1e-5, atol=2e-6)
    again, same = functional(model_from_params(params, encoder, HEAD, lora=EVERYWHERE))
    np.testing.assert_array_equal(again(same, IDS).logits, found)


def test_a_is_drawn_as_peft_draws_it_whatever_else_has_factors():
    params = init_params(ENCODERS["post-norm"], HEAD, 0)
    one = flat(with_factors(params, LoRA(rank=64), 1))
    all_of_them = flat(with_factors(params, LoRA(rank=64, targets=("attention", "mlp")), 1))
    drawn = one["encoder/layers/1/attention/value/lora_a"]
    np.testing.assert_array_equal(drawn, all_of_them["encoder/layers/1/attention/value/lora_a"])
    wide = all_of_them["encoder/layers/1/mlp/down/lora_a"]
    for factor, inputs in ((drawn, 24), (wide, 36)):
        bound = inputs**-0.5
        assert 0.98 * bound < np.abs(factor).max() <= bound
        assert factor.std() == pytest.approx(bound / 3**0.5, rel=0.03)
    assert not np.asarray(one["encoder/layers/1/attention/value/lora_b"]).any()


def test_layers_of_one_block_drop_out_apart_and_the_kernel_reads_everything():
    x, key = jnp.ones((4, 8, 512)), jax.random.key(0)

    def layer(stream: int) -> Linear:
        made = Linear(512, 512, stddev=0.02, dtype=jnp.float32, rngs=nnx.Rngs(0))
        made.low_rank = LowRank(2.0, 0.5, stream)
        made.lora_a, made.lora_b = (nnx.Param(jnp.eye(512)) for _ in range(2))
        return made

    one, other = (layer(stream)(x, key) - layer(stream).total(x) + 2.0 for stream in (1, 2))
    for found in (one, other):
        # What is dropped is gone, what is left is doubled, and both are scaled.
        np.testing.assert_allclose(np.unique(np.round(found, 4)), [0.0, 4.0], atol=1e-3)
        assert float((np.asarray(found) > 2).mean()) == pytest.approx(0.5, abs=0.02)
    assert float((np.abs(one - other) > 2).mean()) == pytest.approx(0.5, abs=0.02)


def test_in_bfloat16_products_are_added_before_they_are_rounded():
    draws = np.random.default_rng(0)
    layer = Linear(64, 48, stddev=0.1, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    layer.low_rank = LowRank(0.75, 0.0, 0)
    layer.lora_a, layer.lora_b = (
        nnx.Param(jnp.asarray(draws.normal(0, 0.3, shape), jnp.float32))
        for shape in ((64, 4), (4, 48))
    )
    x = jnp.asarray(draws.normal(size=(8, 64)), jnp.bfloat16)
    kernel, down, up = (
        np.asarray(p[...].astype(jnp.bfloat16), np.float64)
        for p in (layer.kernel, layer.lora_a, layer.lora_b)
    )
    wide = np.asarray(x, np.float64)
    narrow = np.asarray(jnp.asarray(wide @ down * 0.75, jnp.bfloat16), np.float64)
    np.testing.assert_allclose(layer.total(x), wide @ kernel + narrow @ up, rtol=2e-3, atol=2e-3)
    assert layer(x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("attention/qurey",), "'attention/qurey' matches no dense layer within encoder/layers"),
        (("classifier",), "'classifier' matches no dense layer within encoder/layers"),
        (("attention/(",), r"'attention/\(' is not a regular expression"),
        ((), r"lora.targets=\[\]: no layer would learn"),
    ],
)
def test_targets_that_are_no_layers_are_refused(targets: tuple[str, ...], message: str):
    with pytest.raises(UserError, match=message):
        make_apply(ENCODERS["post-norm"], HEAD, lora=LoRA(targets=targets))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rank": 0}, "rank=0"), ({"alpha": 0.0}, "alpha=0.0"), ({"dropout": 1.0}, "dropout=1.0")],
)
def test_options_have_bounds(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        LoRA(**options)
