"""Token-type embeddings, which are not looked up where there are two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.head import Head


@pytest.mark.parametrize("types", [1, 2, 3])
def test_token_types_are_rows_of_their_table_and_get_the_sums_of_slopes(types: int):
    config = EncoderConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=0,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=12,
        type_vocab_size=types,
        embedding_norm=False,
    )
    apply, params = make_apply(config, Head()), jax.device_get(init_params(config, Head(), 0))
    draws = np.random.default_rng(types)
    ids, kinds = draws.integers(0, 11, (3, 7)), draws.integers(0, types, (3, 7))
    slope = draws.normal(size=(3, 7, 8)).astype(np.float32)

    def summed(params):
        hidden = apply(params, ids, np.ones((3, 7), bool), kinds).last_hidden_state
        return jnp.sum(hidden * slope), hidden

    (_, hidden), found = jax.value_and_grad(summed, has_aux=True)(params)
    tables = {name: x["embedding"] for name, x in params["encoder"]["embeddings"].items()}
    expected = tables["word"][ids] + tables["position"][:7] + tables["token_type"][kinds]
    np.testing.assert_array_equal(hidden, expected)
    sums = np.zeros((types, 8))
    np.add.at(sums, kinds, slope.astype(np.float64))
    gradient = found["encoder"]["embeddings"]["token_type"]["embedding"]
    np.testing.assert_allclose(gradient, sums, atol=1e-5)
