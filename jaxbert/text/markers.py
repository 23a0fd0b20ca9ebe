"""Marks that stand before texts as one token, such as ColBERT's [unused0]."""

from collections.abc import Iterable

import tokenizers
from tokenizers import AddedToken

from jaxbert.text.tokenizer import Tokenizer


def with_whole(tokenizer: Tokenizer, marks: Iterable[str]) -> Tokenizer:
    """A tokenizer to which a mark, or its first word, is one token where its vocabulary has it.

    Within a text "[unused0]" would be cut into brackets and letters. What is no token stays text.
    """
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    wanted = []
    for mark in marks:
        spelled = (mark, *mark.split(None, 1)[:1])
        known = next((each for each in spelled if each.strip() and each in vocabulary), None)
        if known is not None and tokenizer.encode_plain([known])[0] != [vocabulary[known]]:
            wanted.append(AddedToken(known, normalized=False, special=True))
    if not wanted:
        return tokenizer
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens(wanted)
    return Tokenizer(backend, tokenizer.config)
