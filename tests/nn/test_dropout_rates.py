from dataclasses import fields, replace

import pytest

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout_rates import DropoutConfig, with_dropout

ENCODER = EncoderConfig(
    vocab_size=20,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=8,
)


def test_every_site_of_the_encoder_has_its_rate_and_the_others_are_the_models():
    sites = [site.name for site in fields(DropoutConfig)]
    changed = set()
    for site in sites:
        found = with_dropout(ENCODER, DropoutConfig(**{site: 0.25}))
        [name] = [f.name for f in fields(ENCODER) if getattr(found, f.name) == 0.25]
        assert replace(found, **{name: getattr(ENCODER, name)}) == ENCODER
        changed.add(name)
    assert changed == {f.name for f in fields(ENCODER) if f.name.endswith("dropout_prob")}
    assert with_dropout(ENCODER, DropoutConfig()) == ENCODER


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_lies_below_one(rate: float):
    with pytest.raises(UserError, match="'attention': Input should be"):
        parse_config(DropoutConfig, {"attention": rate})
