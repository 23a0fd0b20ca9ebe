from typing import Any

import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.nn.head import Head, LayerMixture
from jaxbert.nn.parts import Convolution, HeadStyle, RelativeAttention, RotaryPositions


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
        ("rotary", RotaryPositions(frequencies=(1.0, 0.5)), "has 2 numbers, and heads have 32 pai"),
        ("token_dropout", True, "token_dropout=True without mask_token_id: give the id"),
        ("mask_token_id", 30522, "mask_token_id=30522: expected 0 to vocab_size - 1 = 30521"),
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


@pytest.mark.parametrize(
    ("cls", "option", "value", "message"),
    [
        (EncoderConfig, "position_embedding_type", "relative", "valid: absolute, after_padding"),
        (EncoderConfig, "norm_placement", "Pre", "did you mean 'pre'"),
        (EncoderConfig, "norm_kind", "rmsnorm", "did you mean 'rms_norm'"),
        (EncoderConfig, "hidden_act", "gelu_nev", "did you mean 'gelu_new'"),
        (EncoderConfig, "layer_types", ("sliding",), "did you mean 'sliding_attention'"),
        (EncoderConfig, "layer_types", "full_attention", "expected a tuple or a list"),
        (Head, "kind", "classification", "did you mean 'token_classification'"),
        (Head, "pooling", "average", "valid: attention, cls"),
        (Head, "labels", "ab", "expected a tuple or a list"),
        (Head, "labels", (0, 1), "0 is int, expected str"),
        (Head, "is_normalized", "no", "'no' is str, expected bool"),
        (Head, "mixture", 4, "4 is int, expected LayerMixture"),
        (EncoderConfig, "hidden_size", "768", "'768' is str, expected int"),
        (EncoderConfig, "hidden_size", 768.0, "768.0 is float, expected int"),
        (EncoderConfig, "num_hidden_layers", True, "True is bool, expected int"),
        (EncoderConfig, "num_hidden_layers", None, "None is NoneType, expected int"),
        (EncoderConfig, "layer_norm_eps", "1e-12", "'1e-12' is str, expected float"),
        (EncoderConfig, "rotary", 10000.0, "10000.0 is float, expected RotaryPositions"),
        (LayerMixture, "how", "weigthed", "did you mean 'weighted'"),
        (Execution, "remat", "ful", "did you mean 'full'"),
        (Execution, "attention", "flash", "did you mean 'splash'"),
        (RelativeAttention, "pos_att_type", ("c2c",), "did you mean"),
        (Convolution, "conv_act", "swish", "valid: gelu"),
        (HeadStyle, "pooling", "first", "valid: cls"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(cls: Any, option: str, value: Any, message: str):
    with pytest.raises(UserError, match=rf"^{option}(=|: ).*{message}"):
        made(cls, option, value)


def test_lists_are_tuples_so_that_configurations_are_keys():
    head = made(Head, "labels", ["no", "yes"])
    assert {head} == {Head(labels=("no", "yes"))}
    assert made(EncoderConfig, "layer_types", ["full_attention"]).layer_types == ("full_attention",)


def test_numpys_numbers_are_numbers():
    small = made(EncoderConfig, "num_hidden_layers", np.int64(3))
    assert small == EncoderConfig(num_hidden_layers=3)
    assert hash(small) == hash(EncoderConfig(num_hidden_layers=3))
    precise = made(EncoderConfig, "layer_norm_eps", np.float32(0.5))
    assert precise == EncoderConfig(layer_norm_eps=0.5)


def made(cls: Any, option: str, value: Any) -> Any:
    """`cls(option=value)` without beartype, which in these tests comes before its own check."""
    config = cls()
    object.__setattr__(config, option, value)
    config.__post_init__()
    return config


def test_disentangled_attention_shares_no_keys():
    with pytest.raises(UserError, match="num_key_value_heads=6: disentangled attention"):
        EncoderConfig(relative_attention=RelativeAttention(), num_key_value_heads=6)
