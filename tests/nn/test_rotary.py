"""Rotary positions against their definition in complex numbers."""

import jax.numpy as jnp
import numpy as np

from jaxbert.nn.rotary import Rotation, frequencies, rotate, rotation

X = np.random.default_rng(0).normal(size=(2, 9, 3, 8)).astype(np.float32)


def of_nine(theta: float) -> Rotation:
    """Positions 0 to 8, the same in every row."""
    return Rotation(*(table[None] for table in rotation(9, 8, theta)))


def test_every_pair_is_turned_by_its_own_angle():
    pairs = X[..., :4].astype(np.float64) + 1j * X[..., 4:]
    angles = np.arange(9)[:, None] / 100.0 ** (np.arange(4) / 4)
    turned = pairs * np.exp(1j * angles)[None, :, None]
    found = rotate(jnp.asarray(X), of_nine(100.0))
    np.testing.assert_allclose(found[..., :4], turned.real, atol=2e-6)
    np.testing.assert_allclose(found[..., 4:], turned.imag, atol=2e-6)


def test_a_factor_divides_the_positions():
    whole, scaled = rotation(9, 8, 100.0), rotation(33, 8, 100.0, 4.0)
    np.testing.assert_allclose(scaled.cosine[::4], whole.cosine, atol=1e-6)
    np.testing.assert_allclose(scaled.sine[::4], whole.sine, atol=1e-6)


def test_frequencies_of_ones_own_are_turned_by():
    exact = 1.0 / 10000.0 ** (np.arange(8) / 8)
    np.testing.assert_allclose(frequencies(16, 10000.0), exact, rtol=1e-6)
    rounded = exact.astype(np.float16).astype(np.float64)
    table = rotation(1000, 16, 10000.0, given=tuple(rounded))
    angles = np.arange(1000.0)[:, None] * rounded
    np.testing.assert_allclose(table.cosine, np.cos(angles), atol=1e-4)
    np.testing.assert_allclose(table.sine, np.sin(angles), atol=1e-4)
    assert np.abs(np.cos(angles) - np.cos(np.arange(1000.0)[:, None] * exact)).max() > 0.05
    halved = rotation(1000, 16, 10000.0, 2.0, tuple(rounded))
    np.testing.assert_allclose(halved.cosine[::2], table.cosine[:500], atol=1e-6)


def test_products_depend_on_the_distance_alone():
    table = of_nine(10.0)
    one = np.broadcast_to(X[:, :1], X.shape)
    query, keys = rotate(jnp.asarray(one), table), rotate(jnp.asarray(one[::-1]), table)
    scores = np.asarray(jnp.einsum("bqnd,bknd->bnqk", query, keys))
    for distance in range(-8, 9):
        diagonal = scores.diagonal(distance, 2, 3)
        np.testing.assert_allclose(
            diagonal, np.broadcast_to(diagonal[..., :1], diagonal.shape), atol=1e-4
        )
    assert np.ptp(scores[0, 0]) > 0.1


def test_the_dtype_stays_and_the_angles_do_not_round_with_it():
    found = rotate(jnp.asarray(X, jnp.bfloat16), of_nine(100.0))
    assert found.dtype == jnp.bfloat16
    exact = rotate(jnp.asarray(X, jnp.bfloat16).astype(jnp.float32), of_nine(100.0))
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
