"""Cross-entropies as sums over the labels that count. Everything is float32."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer

from jaxbert.data.masking import IGNORED
from jaxbert.typing import Array


def counts(labels: Integer[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """True where a label counts."""
    # In 8 bits without a sign -100 would be the class 156.
    return labels.astype(jnp.int32) != IGNORED


def cross_entropy_sum(
    logits: Float[Array, "*shape classes"], labels: Integer[Array, "*shape"]
) -> Float[Array, ""]:
    """Sum of `cross_entropies`."""
    return jnp.sum(cross_entropies(logits, labels))


def cross_entropies(
    logits: Float[Array, "*shape classes"], labels: Integer[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """-log softmax(logits)[label]; 0 for a label that is IGNORED.

    NaN where another label is no class, so that a wrong batch stops the run.
    """
    logits, labels = logits.astype(jnp.float32), labels.astype(jnp.int32)
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


def class_weights_of(
    labels: Integer[Array, "*shape"], weights: Float[np.ndarray, "classes"]
) -> Float[Array, "*shape"]:
    """The weight of every label's class; 0 for a label that is IGNORED."""
    kept = counts(labels)
    index = jnp.where(kept, labels, 0).astype(jnp.int32)
    return jnp.where(kept, jnp.asarray(weights)[index], 0.0)


def weighted_cross_entropies(
    logits: Float[Array, "*shape classes"],
    labels: Integer[Array, "*shape"],
    weights: Float[np.ndarray, "classes"] | None,
    smoothing: float,
) -> Float[Array, "*shape"]:
    """The terms of torch.nn.CrossEntropyLoss(weights, label_smoothing=smoothing).

    (1 - smoothing) w[label] (-log p[label]) + smoothing / classes * sum over c of w[c] (-log p[c]);
    their mean is over `class_weights_of`. 0 for a label that is IGNORED.
    """
    losses, kept = cross_entropies(logits, labels), counts(labels)
    if weights is not None:
        losses *= class_weights_of(labels, weights)
    if not smoothing:
        return losses
    table = jnp.ones(logits.shape[-1]) if weights is None else jnp.asarray(weights)
    logits = logits.astype(jnp.float32)
    # Not a matrix product: by default those round float32 to bfloat16 on TPU.
    weighted = jnp.sum(logits * table.reshape((1,) * (logits.ndim - 1) + (-1,)), axis=-1)
    spread = jnp.sum(table) * jax.nn.logsumexp(logits, axis=-1) - weighted
    return (1 - smoothing) * losses + jnp.where(kept, smoothing / len(table) * spread, 0.0)


def binary_cross_entropies(
    logits: Float[Array, "*shape"], labels: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """-log sigmoid(logits) where a label is 1, -log(1 - sigmoid(logits)) where it is 0."""
    logits = logits.astype(jnp.float32)
    return jax.nn.softplus(logits) - labels * logits


def divergences(
    logits: Float[Array, "*shape classes"],
    teacher: Float[Array, "*shape classes"],
    temperature: float,
) -> Float[Array, "*shape"]:
    """temperature^2 KL(softmax(teacher / temperature) || softmax(logits / temperature)).

    Hinton et al. 2015, section 2: times the square, gradients are as large at every temperature.
    """
    # What takes no part has the least of numbers, which divided by less than 1 is none.
    least = jnp.finfo(jnp.float32).min
    ours, theirs = (
        jnp.maximum(x.astype(jnp.float32) / temperature, least) for x in (logits, teacher)
    )
    log_ours, log_theirs = (jax.nn.log_softmax(x, axis=-1) for x in (ours, theirs))
    return temperature**2 * jnp.sum(jnp.exp(log_theirs) * (log_theirs - log_ours), axis=-1)


def binary_divergences(
    logits: Float[Array, "*shape"], teacher: Float[Array, "*shape"], temperature: float
) -> Float[Array, "*shape"]:
    """As `divergences`, of a label that is there with the probability sigmoid(logit)."""
    ours, theirs = (jnp.stack((x, jnp.zeros_like(x)), axis=-1) for x in (logits, teacher))
    return divergences(ours, theirs, temperature)


def correct_sum(
    logits: Float[Array, "*shape classes"], labels: Integer[Array, "*shape"]
) -> Float[Array, ""]:
    """How many labels have the largest logit."""
    return jnp.sum((jnp.argmax(logits, axis=-1) == labels) & counts(labels), dtype=jnp.float32)


def label_count(labels: Integer[Array, "*shape"]) -> Float[Array, ""]:
    """How many labels count."""
    return jnp.sum(counts(labels), dtype=jnp.float32)
