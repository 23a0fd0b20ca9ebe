"""Cross-entropies as sums over the labels that count. Everything is float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbert.data.masking import IGNORED
from jaxbert.typing import Array


def counts(labels: Int[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """True where a label counts."""
    return labels != IGNORED


def cross_entropy_sum(
    logits: Float[Array, "*shape classes"], labels: Int[Array, "*shape"]
) -> Float[Array, ""]:
    """Sum of `cross_entropies`."""
    return jnp.sum(cross_entropies(logits, labels))


def cross_entropies(
    logits: Float[Array, "*shape classes"], labels: Int[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """-log softmax(logits)[label]; 0 for a label that is IGNORED.

    NaN where another label is no class, so that a wrong batch stops the run.
    """
    logits = logits.astype(jnp.float32)
    kept = counts(labels)
    # One gathered logit and two reductions: no second array of the size of the logits. The
    # largest is subtracted from both, since logsumexp(logits) - chosen cancels at large logits.
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1))
    # Beyond the last class the gather gives NaN; a negative index would count from the end.
    index = jnp.where(labels < 0, logits.shape[-1], labels)
    index = jnp.where(kept, index, 0)
    chosen = jnp.take_along_axis(logits, index[..., None], axis=-1)[..., 0]
    total = jnp.sum(jnp.exp(logits - largest[..., None]), axis=-1)
    losses = jnp.log(total) - (chosen - largest)
    return jnp.where(kept, losses, 0.0)


def correct_sum(
    logits: Float[Array, "*shape classes"], labels: Int[Array, "*shape"]
) -> Float[Array, ""]:
    """How many labels have the largest logit."""
    return jnp.sum((jnp.argmax(logits, axis=-1) == labels) & counts(labels), dtype=jnp.float32)


def label_count(labels: Int[Array, "*shape"]) -> Float[Array, ""]:
    """How many labels count."""
    return jnp.sum(counts(labels), dtype=jnp.float32)
