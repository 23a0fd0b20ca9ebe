"""The parameters that a run begins with: those of one device, split as they are made or read."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.experiment import alike
from jaxbert.experiment.parameters import MakeParams, drawn, read, reinitialized
from jaxbert.hub.load import open_params
from jaxbert.hub.save import save_pretrained
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, model_from_params
from jaxbert.nn.head import Head
from jaxbert.parallel import rules
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tree import flat

ENCODER = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=20,
)
HEAD = Head("pretraining")
SEED = 2**31 + 5


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    return flat(jax.device_get(init_params(ENCODER, HEAD, SEED)))


def made_on(make: MakeParams) -> dict[str, jax.Array]:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    params = make(mesh)
    places = flat(rules.shardings(params, mesh))
    assert {path: x.sharding for path, x in flat(params).items()} == places
    held = sum(x.addressable_shards[0].data.nbytes for x in flat(params).values())
    assert held < 0.32 * sum(x.nbytes for x in flat(params).values())
    return flat(params)


def test_drawn_parameters_are_those_of_one_device_bit_for_bit(whole: dict[str, np.ndarray]):
    found = made_on(drawn(init_params, ENCODER, HEAD, seed=SEED))
    assert [*found] == [*whole]
    for path, expected in whole.items():
        np.testing.assert_array_equal(found[path], expected, err_msg=path)


def test_read_parameters_are_split_one_by_one(
    whole: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = model_from_params(init_params(ENCODER, HEAD, SEED), ENCODER, HEAD)
    save_pretrained(model, None, tmp_path)
    placed: list[int] = []
    put = rules.put_whole

    def counted(values: Any, sharding: Any) -> jax.Array:
        assert isinstance(values, np.ndarray)
        placed.append(values.size)
        return put(values, sharding)

    monkeypatch.setattr(rules, "put_whole", counted)
    found = made_on(read(open_params(tmp_path, head=HEAD)))
    assert sorted(placed) == sorted(x.size for x in whole.values())
    for path, expected in whole.items():
        np.testing.assert_array_equal(found[path], expected, err_msg=path)


def test_layers_that_begin_anew_are_those_of_a_new_model_bit_for_bit(whole: dict[str, np.ndarray]):
    other = drawn(init_params, ENCODER, HEAD, seed=1)
    before = made_on(other)
    found = made_on(reinitialized(other, ENCODER, HEAD, 1, SEED))
    for path, value in found.items():
        begins = path.startswith(("encoder/layers/0/", "pooler/"))
        expected = whole if begins else before
        np.testing.assert_array_equal(value, expected[path], err_msg=path)
    with pytest.raises(UserError, match="reinitialize_layers=2: expected 0 to the model's 1"):
        reinitialized(other, ENCODER, HEAD, 2, SEED)


def test_processes_that_read_other_weights_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    params = init_params(ENCODER, HEAD, SEED)
    save_pretrained(model_from_params(params, ENCODER, HEAD), None, tmp_path)
    make, mesh = read(open_params(tmp_path)), make_mesh(MeshConfig(data=8))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(alike, "of_all", lambda own: [own, dict(own)])
    for path, values in flat(make(mesh)).items():
        np.testing.assert_array_equal(values, flat(params)[path])
    other = {"pooler/dense/bias": 1}
    monkeypatch.setattr(alike, "of_all", lambda own: [own, own | other])
    with pytest.raises(UserError, match="pooler/dense/bias has other values in process 1 than in"):
        make(mesh)
