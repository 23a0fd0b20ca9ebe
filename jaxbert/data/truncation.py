"""Which tokens are kept of a text that is too long for a row."""

from typing import Literal

import numpy as np

from jaxbert.text.encoded_text import EncodedText

Truncation = Literal["head", "tail", "head_tail"]


def truncated(
    text: EncodedText, max_length: int, truncation: Truncation, head_share: float
) -> EncodedText:
    """At most `max_length` tokens: the special ones, and of every member its head, tail or both.

    head_tail keeps `head_share` of what is kept from the head (Sun et al. 2019, "How to fine-tune
    BERT for text classification", section 5.3.1: 128 of 510 tokens). Of a pair the longer member
    is cut first, as `Tokenizer.encode` does it.
    """
    members = [np.flatnonzero(text.members == member) for member in (0, 1)]
    special = np.flatnonzero(text.members < 0)
    room = max_length - len(special)
    kept = [special]
    shares = _shares(len(members[0]), len(members[1]), room)
    for places, share in zip(members, shares, strict=True):
        head = {"head": share, "tail": 0, "head_tail": int(head_share * share + 0.5)}[truncation]
        tail = len(places) - (share - head)
        kept += [places[:head], places[max(head, tail) :]]
    return text.take(np.sort(np.concatenate(kept)))


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two members of given lengths are kept, as the `tokenizers` library."""
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    longer = room - shorter
    return (shorter, longer) if first <= second else (longer, shorter)
