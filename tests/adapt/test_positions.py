from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from small_models import BERT, MODERNBERT, ROBERTA, random_ids, random_params, run

from jaxbert.adapt.positions import Resize, resize_positions, with_rope_theta
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import check_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.nn.parts import RotaryPositions
from jaxbert.tree import flat

TABLE = "encoder/embeddings/position/embedding"
TINY = EncoderConfig(vocab_size=3, hidden_size=2, num_attention_heads=1, max_position_embeddings=3)

SHALLOW = (
    replace(BERT, num_hidden_layers=1),
    replace(ROBERTA, num_hidden_layers=1),
    replace(MODERNBERT, num_hidden_layers=2, layer_types=("full_attention", "sliding_attention")),
)


def resized(rows: list[list[float]], config: EncoderConfig, length: int, how: Resize) -> Any:
    tree = {"encoder": {"embeddings": {"position": {"embedding": np.array(rows, np.float32)}}}}
    params, new = resize_positions(tree, config, length, how)
    assert longest_input(new) == length
    return flat(params)[TABLE]


@pytest.mark.parametrize(
    ("length", "how", "expected"),
    [
        (5, "interpolate", [[0, 10], [1, 15], [2, 20], [3, 10], [4, 0]]),
        (5, "copy", [[0, 10], [2, 20], [4, 0], [0, 10], [2, 20]]),
        (3, "interpolate", [[0, 10], [2, 20], [4, 0]]),
        (2, "interpolate", [[0, 10], [2, 20]]),
        (2, "fresh", [[0, 10], [2, 20]]),
    ],
)
def test_three_positions_become(length: int, how: Resize, expected: list[list[float]]):
    found = resized([[0, 10], [2, 20], [4, 0]], TINY, length, how)
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_interpolation_is_numpy_interp_of_every_column():
    table = np.random.default_rng(0).normal(size=(20, 24)).astype(np.float32)
    found = resized(table.tolist(), BERT, 33, "interpolate")
    places = np.linspace(0, 19, 33)
    expected = [np.interp(places, np.arange(20), column) for column in table.T.astype(np.float64)]
    np.testing.assert_array_equal(found, np.array(expected).T.astype(np.float32))
    np.testing.assert_array_equal(found[[0, -1]], table[[0, -1]])


def test_a_single_position_is_repeated_by_interpolation():
    found = resized([[1, 2]], EncoderConfig(max_position_embeddings=1), 3, "interpolate")
    np.testing.assert_array_equal(found, [[1, 2]] * 3)


def test_fresh_positions_are_drawn_as_the_model_draws_its_own():
    config = EncoderConfig(max_position_embeddings=4, initializer_range=0.3)
    tree = {"encoder": {"embeddings": {"position": {"embedding": np.ones((4, 50), np.float32)}}}}
    tables = [
        flat(resize_positions(tree, config, 204, "fresh", seed)[0])[TABLE] for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(tables[0][:4], np.ones((4, 50)))
    # A normal distribution cut at two of its standard deviations.
    assert np.abs(tables[0][4:]).max() <= 0.6
    assert abs(tables[0][4:].std() - 0.8796 * 0.3) < 0.01
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0], tables[2])


@pytest.mark.parametrize("how", ["interpolate", "copy", "fresh"])
def test_the_rows_of_padding_stay_in_front(how: Resize):
    params = random_params(ROBERTA)
    assert longest_input(ROBERTA) == 18
    longer, config = resize_positions(params, ROBERTA, 40, how)
    assert config.max_position_embeddings == 42
    check_params(longer, config, Head("masked_lm"))
    old, new = flat(params)[TABLE], flat(longer)[TABLE]
    np.testing.assert_array_equal(new[:2], old[:2])
    learnt = old[2:]
    np.testing.assert_array_equal(new[2], learnt[0])
    if how == "copy":
        np.testing.assert_array_equal(new[20:38], learnt)


@pytest.mark.parametrize("how", ["copy", "fresh"])
@pytest.mark.parametrize(
    "config", [BERT, ROBERTA, MODERNBERT], ids=lambda config: config.model_type
)
def test_short_inputs_give_what_they_gave(config: EncoderConfig, how: Resize):
    params, ids = random_params(config), random_ids(longest_input(config))
    expected = run(params, config, ids)
    longer, new = resize_positions(params, config, 40, how)
    found = run(longer, new, ids)
    np.testing.assert_array_equal(found.logits, expected.logits)
    whole = jax.eval_shape(make_apply(new, Head("masked_lm")), longer, random_ids(40))
    assert whole.logits.shape == (3, 40, 131)


def test_fewer_positions_give_what_they_gave():
    params, ids = random_params(SHALLOW[0]), random_ids(7)
    expected = run(params, SHALLOW[0], ids)
    shorter, config = resize_positions(params, SHALLOW[0], 7)
    np.testing.assert_array_equal(run(shorter, config, ids).logits, expected.logits)
    with pytest.raises(UserError, match="8 tokens per row and the model at most 7"):
        run(shorter, config, random_ids(8))


def test_everything_but_the_table_is_shared_and_the_old_params_stay():
    params = random_params(BERT)
    before = flat(params)[TABLE].copy()
    longer, _ = resize_positions(params, BERT, 40)
    assert [path for path, leaf in flat(params).items() if flat(longer)[path] is not leaf] == [
        TABLE
    ]
    np.testing.assert_array_equal(flat(params)[TABLE], before)


def test_rotary_positions_only_take_the_limit():
    params = random_params(MODERNBERT)
    longer, config = resize_positions(params, MODERNBERT, 64)
    assert config.max_position_embeddings == 64
    assert all(flat(longer)[path] is leaf for path, leaf in flat(params).items())


def test_another_base_is_that_of_full_attention_alone():
    changed = with_rope_theta(MODERNBERT, 160000)
    assert changed.rotary == RotaryPositions(rope_theta=160000.0, local_rope_theta=10000.0)
    assert replace(changed, rotary=MODERNBERT.rotary) == MODERNBERT


@pytest.mark.parametrize("base", [0.0, -160000.0, 0.5, np.inf, np.nan])
def test_what_is_no_base_is_refused(base: float):
    with pytest.raises(UserError, match=f"rope_theta={base:g}: expected a number of at least 1"):
        with_rope_theta(MODERNBERT, base)


@pytest.mark.parametrize("config", [BERT, ROBERTA], ids=lambda config: config.model_type)
def test_no_base_is_given_where_positions_are_not_rotary(config: EncoderConfig):
    with pytest.raises(UserError, match=f"a {config.model_type} encoder has no rotary positions"):
        with_rope_theta(config, 160000.0)


@pytest.mark.parametrize(
    ("length", "how", "message"),
    [
        (0, "copy", "positions: length=0: must be at least 1"),
        (9, "interpolat", "positions: how='interpolat': did you mean 'interpolate'"),
    ],
)
def test_impossible_requests_are_one_line(length: int, how: Any, message: str):
    with pytest.raises(UserError, match=message):
        resize_positions({}, BERT, length, how)
