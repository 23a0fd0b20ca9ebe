from typing import Any

import pytest

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head


@pytest.mark.parametrize(("size", "padded"), [(1, 128), (128, 128), (129, 256), (30522, 30592)])
def test_the_vocabulary_is_padded_to_a_multiple_of_128(size: int, padded: int):
    assert EncoderConfig(vocab_size=size).padded_vocab_size == padded


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("vocab_size", 0, "vocab_size=0: must be at least 1"),
        ("num_attention_heads", 0, "num_attention_heads=0: must be at least 1"),
        ("num_attention_heads", 7, "hidden_size=768 is not a multiple of num_attention_heads=7"),
        ("num_hidden_layers", -1, "num_hidden_layers=-1: must not be negative"),
        ("hidden_dropout_prob", 1.0, r"hidden_dropout_prob=1.0: must lie in \[0, 1\)"),
        ("attention_probs_dropout_prob", -0.1, "attention_probs_dropout_prob=-0.1"),
    ],
)
def test_an_impossible_encoder_is_refused(option: str, value: Any, message: str):
    with pytest.raises(UserError, match=message):
        EncoderConfig(**{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "sequence_classification"}, "needs at least one label"),
        ({"labels": ("a", "b", "a")}, "a label occurs twice"),
        ({"classifier_dropout": 1.5}, r"classifier_dropout=1.5: must lie in \[0, 1\)"),
    ],
)
def test_an_impossible_head_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        Head(**options)
