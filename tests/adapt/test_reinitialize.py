from dataclasses import replace

import numpy as np
import pytest
from small_models import ALBERT, BERT, MODERNBERT, random_params

from jaxbert.adapt.reinitialize import begins_anew, reinitialize_layers
from jaxbert.errors import UserError
from jaxbert.nn.functional import parameter_shapes
from jaxbert.nn.head import Head
from jaxbert.tree import flat

HEAD = Head("sequence_classification", labels=("a", "b"))


SHALLOW = replace(BERT, num_hidden_layers=2)


def test_the_top_layers_and_the_pooler_are_drawn_anew_and_the_rest_is_shared():
    params = random_params(SHALLOW, HEAD)
    old = flat(params)
    found, other = (
        flat(reinitialize_layers(params, SHALLOW, HEAD, 1, seed=seed)) for seed in (7, 8)
    )
    assert [*found] == [*old]
    begun = {path for path in old if found[path] is not old[path]}
    assert begun == {path for path in old if path.startswith(("encoder/layers/1/", "pooler/"))}
    for path in begun:
        if "kernel" in path:
            assert not np.array_equal(found[path], other[path])
            # A normal distribution of 0.02; the encoder's is cut at two deviations.
            is_cut = path.startswith("encoder/")
            assert (np.abs(found[path]).max() <= 0.04) == is_cut
            assert found[path].std() == pytest.approx(0.0176 if is_cut else 0.02, rel=0.1)
        else:
            np.testing.assert_array_equal(found[path], float(path.endswith("scale")))


def test_the_norm_after_the_last_layer_begins_anew_with_it():
    shapes = parameter_shapes(MODERNBERT, Head("masked_lm"))
    begun = {path for path in shapes if path.startswith(begins_anew(MODERNBERT, 1))}
    assert {path for path in begun if "layers/3/" not in path} == {
        "encoder/final_norm/scale",
        "encoder/final_norm/bias",
    }


def test_no_layers_are_no_change():
    params = random_params(BERT, HEAD)
    assert reinitialize_layers(params, BERT, HEAD, 0, seed=0) is params


@pytest.mark.parametrize("count", [-1, 5])
def test_layers_that_are_not_there_cannot_begin_anew(count: int):
    with pytest.raises(
        UserError, match=f"reinitialize_layers={count}: expected 0 to the model's 4"
    ):
        reinitialize_layers({}, BERT, HEAD, count, seed=0)


def test_layers_that_share_parameters_begin_anew_together():
    with pytest.raises(UserError, match="reinitialize_layers=1: layers of albert share"):
        reinitialize_layers({}, ALBERT, HEAD, 1, seed=0)
