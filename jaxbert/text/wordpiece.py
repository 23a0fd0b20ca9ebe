"""BERT's WordPiece tokenizer: assembled from a vocabulary, or trained on text."""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from jaxbert.text.alphabet import check_size, common_characters
from jaxbert.text.vocabulary import Vocabulary, learned


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


def train_wordpieces(
    texts: Iterable[str],
    vocab_size: int,
    backend: Tokenizer,
    special_tokens: Sequence[str],
    *,
    min_frequency: int,
) -> Vocabulary:
    """Special tokens, characters, then what `backend` makes of the texts, in at most `vocab_size`.

    Goes through `texts` twice. The trainer numbers the characters that it meets in the order of a
    randomly seeded hash table and breaks ties between merges by these numbers, so the characters
    are counted first and given to it in sorted order.
    """
    characters = common_characters(texts, backend)
    within = ["##" + c for c in characters if _continues(c, backend)]
    first = [*special_tokens, *characters, *within]
    check_size(vocab_size, characters, len(first))
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=first,
        limit_alphabet=0,
        show_progress=False,
    )
    # Trained apart from the result: the trainer makes every given token a special one.
    backend.train_from_iterator(iter(texts), trainer)
    return learned(backend)


def _continues(character: str, backend: Tokenizer) -> bool:
    normal = backend.normalizer.normalize_str("a" + character)
    return len(backend.pre_tokenizer.pre_tokenize_str(normal)) == 1
