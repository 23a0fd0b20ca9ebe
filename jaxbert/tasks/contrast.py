"""Losses between the embeddings of texts. Everything is float32."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbert.nn.numerics import MASKED_SCORE, unit
from jaxbert.nn.placement import all_rows, first_row
from jaxbert.tasks.losses import cross_entropies
from jaxbert.typing import Array, Batch


def cosines(
    a: Float[Array, "*shape features"], b: Float[Array, "*shape features"]
) -> Float[Array, "*shape"]:
    """Cosine of every pair of vectors."""
    return jnp.sum(unit(a) * unit(b), axis=-1)


def ranking_losses(
    embeddings: Float[Array, "batch *examples texts features"],
    text_ids: Int[Array, "batch *examples texts"],
    is_real: Bool[Array, "batch *examples"],
    *,
    scale: float,
    symmetric: bool,
    spare_duplicates: bool,
    dimensions: Sequence[int],
    of_length_1: bool = True,
) -> Float[Array, "batch *examples"]:
    """Cross-entropy of the own positive among all positives and negatives of the whole batch.

    Texts of an example: anchor, positive, negatives (text_ids -1: none). Multiple negatives
    ranking (Henderson et al. 2017, section 4.4) on cosines times `scale`, as sentence-transformers'
    MultipleNegativesRankingLoss; symmetric: the mean with the loss of the anchor among all anchors
    for every positive. `spare_duplicates`: a text that equals the anchor, or a positive of it in
    any row, is no negative, wherever it stands. 0 where an example is not real. `dimensions`: the
    mean of the losses of vectors cut to so many first components (Kusupati et al. 2022). Without
    `of_length_1` it is dot products that are compared.
    """
    own, ids, real = _by_example(embeddings, text_ids, is_real)
    vectors, all_ids, all_real = _by_example(
        all_rows(embeddings), all_rows(text_ids), all_rows(is_real)
    )
    number = first_row(len(embeddings)) * (len(own) // len(embeddings)) + jnp.arange(len(own))
    is_own = number[:, None] == jnp.arange(len(vectors))[None]
    forward = candidates_of(ids, all_ids, all_real, is_own, spare_duplicates=spare_duplicates)
    backward = None
    if symmetric:
        backward = jnp.broadcast_to(all_real[None], is_own.shape)
        if spare_duplicates:
            anchors = all_ids[:, 0]
            # All that stands beside the positive in some row belongs to it.
            same = _equal(ids[:, 1], all_ids[:, 1])
            is_known = _equal(ids[:, 1], anchors) | _among(same, anchors, anchors)
            backward &= ~is_known | is_own
    # Which texts are compared is the same for all cuts, whose vectors are of length 1 each.
    cuts = [(own[..., :width], vectors[..., :width]) for width in dimensions]
    cuts = [(unit(a), unit(b)) for a, b in cuts] if of_length_1 else cuts
    losses = jnp.stack([_losses_of_cut(*cut, forward, backward, number, scale) for cut in cuts])
    return jnp.where(real, jnp.mean(losses, axis=0), 0.0).reshape(is_real.shape)


def squared_differences(
    ours: Float[Array, "batch *examples texts features"],
    theirs: Float[Array, "batch *examples texts features"],
    batch: Batch,
) -> Float[Array, ""]:
    """Sum over the rows that count of the mean over their texts and components."""
    apart, is_there = jnp.mean(jnp.square(ours - theirs), axis=-1), batch["text_ids"] >= 0
    found = jnp.sum(jnp.where(is_there, apart, 0.0), axis=-1)
    of_row = found / jnp.maximum(jnp.sum(is_there, axis=-1), 1)
    return jnp.sum(jnp.where(batch["row_ids"] >= 0, of_row, 0.0))


def candidates_of(
    ids: Int[Array, "rows texts"],
    all_ids: Int[Array, "count texts"],
    all_real: Bool[Array, " count"],
    is_own: Bool[Array, "rows count"],
    *,
    spare_duplicates: bool,
) -> Bool[Array, "rows candidates"]:
    """What an anchor is compared with: all positives, then all negatives, column by column."""
    # All that stands beside the anchor in some row belongs to it.
    same, masks = _equal(ids[:, 0], all_ids[:, 0]), []
    for column in range(1, all_ids.shape[1]):
        others = all_ids[:, column]
        is_candidate = (all_real & (others >= 0))[None]
        if spare_duplicates:
            is_known = _equal(ids[:, 0], others) | _among(same, all_ids[:, 1], others)
            is_candidate &= ~is_known | (is_own & (column == 1))
        masks.append(jnp.broadcast_to(is_candidate, is_own.shape))
    return jnp.concatenate(masks, axis=1)


def _losses_of_cut(
    own: Float[Array, "rows texts features"],
    vectors: Float[Array, "count texts features"],
    forward: Bool[Array, "rows candidates"],
    backward: Bool[Array, "rows count"] | None,
    labels: Int[Array, " rows"],
    scale: float,
) -> Float[Array, " rows"]:
    """Of anchors among candidates and, with `backward`, of positives among anchors."""
    candidates = vectors[:, 1:].swapaxes(0, 1).reshape(-1, vectors.shape[-1])
    losses = _losses(own[:, 0], candidates, forward, labels, scale)
    if backward is None:
        return losses
    return (losses + _losses(own[:, 1], vectors[:, 0], backward, labels, scale)) / 2


def _by_example(
    embeddings: Array, text_ids: Array, is_real: Array
) -> tuple[Float[Array, "count texts features"], Int[Array, "count texts"], Bool[Array, " count"]]:
    """Without the axis of packed rows."""
    return (
        embeddings.reshape(-1, *embeddings.shape[-2:]),
        text_ids.reshape(-1, text_ids.shape[-1]),
        is_real.reshape(-1),
    )


def _equal(a: Int[Array, " rows"], b: Int[Array, " columns"]) -> Bool[Array, "rows columns"]:
    return a[:, None] == b[None]


def _among(
    chosen: Bool[Array, "rows columns"],
    texts: Int[Array, " columns"],
    others: Int[Array, " columns"],
) -> Bool[Array, "rows columns"]:
    """Which of `others` are among the `texts` that a row has chosen."""
    # As a product, which is exact: its operands are 0 and 1, and no sum of them is rounded to 0.
    marks = _equal(texts, others).astype(jnp.bfloat16)
    counts = jnp.matmul(chosen.astype(jnp.bfloat16), marks, preferred_element_type=jnp.float32)
    return counts > 0


def _losses(
    queries: Float[Array, "rows features"],
    candidates: Float[Array, "columns features"],
    mask: Bool[Array, "rows columns"],
    labels: Int[Array, " rows"],
    scale: float,
) -> Float[Array, " rows"]:
    # By default a TPU would round cosines to bfloat16, which `scale` makes large.
    scores = jnp.matmul(queries, candidates.T, precision=jax.lax.Precision.HIGHEST)
    return cross_entropies(jnp.where(mask, scale * scores, MASKED_SCORE), labels)
