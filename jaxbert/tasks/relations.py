"""How alike the tokens of a text are to each other, in a student and in its teacher."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbert.nn.attention import Projections
from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.typing import Array

Related = Bool[Array, "batch seq seq"]
"""Which tokens have relations with which."""
Parts = Float[Array, "parts batch seq _"]


def relation_losses(
    student: Projections, teacher: Projections, ids: Int[Array, "batch seq"], heads: int
) -> Float[Array, " batch"]:
    """Of each row the sum over its tokens of how far their relations are from the teacher's.

    Wang et al. 2021 (MiniLMv2), section 3.1: queries with queries, keys with keys and values with
    values, in `heads` parts of their features, whatever heads either model has. Of a token it is
    the sum over the three of the mean over parts of KL(teacher || student), in float32. `ids`: 1,
    2, ... for the tokens of the examples of a row, which have no relations with those of another
    one; 0 at padding. There are gradients by the student alone.
    """
    related = (ids[:, :, None] == ids[:, None, :]) & (ids > 0)[:, None, :]
    kinds = zip(student, teacher, strict=True)
    sums = [_apart(_parts(x, heads), _parts(y, heads), related) for x, y in kinds]
    return jnp.sum(jnp.stack(sums), axis=0) / heads


def _parts(x: Float[Array, "batch seq _ _"], heads: int) -> Parts:
    return jnp.moveaxis(x.reshape(*x.shape[:2], heads, -1), 2, 0)


@jax.custom_vjp
def _apart(student: Parts, teacher: Parts, related: Related) -> Float[Array, " batch"]:
    """The sum over tokens and parts.

    One part after another: 48 of 32 rows of 512 tokens are 1.6 GB of relations, one is 34 MB, which
    stays on a chip. The gradient by hand is made in the same loop and is as small as the student's
    projections: a row's tokens are related to each other alone, so that its slope is a factor.
    """

    def add(total: Array, parts: tuple[Array, Array]) -> tuple[Array, None]:
        return total + _of_part(*parts, related)[0], None

    return jax.lax.scan(add, jnp.zeros(student.shape[1]), (student, teacher))[0]


def _forward(student: Parts, teacher: Parts, related: Related) -> tuple[Array, tuple[Parts, Parts]]:
    def add(total: Array, parts: tuple[Array, Array]) -> tuple[Array, Array]:
        loss, slopes = _of_part(*parts, related)
        x = parts[0]
        slopes = (slopes * x.shape[-1] ** -0.5).astype(x.dtype)
        of_rows = jnp.einsum("bqk,bkd->bqd", slopes, x, preferred_element_type=jnp.float32)
        of_columns = jnp.einsum("bqk,bqd->bkd", slopes, x, preferred_element_type=jnp.float32)
        return total + loss, (of_rows + of_columns).astype(x.dtype)

    total, gradient = jax.lax.scan(add, jnp.zeros(student.shape[1]), (student, teacher))
    return total, (gradient, teacher)


def _backward(given: tuple[Parts, Parts], slope: Array) -> tuple[Parts, Parts, None]:
    gradient, teacher = given
    by_row = gradient * slope[None, :, None, None]
    return by_row.astype(gradient.dtype), jnp.zeros_like(teacher), None


_apart.defvjp(_forward, _backward)


def _of_part(
    x: Float[Array, "batch seq _"], teacher: Float[Array, "batch seq _"], related: Related
) -> tuple[Float[Array, " batch"], Float[Array, "batch seq seq"]]:
    """The sum over tokens, and its derivatives by the student's scores; 0 at padding."""
    ours, theirs = _scores(x, related), _scores(teacher, related)
    # Written out: softmax and logsumexp would go over the scores once more each.
    largest, largest_of_theirs = (jnp.max(s, axis=-1, keepdims=True) for s in (ours, theirs))
    powers, theirs_powers = jnp.exp(ours - largest), jnp.exp(theirs - largest_of_theirs)
    total, their_total = (jnp.sum(e, axis=-1, keepdims=True) for e in (powers, theirs_powers))
    apart = jnp.sum(theirs_powers * (theirs - ours), axis=-1, keepdims=True) / their_total
    apart += (jnp.log(total) + largest) - (jnp.log(their_total) + largest_of_theirs)
    return jnp.sum(apart, axis=(1, 2)), powers / total - theirs_powers / their_total


def _scores(x: Float[Array, "batch seq _"], related: Related) -> Float[Array, "batch seq seq"]:
    scores = jnp.einsum("bqd,bkd->bqk", x, x, preferred_element_type=jnp.float32)
    return jnp.where(related, scores * x.shape[-1] ** -0.5, MASKED_SCORE)
