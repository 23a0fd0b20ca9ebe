"""Where the examples of a batch lie: one in every row, or several side by side (packed)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Shaped

from jaxbert.errors import UserError
from jaxbert.nn.inputs import check_shape, integers, mask_of
from jaxbert.typing import Array, ArrayOrLists, ArrayOrNumpy


class Examples(NamedTuple):
    """What a model must know of packing: its modules ask here and are the same for both.

    An example of a packed row is a run of columns, so that distances between its tokens are those
    of their columns. Whatever is not asked for costs nothing under `jax.jit`.
    """

    is_real: Bool[Array, "batch seq"]
    """False at padding."""
    sequence_ids: Int[Array, "batch seq"] | None = None
    """1, 2, ... in the order of the row, 0 at padding; None: every row is one example."""
    sequence_starts: Int[Array, "batch examples"] | None = None
    """The column of every example's first token; 0 where there is no such example."""
    positions: Int[Array, "batch seq"] | None = None
    """Of every token, where the caller gives them; None: counted from its example's start."""

    @property
    def attended(self) -> Bool[Array, "batch 1 #seq seq"]:
        """[row, 0, query, key]: the keys that a token attends to, which are its own example's.

        Padding of packed rows has none, which makes its softmax uniform. One for all heads, from
        comparisons that XLA does where the softmax reads them.
        """
        if self.sequence_ids is None:
            return self.is_real[:, None, None, :]
        ids = self.sequence_ids[:, None]
        return (ids[..., :, None] == ids[..., None, :]) & self.is_real[:, None, None, :]

    @property
    def attended_ids(self) -> tuple[Int[Array, "batch seq"], Int[Array, "batch seq"]]:
        """Of queries and of keys: `attended` is where they are equal.

        But for padding of packed rows, which attends to padding.
        """
        if self.sequence_ids is None:
            return jnp.ones(self.is_real.shape, jnp.int32), self.is_real.astype(jnp.int32)
        ids = self.sequence_ids.astype(jnp.int32)
        return ids, ids

    @property
    def members(self) -> Bool[Array, "batch *examples seq"]:
        """The tokens of every example; without the axis `examples` where a row is one."""
        if self.sequence_ids is None:
            return self.is_real
        numbers = jnp.arange(1, self._starts().shape[1] + 1)
        return self.sequence_ids[:, None, :] == numbers[None, :, None]

    def first(
        self, x: Shaped[Array, "batch seq features"]
    ) -> Shaped[Array, "batch *examples features"]:
        """What stands at the first column of every example, real or not."""
        if self.sequence_ids is None:
            return x[:, 0]
        return jnp.take_along_axis(x, self._starts()[..., None], axis=1)

    def by_position(
        self, table: Float[Array, "positions features"]
    ) -> Float[Array, "#batch seq features"]:
        """The row of `table` for every token's position."""
        if self.positions is not None:
            return table[self.positions]
        columns = jnp.arange(self.is_real.shape[1])
        if self.sequence_ids is None:
            return table[None, : columns.size]
        columns = jnp.broadcast_to(columns[None], self.is_real.shape)
        return table[columns - self._at_start(columns)]

    def counted(self, marks: Int[Array, "batch seq"]) -> Int[Array, "batch seq"]:
        """The sum of `marks` (0 or 1) from its example's start up to and with every column."""
        total = jnp.cumsum(marks, axis=1)
        return total if self.sequence_ids is None else total - self._at_start(total - marks)

    def totals(self, marks: Int[Array, "batch seq"]) -> Int[Array, "batch seq"]:
        """The sum of `marks` (0 or 1) over its whole example, for every column."""
        if self.sequence_ids is None:
            return jnp.broadcast_to(marks.sum(axis=1, keepdims=True), marks.shape)
        backwards = Examples(self.is_real[:, ::-1], self.sequence_ids[:, ::-1])
        after = backwards.counted(marks[:, ::-1])[:, ::-1]
        return self.counted(marks) + after - marks

    def neighbours(
        self, x: Float[Array, "batch seq features"], offset: int
    ) -> Float[Array, "batch seq features"]:
        """What stands `offset` columns on; zero beyond the ends of the row or of the example."""
        found = _shifted(x, offset)
        if self.sequence_ids is None:
            return found
        ids = self.sequence_ids[..., None]
        return jnp.where(_shifted(ids, offset) == ids, found, 0)

    def _at_start(self, rising: Int[Array, "batch seq"]) -> Int[Array, "batch seq"]:
        """For every column the value of `rising` (never negative) where its example starts."""
        assert self.sequence_ids is not None
        before = jnp.pad(self.sequence_ids[:, :-1], ((0, 0), (1, 0)))
        return jax.lax.cummax(jnp.where(self.sequence_ids != before, rising, 0), axis=1)

    def _starts(self) -> Int[Array, "batch examples"]:
        if self.sequence_starts is None:
            raise UserError(
                "sequence_ids without sequence_starts: this head takes one vector of every "
                "example; give the column of each one's first token, [batch, examples]"
            )
        return self.sequence_starts


def lay_out(
    input_ids: Shaped[ArrayOrNumpy, "*choices seq"],
    attention_mask: ArrayOrLists | None,
    sequence_ids: ArrayOrLists | None,
    sequence_starts: ArrayOrLists | None,
) -> Examples:
    """Examples from what a model is called with, all rows along one axis.

    Of `input_ids` only the shape is read, and the others must have it; `sequence_starts` are
    [batch, examples] or [batch, examples, texts]. Raises UserError where they do not fit.
    """
    shape = input_ids.shape
    if sequence_ids is None:
        if sequence_starts is not None:
            raise UserError("sequence_starts without sequence_ids: give both for packed rows")
        if attention_mask is None:
            return Examples(jnp.ones(shape, bool).reshape(-1, shape[-1]))
        mask = mask_of("attention_mask", attention_mask, shape)
        return Examples(jnp.asarray(mask, bool).reshape(-1, shape[-1]))
    if attention_mask is not None:
        raise UserError(
            "attention_mask beside sequence_ids: packed rows have padding where it is 0"
        )
    given = integers("sequence_ids", sequence_ids)
    check_shape("sequence_ids", given, shape)
    ids = jnp.asarray(given)
    if sequence_starts is None:
        return Examples(ids > 0, ids)
    starts = integers("sequence_starts", sequence_starts, shape[-1])
    if starts.ndim not in (2, 3) or starts.shape[0] != shape[0]:
        raise UserError(
            f"sequence_starts is {list(starts.shape)}: expected [{shape[0]}, examples], the column "
            "of the first token of every example"
        )
    return Examples(ids > 0, ids, jnp.asarray(starts).reshape(starts.shape[0], -1))


def _shifted(x: Shaped[Array, "batch seq features"], offset: int) -> Array:
    """x[:, column + offset], zero beyond the row."""
    return jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (-offset, offset, 0), (0, 0, 0)))
