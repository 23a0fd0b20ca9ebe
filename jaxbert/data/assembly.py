"""From token ranges to rows of ids: [CLS] A [SEP] B [SEP] and padding."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.masking import IGNORED
from jaxbert.data.pairs import Pairs
from jaxbert.data.vocabulary import Vocabulary

Indices = NDArray[np.int64]
Batch = dict[str, NDArray[np.int32]]

Read = Callable[[Indices, Indices], NDArray[np.unsignedinteger]]
"""(starts, lengths) of token ranges -> their ids one after another."""


def num_special(pairs: Pairs) -> Indices:
    """[CLS], and one [SEP] for each part: int64 [examples]."""
    return 2 + (pairs.b_length > 0)


def assemble(read: Read, pairs: Pairs, width: int, vocabulary: Vocabulary) -> tuple[Batch, Indices]:
    """Lays the pairs out in rows of `width`: the batch, and its examples' lengths [examples]."""
    a_end = 1 + pairs.a_length[:, None]
    lengths = pairs.a_length + pairs.b_length + num_special(pairs)
    columns = np.arange(width)
    is_real = columns < lengths[:, None]
    is_b = (columns > a_end) & is_real
    is_separator = (columns == a_end) | ((columns == lengths[:, None] - 1) & is_b)
    is_text = is_real & (columns > 0) & ~is_separator
    input_ids = np.full(is_real.shape, vocabulary.pad_id, np.int32)
    input_ids[:, 0] = vocabulary.cls_id
    input_ids[is_separator] = vocabulary.sep_id
    # In the order in which a mask goes through the rows: of each first A, then B.
    starts = np.stack([pairs.a_start, pairs.b_start], axis=1).ravel()
    counts = np.stack([pairs.a_length, pairs.b_length], axis=1).ravel()
    filled = counts > 0
    input_ids[is_text] = read(starts[filled], counts[filled])
    batch = {
        "input_ids": input_ids,
        "attention_mask": is_real.astype(np.int32),
        "token_type_ids": is_b.astype(np.int32),
        "next_sentence_label": pairs.label.astype(np.int32),
    }
    return batch, lengths


def make_filler(batch: Batch, is_filler: NDArray[np.bool_], vocabulary: Vocabulary) -> None:
    """Makes rows of a batch count for nothing."""
    batch["labels"][is_filler] = IGNORED
    batch["next_sentence_label"][is_filler] = IGNORED
    batch["masked_lm_positions"][is_filler] = 0
    batch["token_type_ids"][is_filler] = 0
    batch["input_ids"][is_filler] = vocabulary.pad_id
    batch["input_ids"][is_filler, 0] = vocabulary.cls_id
    # One position stays visible: a softmax over none is not a number.
    batch["attention_mask"][is_filler] = 0
    batch["attention_mask"][is_filler, 0] = 1
