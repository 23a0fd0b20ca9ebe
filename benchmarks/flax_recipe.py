"""What FlaxBert is trained with in all benchmarks, as in transformers' run_mlm_flax.py."""

from typing import Any

import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict


def optimizer(rate: float, eps: float) -> optax.GradientTransformation:
    """AdamW after clipping; neither biases nor the norms' scales decay."""
    adamw = optax.adamw(rate, eps=eps, weight_decay=0.01, mask=_decayed)
    return optax.chain(optax.clip_by_global_norm(1.0), adamw)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over the labels that count, those from 0 on."""
    counts = labels >= 0
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), jnp.where(counts, labels, 0)
    )
    return (losses * counts).sum() / counts.sum()


def _decayed(params: Any) -> Any:
    flat = flatten_dict(params)
    return unflatten_dict({path: path[-1] not in ("bias", "scale") for path in flat})
