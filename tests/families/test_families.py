from dataclasses import replace

import pytest

from jaxbert.errors import UserError
from jaxbert.families import FAMILIES, family_of, preset
from jaxbert.families.family import Family
from jaxbert.families.head_fields import head_from_hf
from jaxbert.hub.save import config_fields
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params
from jaxbert.nn.head import LABELLED, Head, HeadKind
from jaxbert.optim.groups import depth, group_labels, rate_factor
from jaxbert.parallel.rules import matching_rules
from jaxbert.tree import flat, paths

CASES = [(family, kind) for family in FAMILIES.values() for kind in family.architectures.values()]
NAMES = [f"{family.model_type}-{kind}" for family, kind in CASES]


def tiny(family: Family) -> EncoderConfig:
    """A small encoder of the family: its first preset's parts, in two layers."""
    return replace(
        next(iter(family.presets.values())),
        vocab_size=131,
        pad_token_id=1,
        num_hidden_layers=2,
        max_position_embeddings=80,
    )


def head_of(kind: HeadKind) -> Head:
    return Head(kind, ("no", "yes", "maybe") if kind in LABELLED else ())


@pytest.mark.parametrize(("family", "kind"), CASES, ids=NAMES)
def test_the_weight_table_names_every_parameter_exactly_once(family: Family, kind: HeadKind):
    config, head = tiny(family), head_of(kind)
    table = family.weights(config, head)
    assert sorted(weight.path for weight in table) == sorted(paths(abstract_params(config, head)))
    assert len({(weight.key, weight.part) for weight in table}) == len(table)


@pytest.mark.parametrize(("family", "kind"), CASES, ids=NAMES)
def test_a_config_survives_the_way_through_config_json(family: Family, kind: HeadKind):
    config, head = tiny(family), head_of(kind)
    fields = config_fields(config, head)
    assert family.config_from_hf(fields) == config
    assert head_from_hf(fields, kind) == head
    assert family.architectures[fields["architectures"][0]] == kind


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_preset_survives_the_way_through_config_json(family: Family):
    for name, config in family.presets.items():
        assert family.config_from_hf(config_fields(config, Head())) == config, name


@pytest.mark.parametrize(("family", "kind"), CASES, ids=NAMES)
def test_every_parameter_matches_exactly_one_sharding_rule(family: Family, kind: HeadKind):
    for path in paths(abstract_params(tiny(family), head_of(kind))):
        assert len(matching_rules(path)) == 1, path


@pytest.mark.parametrize("name", ["encoder", "model"])
@pytest.mark.parametrize(("family", "kind"), CASES, ids=NAMES)
def test_a_name_around_the_parameters_changes_neither_freezing_nor_rates(
    family: Family, kind: HeadKind, name: str
):
    """As where a person trains an encoder and a probe as one tree."""
    params = abstract_params(tiny(family), head_of(kind))
    factor = rate_factor(1e-3, 0.5, (), 2)
    assert depth({name: params}) == depth(params)
    for path in paths(params):
        assert factor(f"{name}/{path}") == factor(path)
    for layers in (0, 1, "all"):
        alone, inside = (
            group_labels(tree, freeze_layers=layers) for tree in (params, {name: params})
        )
        assert flat(inside[name]) == flat(alone)


def test_a_preset_is_found_by_name():
    config = preset("bert-large-cased")
    assert config.model_type == "bert"
    assert (config.num_hidden_layers, config.num_attention_heads) == (24, 16)
    assert config.vocab_size == 28996


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match=r"'bert-bse-uncased'.*'bert-base-uncased'"):
        preset("bert-bse-uncased")


def test_an_unknown_family_is_refused():
    with pytest.raises(UserError, match=r"model_type='bart' is not implemented.*bert"):
        family_of("bart")
