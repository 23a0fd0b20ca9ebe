from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from small_models import ALBERT, BERT, MODERNBERT, random_ids, random_params, run

from jaxbert.adapt.layers import every, keep_layers, without_top
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import check_params
from jaxbert.nn.head import Head
from jaxbert.nn.parts import LayerType
from jaxbert.tree import flat

PATH = "encoder/layers/{}/mlp/up/kernel"


@pytest.mark.parametrize("config", [BERT, ALBERT], ids=lambda config: config.model_type)
def test_without_its_top_layers_a_model_gives_what_its_lower_layers_gave(config: EncoderConfig):
    params, ids = random_params(config), random_ids(9)
    states = run(params, config, ids).hidden_states
    kept, shallow = keep_layers(params, config, without_top(config, 2))
    assert shallow.num_hidden_layers == 2
    found = run(kept, shallow, ids).hidden_states
    for state, expected in zip(found, states[:3], strict=True):
        np.testing.assert_allclose(state, expected, rtol=0, atol=1e-5)


def test_the_final_norm_of_a_pre_norm_model_follows_the_last_layer_kept():
    params, ids = random_params(MODERNBERT), random_ids(9)
    states = run(params, MODERNBERT, ids).hidden_states
    kept, shallow = keep_layers(params, MODERNBERT, [0, 1])
    found = run(kept, shallow, ids).hidden_states
    np.testing.assert_allclose(found[1], states[1], rtol=0, atol=1e-5)
    inner = np.asarray(states[2], np.float64)
    centred = inner - inner.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt(centred.var(axis=-1, keepdims=True) + MODERNBERT.layer_norm_eps)
    leaves = flat(params)
    expected = normed * leaves["encoder/final_norm/scale"] + leaves["encoder/final_norm/bias"]
    np.testing.assert_allclose(found[2], expected, rtol=0, atol=1e-4)


def test_every_second_layer_is_renumbered_and_the_rest_is_shared():
    params = random_params(BERT)
    kept, shallow = keep_layers(params, BERT, every(BERT, 2))
    check_params(kept, shallow, Head("masked_lm"))
    old, new = flat(params), flat(kept)
    assert new[PATH.format(0)] is old[PATH.format(0)]
    assert new[PATH.format(1)] is old[PATH.format(2)]
    assert PATH.format(2) not in new
    outside = [path for path in old if not path.startswith("encoder/layers/")]
    assert all(new[path] is old[path] for path in outside)


def test_more_than_ten_layers_keep_their_order():
    config = replace(BERT, num_hidden_layers=12)
    params = random_params(config)
    kept, _ = keep_layers(params, config, [0, 2, 4, 7, 9, 11])
    for new, old in enumerate([0, 2, 4, 7, 9, 11]):
        assert flat(kept)[PATH.format(new)] is flat(params)[PATH.format(old)]


@pytest.mark.parametrize(
    ("step", "expected"), [(1, (0, 1, 2, 3)), (2, (0, 2)), (3, (0, 3)), (4, (0,))]
)
def test_every_takes_the_first_of_each_step(step: int, expected: tuple[int, ...]):
    assert every(BERT, step) == expected


FULL, LOCAL = "full_attention", "sliding_attention"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([0, 1, 2], (FULL, LOCAL, LOCAL)),
        ([0, 2, 5], (FULL, LOCAL, LOCAL)),
        ([0, 3], (FULL,)),
        ([0, 1, 3, 4], (FULL, LOCAL)),
        ([0, 1, 3], (FULL, LOCAL)),
        ([0, 3, 4], (FULL, FULL, LOCAL)),
    ],
)
def test_layer_types_follow_their_layers_as_a_short_pattern(
    layers: list[int], expected: tuple[LayerType, ...]
):
    config = replace(MODERNBERT, num_hidden_layers=6, layer_types=(FULL, LOCAL, LOCAL))
    kept, shallow = keep_layers(random_params(config), config, layers)
    assert shallow.layer_types == expected
    types = [config.layer_type(layer) for layer in layers]
    assert [shallow.layer_type(layer) for layer in range(len(layers))] == types
    check_params(kept, shallow, Head("masked_lm"))


def test_shared_layers_are_applied_fewer_times():
    params = random_params(ALBERT)
    kept, shallow = keep_layers(params, ALBERT, [1, 3])
    assert (shallow.num_hidden_layers, shallow.num_hidden_groups) == (2, 1)
    assert all(flat(kept)[path] is leaf for path, leaf in flat(params).items())


def test_groups_of_shared_layers_stay_together():
    config = replace(ALBERT, num_hidden_groups=2)
    params = random_params(config)
    kept, shallow = keep_layers(params, config, [2, 3])
    assert (shallow.num_hidden_layers, shallow.num_hidden_groups) == (2, 1)
    assert flat(kept)[PATH.format(0)] is flat(params)[PATH.format(1)]
    with pytest.raises(UserError, match=r"use the shared parameters \[0, 1, 1\]"):
        keep_layers(params, replace(config, num_hidden_layers=6), [0, 4, 5])


@pytest.mark.parametrize(
    ("config", "layers", "message"),
    [
        (BERT, [], "expected at least one layer"),
        (BERT, [0, 4], r"layers=\[0, 4\]: there is no layer 4, only 0 to 3"),
        (BERT, [-1], "there is no layer -1"),
        (BERT, [1, 0], "expected ascending numbers"),
        (BERT, [1, 1], "each one once"),
        (MODERNBERT, [1, 2], "layer 1 was trained with one: keep layer 0 first"),
    ],
)
def test_layers_that_cannot_be_kept_are_refused(
    config: EncoderConfig, layers: Sequence[int], message: str
):
    with pytest.raises(UserError, match=message):
        keep_layers({}, config, layers)


def test_choices_beyond_the_model_are_refused():
    with pytest.raises(UserError, match="top 4 layers cannot be dropped: the model has 4"):
        without_top(BERT, 4)
    with pytest.raises(UserError, match="one layer of every 5: expected 1 to the model's 4"):
        every(BERT, 5)
