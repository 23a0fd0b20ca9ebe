"""Queries, keys and values that a call gives, by the attention weights that they make."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions
from jaxbert.nn.rotary import Rotation, rotate, rotation

POST = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=20,
    initializer_range=0.4,
)
PRE = replace(
    POST,
    norm_placement="pre",
    first_norm=False,
    num_key_value_heads=2,
    position_embedding_type="none",
    rotary=RotaryPositions(),
)
CONFIGS = {
    "norms behind": POST,
    "norms before, grouped keys that are turned": PRE,
    "one layer for all": replace(POST, num_hidden_groups=1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_are_the_softmax_of_what_is_captured(name: str):
    config, head = CONFIGS[name], Head()
    apply, params = make_apply(config, head), init_params(config, head, 0)
    ids = np.random.default_rng(0).integers(5, 131, (2, 7)).astype(np.int32)
    mask = np.array([[1] * 7, [1] * 5 + [0] * 2], np.int32)
    captured = jax.jit(lambda p: apply(p, ids, mask, capture=("projections", "attentions")))
    output = captured(params)
    assert len(output.projections) == len(output.attentions) == 3
    turns = Rotation(*(x[None] for x in rotation(7, 6, 10000.0)))
    for (query, key, value), weights in zip(output.projections, output.attentions, strict=True):
        assert query.shape == (2, 7, 4, 6)
        assert value.shape == key.shape
        if config.rotary is not None:
            query, key = rotate(query, turns), rotate(key, turns)
        key = jnp.repeat(key, query.shape[2] // key.shape[2], axis=2)
        scores = np.einsum("bqnd,bknd->bnqk", query, key) / np.sqrt(6)
        scores = np.where(mask[:, None, None] > 0, scores, -np.inf)
        expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(weights, expected, atol=2e-6)
    assert jax.eval_shape(lambda p: apply(p, ids, mask), params).projections is None
