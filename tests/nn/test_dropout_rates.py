from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import pytest

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout_rates import DropoutConfig, drops_out, with_dropout
from jaxbert.nn.functional import abstract_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA

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


STILL = replace(ENCODER, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
CLASSES, PLACES = Head("sequence_classification", labels=("a", "b")), Head("question_answering")


@pytest.mark.parametrize(
    ("encoder", "head", "lora", "expected"),
    [
        (ENCODER, PLACES, None, True),
        (STILL, CLASSES, None, False),
        (replace(STILL, hidden_dropout_prob=0.001), CLASSES, None, False),
        (replace(STILL, attention_probs_dropout_prob=0.1), PLACES, None, True),
        (replace(STILL, mlp_dropout_prob=0.1), PLACES, None, True),
        (replace(STILL, mlp_output_dropout_prob=0.1), PLACES, None, True),
        (STILL, replace(CLASSES, classifier_dropout=0.1), None, True),
        (STILL, Head(), None, False),
        (STILL, CLASSES, LoRA(dropout=0.1), True),
        (STILL, CLASSES, LoRA(), False),
    ],
)
def test_what_drops_out_is_what_draws(encoder, head, lora, expected):
    ids = jnp.ones((1, 4), jnp.int32)
    params, apply = abstract_params(encoder, head, lora), make_apply(encoder, head, lora=lora)
    key = jax.random.key(0, impl="threefry2x32")
    drawn = str(jax.make_jaxpr(lambda params: apply(params, ids, key=key))(params))
    assert ("threefry2x32" in drawn) == expected
    assert drops_out(encoder, head, lora) == expected
