"""From token ranges to the ids of examples: [CLS] A [SEP] B [SEP], one after another."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.arrays import Indices
from jaxbert.data.pairs import Pairs
from jaxbert.data.ragged import Ragged
from jaxbert.data.vocabulary import Vocabulary

Read = Callable[[Indices, Indices], NDArray[np.unsignedinteger]]
"""(starts, lengths) of token ranges -> their ids one after another."""


def assemble(
    read: Read, pairs: Pairs, vocabulary: Vocabulary
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None, Ragged]:
    """The examples of pairs: their ids and token types, int32 [tokens], and where each one is.

    The types are None where no example has a part B.
    """
    # Of A and B in turn.
    starts, counts = np.empty((2, len(pairs.label), 2), np.int64)
    starts[:, 0], starts[:, 1] = pairs.a_start, pairs.b_start
    counts[:, 0], counts[:, 1] = pairs.a_length, pairs.b_length
    parts = counts + (counts > 0)
    parts[:, 0] = pairs.a_length + 2
    examples = Ragged(parts.sum(axis=1))
    starts, counts, parts = starts.ravel(), counts.ravel(), parts.ravel()
    ends = np.cumsum(parts)
    input_ids = np.empty(parts.sum(), np.int32)
    is_text = np.ones(len(input_ids), bool)
    for special, places in (
        (vocabulary.sep_id, ends[parts > 0] - 1),
        (vocabulary.cls_id, examples.starts),
    ):
        input_ids[places] = special
        is_text[places] = False
    filled = counts > 0
    input_ids[is_text] = read(starts[filled], counts[filled])
    if not pairs.b_length.any():
        return input_ids, None, examples
    types = np.tile(np.arange(2, dtype=np.int32), len(examples.lengths))
    return input_ids, np.repeat(types, parts), examples
