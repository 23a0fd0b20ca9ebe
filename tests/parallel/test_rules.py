import dataclasses
import re
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params
from jaxbert.nn.head import Head, LayerMixture
from jaxbert.nn.lora import LoRA
from jaxbert.nn.parts import Convolution, RelativeAttention, RelativeBias
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import (
    PARAMETER_AXES,
    batch_sharding,
    matching_rules,
    shardings,
)
from jaxbert.tree import paths

CONFIG = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=20,
)
HEADS = [
    Head("none"),
    Head("pretraining"),
    Head("masked_lm"),
    Head("next_sentence"),
    Head("sequence_classification", labels=("a", "b", "c")),
]
# Every part that some family has, and every head, in one model each.
PARTS = dataclasses.replace(
    CONFIG,
    embedding_size=12,
    tie_word_embeddings=False,
    norm_placement="pre",
    relative_attention=RelativeAttention(share_att_key=False),
    relative_bias=RelativeBias(),
    convolution=Convolution(),
    gated_mlp=True,
)
ALL_HEADS = [
    *HEADS,
    Head("replaced_token_detection"),
    Head("token_classification", labels=("a", "b")),
    Head("question_answering"),
    Head("multiple_choice"),
    Head(pooling="attention", mixture=LayerMixture(2)),
]


# Factors wherever there can be some.
LORA = LoRA(targets=("attention/.*", "mlp/.*"))


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))


@pytest.mark.parametrize("config", [CONFIG, PARTS], ids=["bert", "every part"])
@pytest.mark.parametrize("head", ALL_HEADS, ids=lambda head: head.kind)
def test_every_parameter_matches_exactly_one_rule_of_its_rank(config: EncoderConfig, head: Head):
    for path, leaf in jax.tree_util.tree_leaves_with_path(abstract_params(config, head, LORA)):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert [len(axes) for axes in matching_rules(name)] == [leaf.ndim], name


def test_every_rule_is_used():
    names = [name for head in ALL_HEADS for name in paths(abstract_params(PARTS, head, LORA))]
    for pattern, _ in PARAMETER_AXES:
        assert any(re.search(rf"(?:^|/){pattern}$", name) for name in names), pattern


def test_specs_are_those_of_the_table(mesh: Mesh):
    found = shardings(abstract_params(CONFIG, Head("pretraining"), LORA), mesh)
    layer = found["encoder"]["layers"]["0"]
    expected = [
        (found["encoder"]["embeddings"]["word"]["embedding"], ("tensor", "fsdp")),
        (found["encoder"]["embeddings"]["position"]["embedding"], (None, "fsdp")),
        (layer["attention"]["value"]["kernel"], ("fsdp", "tensor")),
        (layer["attention"]["value"]["bias"], ("tensor",)),
        (layer["attention"]["value"]["lora_a"], (None, None)),
        (layer["attention"]["value"]["lora_b"], (None, "tensor")),
        (layer["attention"]["output"]["lora_a"], ("tensor", None)),
        (layer["attention"]["output"]["lora_b"], (None, None)),
        (layer["attention"]["output"]["kernel"], ("tensor", "fsdp")),
        (layer["attention"]["output"]["bias"], (None,)),
        (layer["mlp"]["up"]["kernel"], ("fsdp", "tensor")),
        (layer["mlp"]["up"]["bias"], ("tensor",)),
        (layer["mlp"]["down"]["kernel"], ("tensor", "fsdp")),
        (layer["mlp_norm"]["scale"], (None,)),
        (found["pooler"]["dense"]["kernel"], ("fsdp", None)),
        (found["masked_lm"]["bias"], ("tensor",)),
    ]
    for sharding, spec in expected:
        assert sharding.spec == PartitionSpec(*spec)


@pytest.mark.parametrize(
    ("axes", "spec"),
    [
        ({"fsdp": 4}, ("fsdp", None)),
        # 36 rows do not divide by 8, the 24 columns do.
        ({"fsdp": 8}, ("tensor", "fsdp")),
        ({"fsdp": 4, "tensor": 2}, ("tensor", "fsdp")),
    ],
)
def test_without_tensor_fsdp_splits_into_whole_rows_where_they_divide(
    axes: dict[str, int], spec: tuple[str | None, ...]
):
    places = shardings(abstract_params(CONFIG, Head()), make_mesh(MeshConfig(**axes)))
    assert places["encoder"]["layers"]["0"]["mlp"]["down"]["kernel"].spec == PartitionSpec(*spec)


def test_tables_split_into_whole_rows_and_thin_parameters_stay_whole():
    places = shardings(
        abstract_params(CONFIG, Head("pretraining")), make_mesh(MeshConfig(fsdp=4, data=2))
    )
    tables = places["encoder"]["embeddings"]
    assert tables["word"]["embedding"].spec == PartitionSpec("fsdp", None)
    assert tables["position"]["embedding"].spec == PartitionSpec("fsdp", None)
    assert tables["token_type"]["embedding"].is_fully_replicated
    assert places["next_sentence"]["dense"]["kernel"].is_fully_replicated


@pytest.mark.parametrize("freeze", [(), ("encoder/embeddings", "encoder/layers/0")])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
def test_every_leaf_of_the_optimiser_has_the_place_of_its_parameter(
    head: Head, freeze: tuple[str, ...], mesh: Mesh
):
    params = abstract_params(CONFIG, head)
    optimizer = make_optimizer(AdamW(freeze=freeze), optax.constant_schedule(1.0), params)
    state = jax.eval_shape(optimizer.init, params)
    places = dict(zip(paths(params), jax.tree.leaves(shardings(params, mesh)), strict=True))
    leaves = zip(paths(state), jax.tree.leaves(state), strict=True)
    found = jax.tree.leaves(shardings(state, mesh))
    for (name, leaf), sharding in zip(leaves, found, strict=True):
        parameter = next((path for path in places if name.endswith(f"/{path}")), None)
        if leaf.ndim == 0:
            assert sharding.is_fully_replicated
        else:
            assert parameter is not None, name
            assert sharding == places[parameter]


def test_a_size_that_does_not_divide_is_named():
    mesh = make_mesh(MeshConfig(data=1, fsdp=1, tensor=8))
    with pytest.raises(UserError, match=r"tensor=8 does not divide dimension 36 of .*mlp/down"):
        shardings(abstract_params(CONFIG, Head()), mesh)


def test_a_mesh_without_the_axes_of_the_table_is_refused():
    mesh = jax.make_mesh((8,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
    with pytest.raises(UserError, match=r"has the axes \['fsdp'\] and not \['tensor'\]"):
        shardings(abstract_params(CONFIG, Head()), mesh)


def test_parameters_of_ones_own_are_whole_and_take_rules_of_ones_own(mesh: Mesh):
    params = {"encoder": abstract_params(CONFIG, Head()), "probe": np.zeros((24, 8))}
    assert shardings(params, mesh)["probe"].is_fully_replicated
    for axes in (("hidden",), ("hidden", None, None)):
        with pytest.raises(UserError, match=r"^probe \[24, 8\]: .* expected one rule of 2 axes"):
            shardings(params, mesh, ((r"probe", axes), *PARAMETER_AXES))
    found = shardings(params, mesh, ((r"probe", ("hidden", None)), *PARAMETER_AXES))
    assert found["probe"].spec == PartitionSpec("fsdp", None)
    assert found["encoder"] == shardings(params["encoder"], mesh)


@pytest.mark.parametrize("microbatches", [False, True])
def test_rows_are_split_over_all_axes_but_tensor(mesh: Mesh, microbatches: bool):
    shape = (3, 8, 5) if microbatches else (8, 5)
    batch: dict[str, Any] = {"input_ids": np.arange(np.prod(shape)).reshape(shape)}
    placed = jax.device_put(batch, batch_sharding(mesh, microbatches=microbatches))["input_ids"]
    np.testing.assert_array_equal(placed, batch["input_ids"])
    for shard in placed.addressable_shards:
        ((_, data, fsdp, _),) = np.argwhere(mesh.devices == shard.device)
        first = 2 * (2 * data + fsdp)
        rows = batch["input_ids"][..., first : first + 2, :]
        np.testing.assert_array_equal(shard.data, rows)


def test_the_padded_vocabulary_divides_by_every_power_of_two_up_to_128():
    for vocab_size in (1, 128, 131, 30522):
        rows = EncoderConfig(vocab_size=vocab_size).padded_vocab_size
        assert rows % 128 == 0
        assert 0 <= rows - vocab_size < 128


def test_a_classifier_of_many_classes_is_split_over_tensor_where_the_axis_divides_them(mesh: Mesh):
    def specs(number: int) -> list[PartitionSpec]:
        head = Head("sequence_classification", labels=tuple(map(str, range(number))))
        dense = shardings(abstract_params(CONFIG, head), mesh)["classifier"]["dense"]
        return [dense["kernel"].spec, dense["bias"].spec]

    assert specs(1024) == [PartitionSpec("fsdp", "tensor"), PartitionSpec("tensor")]
    assert specs(1025) == specs(8) == [PartitionSpec("fsdp", None), PartitionSpec(None)]
