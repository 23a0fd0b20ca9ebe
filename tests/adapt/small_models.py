"""Random models of a few kinds, as (params, config), and a batch for them."""

from functools import cache
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import make_apply, parameter_shapes
from jaxbert.nn.head import Head
from jaxbert.nn.model import ModelOutput
from jaxbert.nn.parts import RotaryPositions

SIZES: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "max_position_embeddings": 20,
}
BERT = EncoderConfig(**SIZES)
ROBERTA = EncoderConfig(
    **SIZES, model_type="roberta", position_embedding_type="after_padding", pad_token_id=1
)
ALBERT = EncoderConfig(**SIZES, model_type="albert", embedding_size=8, num_hidden_groups=1)
MODERNBERT = EncoderConfig(
    **SIZES,
    model_type="modernbert",
    position_embedding_type="none",
    type_vocab_size=0,
    rotary=RotaryPositions(),
    norm_placement="pre",
    first_norm=False,
    gated_mlp=True,
    layer_types=("full_attention", "sliding_attention", "sliding_attention", "full_attention"),
    local_attention=8,
)
MASKED_LM = Head("masked_lm")


def random_params(config: EncoderConfig, head: Head = MASKED_LM) -> Any:
    """Parameters of which none is zero but for the rows beyond the vocabulary."""
    draws, leaves = np.random.default_rng(0), {}
    for path, shape in parameter_shapes(config, head).items():
        mean = 1.0 if path.endswith("/scale") else 0.0
        leaf = draws.normal(mean, 0.3, shape).astype(np.float32)
        if path.endswith(("word/embedding", "masked_lm/bias", "masked_lm/decoder")):
            leaf[config.vocab_size :] = 0
        leaves[path] = leaf
    return unflatten_dict(leaves, sep="/")


def run(params: Any, config: EncoderConfig, ids: np.ndarray, head: Head = MASKED_LM) -> ModelOutput:
    """Everything the model gives, with the hidden states."""
    return _call(config, head)(params, ids)


@cache
def _call(config: EncoderConfig, head: Head) -> Any:
    apply = make_apply(config, head)
    return jax.jit(lambda params, ids: apply(params, ids, capture=("hidden_states",)))


def random_ids(length: int, vocab_size: int = 131) -> np.ndarray:
    return np.random.default_rng(length).integers(5, vocab_size, (3, length)).astype(np.int32)
