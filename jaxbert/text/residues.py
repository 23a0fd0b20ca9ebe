"""ESM's tokenizer of proteins: every token of a vocabulary stands in text as it is."""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from jaxbert.text.special_tokens import ESM_TOKENS
from jaxbert.text.vocabulary import Vocabulary

RESIDUES = (
    *("<cls>", "<pad>", "<eos>", "<unk>"),
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    *("<null_1>", "<mask>"),
)
"""The vocabulary of every published ESM-2 and ESM-1b, in the order of its ids."""

# What Python's str.split takes for white space.
_SPACES = Regex(r"[\s\x1c-\x1f\x85]+")


def residue_backend(vocabulary: Vocabulary, unk_token: str) -> Tokenizer:
    """The longest token at every place; what is between two, up to a space, is one unknown."""
    backend = Tokenizer(models.WordLevel(dict(vocabulary.tokens), unk_token=unk_token))
    backend.pre_tokenizer = _cut(vocabulary.tokens)
    return backend


def _cut(tokens: Iterable[str]) -> pre_tokenizers.PreTokenizer:
    found = pre_tokenizers.Split(Regex(_any_of(tokens)), "isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.Split(_SPACES, "removed"), found])


def _any_of(tokens: Iterable[str]) -> str:
    special = set(ESM_TOKENS.values())
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    ordinary = [re.escape(token) for token in longest_first if token not in special]
    # Special tokens are found before this, or are not to be: then they are torn, for as a whole
    # they would still have their ids.
    torn = [f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in sorted(special)]
    return "|".join([*torn, *ordinary])


def is_residue_backend(backend: Tokenizer) -> bool:
    """Whether it is `residue_backend`'s."""
    if not isinstance(backend.model, models.WordLevel) or backend.normalizer is not None:
        return False
    cut, own = _cut(backend.get_vocab(with_added_tokens=False)), backend.pre_tokenizer
    return own is not None and own.__getstate__() == cut.__getstate__()


def residue_table(backend: Tokenizer) -> NDArray[np.int32] | None:
    """The id of every byte that is a token, -1 of others: int32 [256].

    A text of such bytes alone is looked up some fifty times as fast as it is cut. None: the
    tokenizer is not `residue_backend`'s, or has words of several letters besides.
    """
    if not is_residue_backend(backend):
        return None
    table = np.full(256, -1, np.int32)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    for token, token_id in vocabulary.items():
        if len(token) == 1 and token.isascii() and not token.isspace():
            table[ord(token)] = token_id
    words = (token for token in vocabulary if len(token) > 1 and token.isascii())
    if any((table[list(word.encode())] >= 0).all() for word in words):
        return None
    return table
