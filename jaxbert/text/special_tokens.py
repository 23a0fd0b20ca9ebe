"""Special and added tokens: what the files declare, and how examples are framed by them."""

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

ROLES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""In the order in which transformers adds those that a vocabulary lacks."""

BERT_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "cls_token": "<s>",
    "sep_token": "</s>",
}
ESM_TOKENS = {
    "cls_token": "<cls>",
    "pad_token": "<pad>",
    "eos_token": "<eos>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def content(token: str | Mapping[str, Any]) -> str:
    """The text of a token as tokenizer_config.json writes it: alone, or among its properties."""
    return token if isinstance(token, str) else token["content"]


def added_token(token: str | Mapping[str, Any], **flags: bool) -> AddedToken:
    """A token as tokenizer_config.json writes it; `flags` decide over what it says."""
    stated = {} if isinstance(token, str) else {k: token[k] for k in FLAGS if k in token}
    return AddedToken(content(token), **{**stated, **flags})


def extra_tokens(config: Mapping[str, Any]) -> list[str | Mapping[str, Any]]:
    """Special tokens of a tokenizer_config.json that play no role, as transformers 4 or 5 wrote."""
    for name in ("additional_special_tokens", "extra_special_tokens"):
        if extra := config.get(name):
            return list(extra.values() if isinstance(extra, Mapping) else extra)
    return []


def add_special_tokens(
    backend: Tokenizer, declared: Iterable[AddedToken], config: Mapping[str, Any]
) -> None:
    """Add declared tokens, those with a role, then the extra ones: ids as transformers 5 gives.

    Of two declarations of a token the later one holds.
    """
    tokens = {token.content: token for token in declared}
    named = [config[role] for role in ROLES if config.get(role)]
    for token in (*named, *extra_tokens(config)):
        tokens.setdefault(content(token), added_token(token, special=True))
    for token in named:
        tokens[content(token)].special = True
    backend.add_tokens(list(tokens.values()))


def frame_as_bert(backend: Tokenizer, cls: str, sep: str) -> None:
    """[CLS] A [SEP] B [SEP], the token types of B and of its separator 1."""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=_ids(backend, cls, sep),
    )


def frame_as_esm(backend: Tokenizer, cls: str, eos: str) -> None:
    """<cls> A <eos> B <eos>, all token types 0."""
    backend.post_processor = processors.TemplateProcessing(
        single=[cls, "$A", eos],
        pair=[cls, "$A", eos, "$B", eos],
        special_tokens=_ids(backend, cls, eos),
    )


def frame_as_xlm_roberta(backend: Tokenizer, cls: str, sep: str) -> None:
    """<s> A </s></s> B </s>, all token types 0."""
    backend.post_processor = processors.TemplateProcessing(
        single=[cls, "$A", sep],
        pair=[cls, "$A", sep, sep, "$B", sep],
        special_tokens=_ids(backend, cls, sep),
    )


def frame_as_roberta(backend: Tokenizer, cls: str, sep: str) -> None:
    """As XLM-RoBERTa does, and offsets leave out the space that a piece starts with."""
    (_, cls_id), (_, sep_id) = _ids(backend, cls, sep)
    # MPNet's word pieces start with none.
    add_prefix_space = getattr(backend.pre_tokenizer, "add_prefix_space", False)
    backend.post_processor = processors.RobertaProcessing(
        (sep, sep_id), (cls, cls_id), trim_offsets=True, add_prefix_space=add_prefix_space
    )


def _ids(backend: Tokenizer, *tokens: str) -> list[tuple[str, int]]:
    vocab = backend.get_vocab(with_added_tokens=True)
    return [(token, vocab[token]) for token in tokens]
