"""Relative positions and the scores over them, against literal answers and plain loops."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxbert.errors import UserError
from jaxbert.nn.attention import AttentionInputs
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.disentangled import DisentangledAttention
from jaxbert.nn.parts import RelativeAttention
from jaxbert.nn.relative import RelativeEmbeddings, RelativePositions, log_bucket, table_rows

RELATIVE = RelativeAttention(position_buckets=8, max_relative_positions=40)
CONFIG = EncoderConfig(
    hidden_size=12, num_attention_heads=2, initializer_range=0.5, relative_attention=RELATIVE
)


def test_near_positions_have_rows_of_their_own_and_far_ones_share_them():
    distances = np.array([0, 1, 4, 5, 8, 9, 18, 19, 39, 40, 100])
    # Between 4 and 39 three steps, each of which multiplies the distance by (39 / 4)^(1/3) = 2.14.
    expected = [0, 1, 4, 5, 5, 6, 6, 7, 7, 8, 9]
    assert log_bucket(distances, RELATIVE).tolist() == expected
    assert log_bucket(-distances, RELATIVE).tolist() == [-bucket for bucket in expected]


def test_rows_count_from_the_key_that_is_farthest_ahead():
    plain = RelativeAttention(position_buckets=0, max_relative_positions=3)
    assert table_rows(5, plain).tolist() == [
        [3, 2, 1, 0, 0],
        [4, 3, 2, 1, 0],
        [5, 4, 3, 2, 1],
        [5, 5, 4, 3, 2],
        [5, 5, 5, 4, 3],
    ]


def test_more_buckets_than_positions_give_every_position_its_own():
    relative = RelativeAttention(position_buckets=32, max_relative_positions=10)
    assert table_rows(10, relative)[0].tolist() == list(range(32, 22, -1))


@pytest.mark.parametrize("buckets", [-1, 1])
def test_impossible_buckets_are_refused(buckets: int):
    with pytest.raises(UserError, match=f"position_buckets={buckets}"):
        RelativeAttention(position_buckets=buckets)


def test_only_rows_that_occur_are_computed():
    module = RelativeEmbeddings(CONFIG, replace(RELATIVE, norm_rel_ebd=False), nnx.Rngs(0))
    short, long = module(3, jnp.float32), module(99, jnp.float32)
    table = module.embedding[...]
    np.testing.assert_array_equal(short.embeddings, table[6:11])
    np.testing.assert_array_equal(long.embeddings, table)
    assert (short.rows + 6).tolist() == table_rows(3, RELATIVE).tolist()
    assert long.rows.tolist() == table_rows(99, RELATIVE).tolist()


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("kinds", [(), ("c2p",), ("p2c",), ("c2p", "p2c")])
def test_scores_are_the_sum_over_pairs_of_positions(is_shared: bool, kinds: tuple):
    relative = replace(RELATIVE, share_att_key=is_shared, pos_att_type=kinds)
    config = replace(CONFIG, relative_attention=relative)
    attention = DisentangledAttention(config, dtype=jnp.float32, rngs=nnx.Rngs(0))
    draws = np.random.default_rng(0)
    query, keys = draws.normal(size=(2, 2, 7, 2, 6)).astype(np.float32)
    table = draws.normal(size=(16, 12)).astype(np.float32)
    rows = table_rows(7, relative)
    inputs = AttentionInputs(
        jnp.ones((2, 1, 1, 7), bool),
        relative=RelativePositions(jnp.asarray(table), jnp.asarray(rows)),
    )
    found = attention.scores(jnp.asarray(query), jnp.asarray(keys), inputs, None)

    def projected(name: str, shared: str) -> np.ndarray:
        layer = getattr(attention, shared if is_shared else name)
        return (table @ np.asarray(layer.kernel[...], np.float64)).reshape(16, 2, 6)

    expected = np.einsum("bqnd,bknd->bnqk", query, keys).astype(np.float64)
    for q, k in np.ndindex(7, 7):
        if "c2p" in kinds:
            offset = projected("position_key", "key")[rows[q, k]]
            expected[:, :, q, k] += (query[:, q] * offset).sum(-1)
        if "p2c" in kinds:
            offset = projected("position_query", "query")[rows[q, k]]
            expected[:, :, q, k] += (keys[:, k] * offset).sum(-1)
    expected /= np.sqrt(6 * (1 + len(kinds)))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_each_layer_drops_out_relative_positions_of_its_own():
    attention = DisentangledAttention(CONFIG, dtype=jnp.float32, rngs=nnx.Rngs(0))
    positions = RelativeEmbeddings(CONFIG, RELATIVE, nnx.Rngs(1))(5, jnp.float32)
    inputs = AttentionInputs(jnp.ones((1, 1, 1, 5), bool), relative=positions)
    x = jnp.ones((1, 5, 2, 6))
    scores = [
        attention.scores(x, x, inputs, key) for key in (None, *jax.random.split(jax.random.key(0)))
    ]
    assert not jnp.allclose(scores[0], scores[1])
    assert not jnp.allclose(scores[1], scores[2])
