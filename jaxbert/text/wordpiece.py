"""BERT's WordPiece tokenizer: assembled from a vocabulary, or trained on text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from jaxbert.errors import UserError

# In the order of the ids that BERT's own training scripts give them.
SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
# Rarer characters become [UNK] rather than each taking two places of the vocabulary.
ALPHABET_LIMIT = 1000
_COUNTED_AT_ONCE = 2**22


def wordpiece_backend(
    vocab: Mapping[str, int],
    *,
    lowercase: bool,
    strip_accents: bool | None = None,
    tokenize_chinese_chars: bool = True,
) -> Tokenizer:
    """BERT's pipeline over a vocabulary; `strip_accents=None` follows `lowercase`."""
    missing = [token for token in SPECIAL_TOKENS.values() if token not in vocab]
    if missing:
        raise UserError(
            f"vocabulary: {', '.join(missing)} missing among its {len(vocab)} tokens;"
            " a BERT vocabulary holds all five special tokens"
        )
    backend = Tokenizer(models.WordPiece(dict(vocab), unk_token=SPECIAL_TOKENS["unk_token"]))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=tokenize_chinese_chars,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    backend.add_special_tokens(list(SPECIAL_TOKENS.values()))
    return backend


def wordpiece_config(
    *,
    lowercase: bool,
    strip_accents: bool | None = None,
    tokenize_chinese_chars: bool = True,
) -> dict[str, Any]:
    """The content of tokenizer_config.json that goes with `wordpiece_backend`."""
    return {
        **SPECIAL_TOKENS,
        "do_lower_case": lowercase,
        "strip_accents": strip_accents,
        "tokenize_chinese_chars": tokenize_chinese_chars,
        "tokenizer_class": "BertTokenizer",
    }


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
    specials = list(SPECIAL_TOKENS.values())
    backend = wordpiece_backend({t: i for i, t in enumerate(specials)}, lowercase=lowercase)
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
