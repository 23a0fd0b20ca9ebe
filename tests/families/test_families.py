import pytest

from jaxbert.errors import UserError
from jaxbert.families import FAMILIES, family_of, preset
from jaxbert.families.family import Family
from jaxbert.nn.config import EncoderConfig, Head, HeadKind
from jaxbert.nn.functional import abstract_params
from jaxbert.tree import paths

TINY = EncoderConfig(
    vocab_size=131,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=36,
    max_position_embeddings=80,
)
KINDS: list[HeadKind] = [
    "none",
    "pretraining",
    "masked_lm",
    "next_sentence",
    "sequence_classification",
]


def head_of(kind: HeadKind) -> Head:
    return Head(kind, ("no", "yes", "maybe") if kind == "sequence_classification" else ())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_weight_table_names_every_parameter_exactly_once(family: Family, kind: HeadKind):
    table = family.weights(TINY, head_of(kind))
    assert sorted(weight.path for weight in table) == sorted(
        paths(abstract_params(TINY, head_of(kind)))
    )
    assert len({weight.key for weight in table}) == len(table)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_config_survives_the_way_through_config_json(family: Family, kind: HeadKind):
    fields = family.config_to_hf(TINY, head_of(kind))
    assert family.config_from_hf(fields) == TINY
    assert family.head_from_hf(fields, kind) == head_of(kind)
    assert family.architectures[fields["architectures"][0]] == kind


def test_a_preset_is_found_by_name():
    family, config = preset("bert-large-cased")
    assert family.model_type == "bert"
    assert (config.num_hidden_layers, config.num_attention_heads) == (24, 16)
    assert config.vocab_size == 28996


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match=r"'bert-bse-uncased'.*'bert-base-uncased'"):
        preset("bert-bse-uncased")


def test_an_unknown_family_is_refused():
    with pytest.raises(UserError, match=r"model_type='bart' is not implemented.*bert"):
        family_of("bart")
