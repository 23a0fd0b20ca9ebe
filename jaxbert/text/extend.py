"""New words for a tokenizer whose model has been trained already."""

from collections import Counter
from collections.abc import Sequence

import tokenizers
from tokenizers import AddedToken, models

from jaxbert.errors import UserError
from jaxbert.text.classes import ESM, assemble
from jaxbert.text.residues import is_residue_backend
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.vocabulary import Vocabulary


def add_tokens(tokenizer: Tokenizer, tokens: Sequence[str]) -> Tokenizer:
    """A tokenizer that knows whole words besides, their ids in order after the existing ones.

    A word is found between word boundaries and, where the tokenizer lowercases or normalizes, in
    any spelling that comes out the same; the rest of a text keeps its ids. (In SentencePiece's
    families what follows a new word at once is cut as if after a space, as in transformers.) In
    proteins, which have no words, it is found wherever it stands. Raises UserError for a token that
    is blank, given twice or a single piece already.
    """
    _check(tokenizer, tokens)
    if is_residue_backend(tokenizer.backend):
        known = [*tokenizer.vocab(), *tokens]
        vocabulary = Vocabulary(tokens={token: place for place, token in enumerate(known)})
        return Tokenizer(*assemble(ESM, vocabulary, tokenizer.config))
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    # Where a piece begins with its space, the space before a new word is part of the word.
    takes_space = not isinstance(backend.model, models.WordPiece)
    backend.add_tokens(
        [AddedToken(t, single_word=True, lstrip=takes_space, normalized=True) for t in tokens]
    )
    first = tokenizer.vocab_size
    for place, token in enumerate(tokens):
        if backend.token_to_id(token) != first + place:
            raise UserError(
                f"tokenizer: {token!r} gets the id {backend.token_to_id(token)}, not"
                f" {first + place}, for there are gaps among the {first} ids; fill them first"
            )
    return Tokenizer(backend, tokenizer.config)


def pieces_of(tokenizer: Tokenizer, token: str) -> list[int]:
    """Ids of the pieces that a word is cut into within a text, after a space."""
    return tokenizer.encode_plain([" " + token.strip()])[0]


def _check(tokenizer: Tokenizer, tokens: Sequence[str]) -> None:
    spellings = Counter(_normal(tokenizer, token) for token in tokens)
    first = {_normal(tokenizer, token): token for token in reversed(tokens)}
    faults = {
        "holds no text": [t for t in tokens if not pieces_of(tokenizer, t)],
        "is given twice": [first[spelling] for spelling, n in spellings.items() if n > 1],
        "is a token already": [t for t in tokens if _is_known(tokenizer, t)],
    }
    for fault, faulty in faults.items():
        if faulty:
            more = f" (and {len(faulty) - 1} more)" if len(faulty) > 1 else ""
            raise UserError(f"new tokens: {faulty[0]!r} {fault}{more}; leave it out")


def _normal(tokenizer: Tokenizer, token: str) -> str:
    normalizer = tokenizer.backend.normalizer
    return normalizer.normalize_str(token) if normalizer else token


def _is_known(tokenizer: Tokenizer, token: str) -> bool:
    pieces = pieces_of(tokenizer, token)
    alone = len(pieces) == 1 and pieces[0] != tokenizer.unk_id
    return alone or tokenizer.backend.token_to_id(token) is not None
