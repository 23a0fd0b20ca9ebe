"""From token ranges to the ids of examples: [CLS] A [SEP] B [SEP], one after another."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.pairs import Pairs
from jaxbert.data.ragged import Ragged
from jaxbert.data.vocabulary import Vocabulary

Indices = NDArray[np.int64]
Batch = dict[str, NDArray[np.int32]]

Read = Callable[[Indices, Indices], NDArray[np.unsignedinteger]]
"""(starts, lengths) of token ranges -> their ids one after another."""


def assemble(
    read: Read, pairs: Pairs, vocabulary: Vocabulary
) -> tuple[NDArray[np.int32], Ragged, NDArray[np.int32]]:
    """The examples of pairs: their ids and token types, int32 [tokens], and where each one is."""
    starts = np.stack([pairs.a_start, pairs.b_start], axis=1).ravel()
    counts = np.stack([pairs.a_length, pairs.b_length], axis=1).ravel()
    # With [CLS] and [SEP] behind A, and with [SEP] behind B.
    parts = counts + (counts > 0)
    parts[0::2] = pairs.a_length + 2
    examples = Ragged(parts[0::2] + parts[1::2])
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
    types = np.repeat(np.tile(np.arange(2, dtype=np.int32), len(examples.lengths)), parts)
    return input_ids, examples, types
