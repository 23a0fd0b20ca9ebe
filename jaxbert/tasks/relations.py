"""How alike the tokens of a text are to each other, in a student and in its teacher."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbert.nn.attention import Projections
from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.typing import Array

Related = Bool[Array, "batch seq seq"]
"""Which tokens have relations with which."""


def relation_losses(
    student: Projections, teacher: Projections, ids: Int[Array, "batch seq"], heads: int
) -> Float[Array, "batch seq"]:
    """Of each token how far its relations to the others are from the teacher's; 0 at padding.

    Wang et al. 2021 (MiniLMv2), section 3.1: queries with queries, keys with keys and values with
    values, in `heads` parts of their features, whatever heads either model has. The sum over the
    three of the mean over parts of KL(teacher || student), in float32. `ids`: 1, 2, ... for the
    tokens of the examples of a row, which have no relations with those of another one; 0 at
    padding. There are gradients by the student alone.
    """
    related = (ids[:, :, None] == ids[:, None, :]) & (ids > 0)[:, None, :]
    kinds = zip(student, teacher, strict=True)
    apart = sum((_apart(_parts(x, heads), _parts(y, heads), related) for x, y in kinds), 0.0)
    return jnp.where(ids > 0, apart / heads, 0.0)


def _parts(x: Float[Array, "batch seq _ _"], heads: int) -> Float[Array, "parts batch seq width"]:
    return jnp.moveaxis(x.reshape(*x.shape[:2], heads, -1), 2, 0)


@jax.custom_vjp
def _apart(
    student: Float[Array, "parts batch seq _"],
    teacher: Float[Array, "parts batch seq _"],
    related: Related,
) -> Float[Array, "batch seq"]:
    """The sum over the parts.

    One after another: 48 parts of 32 rows of 512 tokens are 1.6 GB of relations, a part is 34 MB,
    which stay on a chip. The gradient by hand computes them again and keeps none.
    """

    def add(total: Array, parts: tuple[Array, Array]) -> tuple[Array, None]:
        ours, theirs = (_scores(part, related) for part in parts)
        probabilities = jax.nn.softmax(theirs, axis=-1)
        apart = jnp.sum(probabilities * (theirs - ours), axis=-1)
        normal = jax.nn.logsumexp(ours, axis=-1) - jax.nn.logsumexp(theirs, axis=-1)
        return total + apart + normal, None

    total, _ = jax.lax.scan(add, jnp.zeros(student.shape[1:3]), (student, teacher))
    return total


def _forward(
    student: Array, teacher: Array, related: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _apart(student, teacher, related), (student, teacher, related)


def _backward(given: tuple[Array, Array, Array], slope: Array) -> tuple[Array, Array, None]:
    student, teacher, related = given

    def of_part(parts: tuple[Array, Array]) -> Array:
        ours, theirs = (jax.nn.softmax(_scores(part, related), axis=-1) for part in parts)
        x = parts[0]
        slopes = ((ours - theirs) * slope[..., None] * x.shape[-1] ** -0.5).astype(x.dtype)
        of_rows = jnp.einsum("bqk,bkd->bqd", slopes, x, preferred_element_type=jnp.float32)
        of_columns = jnp.einsum("bqk,bqd->bkd", slopes, x, preferred_element_type=jnp.float32)
        return (of_rows + of_columns).astype(x.dtype)

    return jax.lax.map(of_part, (student, teacher)), jnp.zeros_like(teacher), None


_apart.defvjp(_forward, _backward)


def _scores(x: Float[Array, "batch seq width"], related: Related) -> Float[Array, "batch seq seq"]:
    scores = jnp.einsum("bqd,bkd->bqk", x, x, preferred_element_type=jnp.float32)
    return jnp.where(related, scores * x.shape[-1] ** -0.5, MASKED_SCORE)
