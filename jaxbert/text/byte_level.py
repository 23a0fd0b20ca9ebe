"""Byte-level BPE (Radford et al. 2019, section 2.2): assembled from a vocabulary, or trained."""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from jaxbert.errors import UserError
from jaxbert.text.vocabulary import Vocabulary, learned


def byte_level_backend(
    vocabulary: Vocabulary, unk_token: str, *, add_prefix_space: bool
) -> Tokenizer:
    """RoBERTa's pipeline; without `add_prefix_space` the first word of a text has no space.

    `unk_token` is what every builder is given: no text is unknown to a vocabulary of bytes.
    """
    backend = Tokenizer(
        models.BPE(
            dict(vocabulary.tokens),
            list(vocabulary.merges),
            continuing_subword_prefix="",
            end_of_word_suffix="",
            fuse_unk=False,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    return backend


def modernbert_backend(vocabulary: Vocabulary, unk_token: str) -> Tokenizer:
    """ModernBERT's pipeline: RoBERTa's behind Unicode's composed form."""
    backend = byte_level_backend(vocabulary, unk_token, add_prefix_space=False)
    backend.normalizer = normalizers.NFC()
    return backend


def train_merges(
    texts: Iterable[str],
    vocab_size: int,
    backend: Tokenizer,
    special_tokens: Sequence[str],
    *,
    min_frequency: int,
) -> Vocabulary:
    """Special tokens, the 256 bytes, then merges of what `backend` makes of the texts."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    needed = len(special_tokens) + len(alphabet)
    if vocab_size < needed:
        raise UserError(
            f"vocabulary: --vocab-size {vocab_size} is below the {needed} special tokens and bytes"
            f" that byte-level BPE starts from; give at least {needed}"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(special_tokens),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(iter(texts), trainer)
    return learned(backend)
