"""A section `objective` as a pair of encoders."""

from dataclasses import replace

import pytest

from jaxbert.experiment.objectives import ReplacedTokenConfig, pair_of
from jaxbert.families import preset

ELECTRA = preset("electra-base-discriminator")


@pytest.mark.parametrize(
    ("size", "layers", "expected"),
    [
        (1 / 3, 1.0, (4, 256, 1024, 12)),
        (1.0, 0.5, (12, 768, 3072, 6)),
        (0.01, 0.01, (1, 64, 256, 1)),
    ],
)
def test_a_generator_has_a_share_of_the_heads_and_of_the_layers(
    size: float, layers: float, expected: tuple[int, ...]
):
    pair = pair_of(ReplacedTokenConfig(generator_size=size, generator_layers=layers), ELECTRA)
    found = pair.generator
    sizes = found.num_attention_heads, found.hidden_size, found.intermediate_size
    assert (*sizes, found.num_hidden_layers) == expected
    assert found.embedding_width == ELECTRA.embedding_width
    assert pair.discriminator == ELECTRA


def test_the_types_of_layers_are_those_of_the_lowest_ones():
    types = ("full_attention", "sliding_attention", "sliding_attention") * 4
    encoder = replace(ELECTRA, layer_types=types)
    pair = pair_of(ReplacedTokenConfig(generator_layers=1 / 3), encoder)
    assert pair.generator.layer_types == types[:4]


def test_sharing_and_temperature_are_those_of_the_section():
    pair = pair_of(ReplacedTokenConfig(embedding_sharing="none", temperature=0.5), ELECTRA)
    assert (pair.sharing, pair.temperature) == ("none", 0.5)
