"""A text as tokens, each of which knows where it comes from."""

from typing import NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray


class EncodedText(NamedTuple):
    """The tokens of a text or a pair with the special ones around them, or some of these tokens."""

    input_ids: NDArray[np.int32]
    token_type_ids: NDArray[np.int32]
    members: NDArray[np.int32]
    """0 for tokens of the text, 1 for those of its pair, -1 for special ones."""
    offsets: NDArray[np.int32]
    """[tokens, 2]: first character in the original text or pair, and the one after the last.

    As transformers' `offset_mapping`: (0, 0) for special tokens. White space before a word is
    among its characters with DeBERTa's and ModernBERT's tokenizers alone, whatever `trim_offsets`
    of a tokenizer's files says; answers are cut out by those of `data.letters`.
    """

    @classmethod
    def of(cls, encoding: tokenizers.Encoding, *, has_types: bool) -> "EncodedText":
        """From what the `tokenizers` library gives; without types they are 0."""
        ids = np.array(encoding.ids, np.int32)
        types = np.array(encoding.type_ids, np.int32) if has_types else np.zeros_like(ids)
        members = np.array([-1 if m is None else m for m in encoding.sequence_ids], np.int32)
        members[np.array(encoding.special_tokens_mask, bool)] = -1
        offsets = np.array(encoding.offsets, np.int32).reshape(len(ids), 2)
        return cls(ids, types, members, offsets)

    def take(self, places: NDArray[np.int64]) -> "EncodedText":
        """The tokens at some places."""
        return EncodedText(*(values[places] for values in self))


class EncodedWords(NamedTuple):
    """The tokens of a text that was given word by word, with the special ones around them."""

    input_ids: NDArray[np.int32]
    token_type_ids: NDArray[np.int32]
    words: NDArray[np.int32]
    """[tokens] The number of each token's word, -1 for special ones, as transformers' `word_ids`.

    A word may have no token: what has nothing but control characters, say.
    """

    @classmethod
    def of(cls, encoding: tokenizers.Encoding, *, has_types: bool) -> "EncodedWords":
        """From what the `tokenizers` library gives; without types they are 0."""
        ids = np.array(encoding.ids, np.int32)
        types = np.array(encoding.type_ids, np.int32) if has_types else np.zeros_like(ids)
        words = np.array([-1 if word is None else word for word in encoding.word_ids], np.int32)
        return cls(ids, types, words)
