"""Scores of late interaction, without all products of tokens at a time."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbert.nn.numerics import MASKED_SCORE
from jaxbert.nn.placement import all_rows, first_row
from jaxbert.tasks.contrast import candidates_of
from jaxbert.tasks.losses import cross_entropies
from jaxbert.typing import Array


def late_losses(
    vectors: Float[Array, "batch texts seq dimensions"],
    is_scored: Bool[Array, "batch texts seq"],
    text_ids: Int[Array, "batch texts"],
    is_real: Bool[Array, " batch"],
    *,
    query_length: int,
    scale: float,
    spare_duplicates: bool,
) -> Float[Array, " batch"]:
    """Cross-entropy of the own positive among all positives and negatives of the whole batch.

    As `contrast.ranking_losses`, on the scores of `max_sims` times `scale`: with Khattab and
    Zaharia 2020 (section 3.3) as with in-batch negatives of Santhanam et al. 2022 (section 3.1).
    Of queries no more than `query_length` columns hold tokens.
    """
    width = min(query_length, vectors.shape[2])
    of_documents, is_token = (all_rows(x[:, 1:]) for x in (vectors, is_scored))
    # In the order of the candidates: column by column.
    documents, is_token = (
        x.swapaxes(0, 1).reshape(-1, *x.shape[2:]) for x in (of_documents, is_token)
    )
    all_ids, all_real = all_rows(text_ids), all_rows(is_real)
    number = first_row(len(vectors)) + jnp.arange(len(vectors))
    is_own = number[:, None] == jnp.arange(len(all_ids))[None]
    mask = candidates_of(text_ids, all_ids, all_real, is_own, spare_duplicates=spare_duplicates)
    scores = max_sims(vectors[:, 0, :width], is_scored[:, 0, :width], documents, is_token)
    losses = cross_entropies(jnp.where(mask, scale * scores, MASKED_SCORE), number)
    return jnp.where(is_real, losses, 0.0)


@jax.custom_vjp
def max_sims(
    queries: Float[Array, "queries tokens dimensions"],
    is_query: Bool[Array, "queries tokens"],
    documents: Float[Array, "documents seq dimensions"],
    is_document: Bool[Array, "documents seq"],
) -> Float[Array, "queries documents"]:
    """float32: the sum over a query's tokens of the largest product with a document's.

    One document after another, so that only its products are in memory. 0 for a document without
    tokens. The gradient goes to the token that had the maximum, the first of several.
    """
    return _scores(queries, is_query, documents, is_document)[0]


def _scores(
    queries: Array, is_query: Array, documents: Array, is_document: Array
) -> tuple[Array, Array]:
    """Scores, and the token that had the maximum: [documents, queries, tokens]."""
    count, tokens, seq = *queries.shape[:2], documents.shape[1]
    rows = queries.reshape(count * tokens, -1)

    def of_document(_: None, document: tuple[Array, Array]) -> tuple[None, tuple[Array, Array]]:
        vectors, is_token = document
        products = jnp.where(is_token[None], _product(rows, vectors.T), MASKED_SCORE)
        counts = is_query & jnp.any(is_token)
        largest = jnp.where(counts, jnp.max(products, axis=-1).reshape(counts.shape), 0.0)
        # As small as can be: it is kept of every document.
        nearest = jnp.argmax(products, axis=-1).astype(jnp.uint8 if seq <= 256 else jnp.uint16)
        return None, (jnp.sum(largest, axis=-1), nearest.reshape(counts.shape))

    _, (scores, nearest) = jax.lax.scan(of_document, None, (documents, is_document))
    return scores.T, nearest


def _forward(*given: Array) -> tuple[Array, tuple[Array, ...]]:
    scores, nearest = _scores(*given)
    return scores, (*given, nearest)


def _backward(kept: tuple[Array, ...], slopes: Array) -> tuple[Array | None, ...]:
    queries, is_query, documents, is_document, nearest = kept
    rows = queries.reshape(-1, queries.shape[-1])
    columns = jnp.arange(documents.shape[1])[None, None]

    def of_document(total: Array, given: tuple[Array, ...]) -> tuple[Array, Array]:
        vectors, is_token, nearest, slope = given
        sent = jnp.where(is_query & jnp.any(is_token), slope[:, None], 0.0)
        sent = jnp.where(nearest[..., None] == columns, sent[..., None], 0.0)
        sent = sent.reshape(-1, columns.size)
        return total + _product(sent, vectors), _product(sent.T, rows)

    zeros = jnp.zeros(rows.shape, jnp.float32)
    each = (documents, is_document, nearest, slopes.T)
    of_queries, of_documents = jax.lax.scan(of_document, zeros, each)
    of_queries = of_queries.reshape(queries.shape).astype(queries.dtype)
    return of_queries, None, of_documents.astype(documents.dtype), None


max_sims.defvjp(_forward, _backward)


def _product(a: Float[Array, "rows inner"], b: Float[Array, "inner columns"]) -> Array:
    # What is float32 would by default be rounded to bfloat16 on a TPU; of bfloat16 it is exact.
    if a.dtype != b.dtype:
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    highest = jax.lax.Precision.HIGHEST
    return jnp.matmul(a, b, precision=highest, preferred_element_type=jnp.float32)
