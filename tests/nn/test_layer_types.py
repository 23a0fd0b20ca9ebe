"""Layers that attend near and far."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.encoder import Encoder
from jaxbert.nn.examples import Examples
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.nn.parts import Convolution, RelativeAttention, RotaryPositions

LOCAL = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=20,
    position_embedding_type="none",
    type_vocab_size=0,
    initializer_range=0.5,
    local_attention=5,
    layer_types=("sliding_attention",),
    rotary=RotaryPositions(),
)
RELATIVE = replace(
    LOCAL,
    layer_types=None,
    rotary=None,
    mask_embeddings=True,
    relative_attention=RelativeAttention(8, 20),
    convolution=Convolution(),
)
IDS = np.random.default_rng(0).integers(5, 131, (1, 12)).astype(np.int32)


def test_a_window_reaches_half_its_width_to_either_side():
    head = Head()
    apply = make_apply(LOCAL, head)
    params = init_params(LOCAL, head, 0)
    weights = jax.jit(lambda p, ids: apply(p, ids, capture=("attentions",)))(params, IDS).attentions
    inside = np.abs(np.arange(12)[:, None] - np.arange(12)) <= 2
    for layer in weights:
        assert (np.asarray(layer)[0] > 0).tolist() == [inside.tolist()] * 4


def test_layer_types_begin_again_after_the_last():
    config = replace(
        LOCAL, num_hidden_layers=5, layer_types=("full_attention", "sliding_attention")
    )
    types = [config.layer_type(layer) for layer in range(5)]
    assert types == ["full_attention", "sliding_attention"] * 2 + ["full_attention"]
    assert replace(LOCAL, layer_types=None).layer_type(1) == "full_attention"
    with pytest.raises(UserError, match="layer_types"):
        replace(LOCAL, layer_types=())


def test_what_layers_share_is_made_once_and_in_the_order_of_the_layers():
    types = ("sliding_attention", "full_attention", "sliding_attention")
    encoder = Encoder(replace(LOCAL, layer_types=types), dtype=jnp.float32, rngs=nnx.Rngs(0))
    made = encoder._inputs(Examples(jnp.ones((1, 4), bool)))
    assert list(made) == ["sliding_attention", "full_attention"]


@pytest.mark.parametrize("config", [LOCAL, RELATIVE], ids=["local", "relative"])
def test_other_tokens_of_the_same_shape_compile_nothing(config: EncoderConfig):
    head = Head("masked_lm")
    apply = make_apply(config, head)
    traces = []

    @jax.jit
    def call(params: Any, ids: jax.Array, mask: jax.Array) -> jax.Array:
        traces.append(ids.shape)
        return apply(params, ids, mask).logits

    for seed in range(2):
        call(init_params(config, head, seed), IDS + seed, np.arange(12)[None] < 9 + seed)
    assert traces == [(1, 12)]
    assert call._cache_size() == 1
