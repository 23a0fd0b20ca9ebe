"""The bias of scores by distance, against literal answers and plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import unflatten_dict

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import make_apply, parameter_shapes
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RelativeBias
from jaxbert.nn.relative_bias import ScoreBias, bucket

SMALL = RelativeBias(8, 16)
DISTANCES = np.arange(-30, 31)
ROWS = dict(zip(DISTANCES.tolist(), bucket(DISTANCES, SMALL).tolist(), strict=True))


def test_near_distances_have_buckets_of_their_own_and_far_ones_share_them():
    distances = np.array([0, 1, 2, 3, 5, 6, 15, 16, 99])
    # 2 to 16 in two steps, each of which multiplies the distance by 8^(1/2) = 2.83.
    expected = [0, 1, 2, 2, 2, 3, 3, 3, 3]
    assert bucket(distances, SMALL).tolist() == expected
    ahead = [0, *(4 + of_behind for of_behind in expected[1:])]
    assert bucket(-distances, SMALL).tolist() == ahead


def test_every_pair_has_the_number_of_its_distance_and_head():
    config = EncoderConfig(hidden_size=12, num_attention_heads=3, initializer_range=0.5)
    module = ScoreBias(config, SMALL, nnx.Rngs(0))
    table = np.asarray(module.embedding[...])
    assert table.shape == (8, 3)
    for length in (1, 2, 20):
        found = module(length)
        assert (found.shape, found.dtype) == ((3, length, length), jnp.float32)
        for head, query, key in np.ndindex(3, length, length):
            row = ROWS[query - key]
            assert found[head, query, key] == table[row, head]


def test_the_gradient_of_a_bucket_is_the_sum_over_its_pairs():
    config = EncoderConfig(hidden_size=12, num_attention_heads=3)
    graph, state = nnx.split(ScoreBias(config, SMALL, nnx.Rngs(0)))
    slope = np.random.default_rng(0).normal(size=(3, 11, 11)).astype(np.float32)
    gradient = jax.grad(lambda state: jnp.sum(nnx.merge(graph, state)(11) * slope))(state)
    expected = np.zeros((8, 3))
    for head, query, key in np.ndindex(slope.shape):
        expected[ROWS[query - key], head] += slope[head, query, key]
    np.testing.assert_allclose(gradient["embedding"][...], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("buckets", "furthest", "message"),
    [
        (2, 128, "relative_attention_num_buckets=2: expected an even number of at least 4"),
        (9, 128, "relative_attention_num_buckets=9"),
        (32, 8, "relative_attention_max_distance=8: expected more than the 8 distances"),
    ],
)
def test_impossible_buckets_are_refused(buckets: int, furthest: int, message: str):
    with pytest.raises(UserError, match=message):
        RelativeBias(buckets, furthest)


def test_all_layers_add_the_same_bias_and_wanted_weights_have_it():
    """Far and near layers, of which nothing but the bias speaks."""
    config = EncoderConfig(
        vocab_size=50,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=8,
        layer_types=("full_attention", "sliding_attention"),
        local_attention=8,
        relative_bias=RelativeBias(),
    )
    shapes = parameter_shapes(config, Head())
    zeros = {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}
    # Each token attends to its neighbour behind.
    zeros["encoder/relative_bias/embedding"][1] = 100.0
    apply, ids = make_apply(config, Head()), np.arange(5, 12)[None]
    found = jax.jit(lambda params: apply(params, ids, capture=("attentions",)))(
        unflatten_dict(zeros, sep="/")
    )
    assert len(found.attentions) == 2
    for weights in found.attentions:
        np.testing.assert_allclose(weights[0, :, 1:, :], np.eye(7)[None, :-1].repeat(3, axis=0))
