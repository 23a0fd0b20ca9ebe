"""Which residues of a protein touch, from attention weights (Rao et al. 2020)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Shaped

from jaxbert.typing import Array, ArrayOrNumpy


class ContactHead(NamedTuple):
    """A logistic regression over the heads of all layers, from the first layer on."""

    weight: Float[ArrayOrNumpy, " all_heads"]
    bias: Float[ArrayOrNumpy, ""]


def predict_contacts(
    head: ContactHead,
    attentions: tuple[Float[Array, "batch heads seq seq"], ...],
    attention_mask: Shaped[ArrayOrNumpy, "batch seq"],
) -> Float[Array, "batch seq seq"]:
    """The probability that two residues touch; 0 at the first and last token of a row and beyond.

    `attentions`: those of every layer, of rows of one protein each, as `capture=("attentions",)`
    gives them. They are made symmetric and less the average product of their rows and columns, as
    transformers' ESM does, whose result lacks the first and last column.
    """
    real = jnp.asarray(attention_mask, bool)
    count = jnp.cumsum(real, axis=1)
    residues = real & (count > 1) & (count < count[:, -1:])
    both = residues[:, :, None] & residues[:, None, :]
    scores = jnp.full(both.shape, jnp.asarray(head.bias), jnp.float32)
    for weights, shares in zip(attentions, _by_layer(head, attentions), strict=True):
        x = jnp.where(both[:, None], weights + weights.swapaxes(2, 3), 0.0)
        rows = x.sum(axis=3)
        total = rows.sum(axis=2)
        # A row without residues has no average.
        shares_of_total = shares[None] / jnp.where(total > 0, total, 1.0)
        scores += jnp.einsum("bnqk,n->bqk", x, shares)
        scores -= jnp.einsum("bnq,bnk,bn->bqk", rows, rows, shares_of_total)
    return jnp.where(both, jax.nn.sigmoid(scores), 0.0)


def _by_layer(head: ContactHead, attentions: tuple[Array, ...]) -> Float[Array, "layers heads"]:
    return jnp.asarray(head.weight).reshape(len(attentions), attentions[0].shape[1])
