"""The characters of a corpus, counted before a tokenizer is trained on it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer

from jaxbert.errors import UserError

# Rarer characters become the unknown token rather than each taking a place of the vocabulary.
ALPHABET_LIMIT = 1000
_COUNTED_AT_ONCE = 2**22


def check_size(vocab_size: int, characters: Sequence[str], needed: int) -> None:
    """Raises UserError for a corpus without text or a vocabulary that its characters overfill."""
    if not characters:
        raise UserError("vocabulary: the corpus holds no text to train it on")
    if needed > vocab_size:
        raise UserError(
            f"vocabulary: --vocab-size {vocab_size} is below the {needed} special tokens and"
            f" characters of this corpus; give at least {needed}"
        )


def common_characters(texts: Iterable[str], backend: Tokenizer) -> list[str]:
    """The commonest characters that reach the model, as the normalizer leaves them, sorted."""
    return _common(_character_counts(texts), backend)


def rare_characters(texts: Iterable[str], backend: Tokenizer) -> tuple[list[str], list[str]]:
    """`common_characters`, and the characters of the texts that give anything else."""
    found = list(_character_counts(texts))
    common = _common(found, backend)
    kept = set(common)
    rare = [c for c, _ in found if not _normal(c, backend) <= kept and _reaches_model(c, backend)]
    return common, rare


def _common(found: Iterable[tuple[str, int]], backend: Tokenizer) -> list[str]:
    counts: Counter[str] = Counter()
    for character, times in found:
        for normal in _normal(character, backend):
            counts[normal] += times
    usable = [c for c in counts if _reaches_model(c, backend)]
    return sorted(sorted(usable, key=lambda c: (-counts[c], c))[:ALPHABET_LIMIT])


def _normal(character: str, backend: Tokenizer) -> set[str]:
    normalizer = backend.normalizer
    return set(normalizer.normalize_str(character) if normalizer else character)


def _reaches_model(character: str, backend: Tokenizer) -> bool:
    return bool(backend.pre_tokenizer.pre_tokenize_str(character))


def _character_counts(texts: Iterable[str]) -> Iterator[tuple[str, int]]:
    if iter(texts) is texts:
        raise TypeError("training needs texts that can be gone through twice, not an iterator")
    totals = np.zeros(0x110000, np.int64)
    for text in _joined(texts):
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        counts = np.bincount(codes)
        totals[: len(counts)] += counts
    for code in np.flatnonzero(totals):
        # Lone surrogates cannot be handed to the backend.
        if not 0xD800 <= code <= 0xDFFF:
            yield chr(code), int(totals[code])


def _joined(texts: Iterable[str]) -> Iterator[str]:
    parts: list[str] = []
    size = 0
    for text in texts:
        parts.append(text)
        size += len(text)
        if size >= _COUNTED_AT_ONCE:
            yield "".join(parts)
            parts, size = [], 0
    yield "".join(parts)
