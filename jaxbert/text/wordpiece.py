"""BERT's WordPiece tokenizer: assembled from a vocabulary, or trained on text."""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from jaxbert.errors import UserError
from jaxbert.text.special_tokens import BERT_TOKENS
from jaxbert.text.vocabulary import Vocabulary

# Rarer characters become [UNK] rather than each taking two places of the vocabulary.
ALPHABET_LIMIT = 1000
_COUNTED_AT_ONCE = 2**22


def wordpiece_backend(
    vocabulary: Vocabulary,
    unk_token: str,
    *,
    do_lower_case: bool,
    strip_accents: bool | None,
    tokenize_chinese_chars: bool,
) -> Tokenizer:
    """BERT's pipeline; `strip_accents=None` follows `do_lower_case`."""
    backend = Tokenizer(models.WordPiece(dict(vocabulary.tokens), unk_token=unk_token))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=tokenize_chinese_chars,
        strip_accents=strip_accents,
        lowercase=do_lower_case,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def train_vocabulary(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool, min_frequency: int
) -> dict[str, int]:
    """A WordPiece vocabulary of at most `vocab_size` tokens, the same for the same text.

    Goes through `texts` twice. The trainer numbers the characters that it meets in the order of a
    randomly seeded hash table and breaks ties between merges by these numbers, so the characters
    are counted first and given to it in sorted order.
    """
    if iter(texts) is texts:
        raise TypeError("training needs texts that can be gone through twice, not an iterator")
    specials = list(BERT_TOKENS.values())
    backend = wordpiece_backend(
        Vocabulary({token: i for i, token in enumerate(specials)}),
        BERT_TOKENS["unk_token"],
        do_lower_case=lowercase,
        strip_accents=None,
        tokenize_chinese_chars=True,
    )
    alphabet = _alphabet(texts, backend)
    if not alphabet:
        raise UserError("vocabulary: the corpus holds no text to train it on")
    first = [*specials, *alphabet]
    if len(first) > vocab_size:
        raise UserError(
            f"vocabulary: --vocab-size {vocab_size} is below the {len(first)} special tokens and"
            f" characters of this corpus; give at least {len(first)}"
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=first,
        limit_alphabet=0,
        show_progress=False,
    )
    # Trained apart from the result: the trainer makes every given token a special one.
    backend.train_from_iterator(iter(texts), trainer)
    return backend.get_vocab(with_added_tokens=False)


def _alphabet(texts: Iterable[str], backend: Tokenizer) -> list[str]:
    """The commonest characters in sorted order, then those that continue words, as `##c`."""
    counts: Counter[str] = Counter()
    for codes, times in _character_counts(texts):
        character = chr(codes)
        for normal in set(backend.normalizer.normalize_str(character)):
            counts[normal] += times
    usable = [c for c in counts if backend.pre_tokenizer.pre_tokenize_str(c)]
    kept = sorted(sorted(usable, key=lambda c: (-counts[c], c))[:ALPHABET_LIMIT])
    return kept + ["##" + c for c in kept if _continues(c, backend)]


def _continues(character: str, backend: Tokenizer) -> bool:
    normal = backend.normalizer.normalize_str("a" + character)
    return len(backend.pre_tokenizer.pre_tokenize_str(normal)) == 1


def _character_counts(texts: Iterable[str]) -> Iterator[tuple[int, int]]:
    totals = np.zeros(0x110000, np.int64)
    for text in _joined(texts):
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        counts = np.bincount(codes)
        totals[: len(counts)] += counts
    for code in np.flatnonzero(totals):
        # Lone surrogates cannot be handed to the backend.
        if not 0xD800 <= code <= 0xDFFF:
            yield int(code), int(totals[code])


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
