"""Byte-level BPE as RoBERTa has it (Radford et al. 2019, section 2.2): assembled, or trained."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from jaxbert.text.vocabulary import Vocabulary


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
