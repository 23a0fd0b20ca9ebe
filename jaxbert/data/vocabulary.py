"""What the token ids of a vocabulary mean to pretraining, as arrays to look ids up in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jaxbert.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """Special ids, and per id whether it is special and whether it continues a word (`##`).

    `is_special` and `is_continuation` are bool [vocab]; `replacements` are the ids that a random
    replacement is drawn from: all that stand for a token and are not special.
    """

    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    is_special: NDArray[np.bool_]
    is_continuation: NDArray[np.bool_]
    replacements: NDArray[np.int32]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Vocabulary":
        """Reads the roles of the ids off a tokenizer."""
        is_special = np.zeros(tokenizer.vocab_size, dtype=bool)
        is_special[sorted(tokenizer.special_ids)] = True
        stands_for_token = np.array([token != "" for token in tokenizer.vocab()])
        return cls(
            pad_id=tokenizer.pad_id,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            mask_id=tokenizer.mask_id,
            is_special=is_special,
            is_continuation=tokenizer.is_continuation(),
            replacements=np.flatnonzero(stands_for_token & ~is_special).astype(np.int32),
        )
