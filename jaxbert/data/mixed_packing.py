"""Which examples of fine-tuning share a row: whatever an order brings together."""

import numpy as np

from jaxbert.data.arrays import Indices
from jaxbert.data.packing import Limits, PackedRows


def mixed_rows(lengths: Indices, limits: Limits) -> PackedRows:
    """Assigns examples of `lengths` tokens [examples] in their order, each to the row where it
    leaves the least room.

    In a random order rows mix examples of all lengths, and batches have about equally many.
    `plan_rows` fills rows better, by some hundredths, with examples of like length, so that a batch
    has much of one kind and trains less well (docs/decisions.md).
    """
    assert limits.predictions is None, limits
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(limits.tokens + 1)]
    """By the room that is left in them."""
    rooms = 0
    """The rooms of which there are open rows, as bits."""
    for example, length in enumerate(lengths.tolist()):
        assert 0 < length <= limits.tokens, (length, limits)
        if fitting := rooms >> length:
            room = length + (fitting & -fitting).bit_length() - 1
            row = open_rows[room].pop()
            rooms ^= 0 if open_rows[room] else 1 << room
        else:
            room, row = limits.tokens, len(rows)
            rows.append([])
        rows[row].append(example)
        room -= length
        if room and len(rows[row]) < limits.examples:
            open_rows[room].append(row)
            rooms |= 1 << room
    examples = np.array([example for row in rows for example in row], np.uint32)
    return PackedRows(examples, np.cumsum([0, *map(len, rows)]))
