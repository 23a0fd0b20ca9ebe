"""The tokenizer classes of transformers that jaxbert builds, each from its vocabulary alone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from jaxbert.errors import UserError
from jaxbert.text.byte_level import byte_level_backend, modernbert_backend
from jaxbert.text.residues import residue_backend
from jaxbert.text.special_tokens import (
    BERT_TOKENS,
    ESM_TOKENS,
    ROBERTA_TOKENS,
    add_special_tokens,
    content,
    frame_as_bert,
    frame_as_esm,
    frame_as_roberta,
    frame_as_xlm_roberta,
)
from jaxbert.text.unigram import (
    albert_backend,
    camembert_pieces,
    deberta_v2_backend,
    xlm_roberta_backend,
    xlm_roberta_pieces,
)
from jaxbert.text.vocabulary import Vocabulary, read_bpe, read_unigram, read_wordpiece
from jaxbert.text.wordpiece import wordpiece_backend

Parts = tuple[tokenizers.Tokenizer, dict[str, Any]]


class UnknownClassError(UserError):
    """The files name a tokenizer class that is none of these, and have no tokenizer.json."""


@dataclass(frozen=True)
class TokenizerClass:
    """What transformers 5 makes of a class: the files give no more than its vocabulary.

    `settings` are what tokenizer_config.json may say, with the values where it does not;
    `vocabulary_file` is what the class has in place of a tokenizer.json.
    """

    name: str
    model: str
    vocabulary_file: str
    read: Callable[[Path], Vocabulary]
    build: Callable[..., tokenizers.Tokenizer]
    frame: Callable[[tokenizers.Tokenizer, str, str], None]
    special_tokens: Mapping[str, Any]
    settings: Mapping[str, bool | None]
    has_token_types: bool = True


def _read_xlm_roberta(file: Path) -> Vocabulary:
    vocabulary = read_unigram(file)
    return replace(vocabulary, pieces=xlm_roberta_pieces(vocabulary.pieces))


def _read_camembert(file: Path) -> Vocabulary:
    vocabulary = read_unigram(file)
    return replace(vocabulary, pieces=camembert_pieces(vocabulary.pieces))


_MASK_WITH_SPACE = {"__type": "AddedToken", "content": "<mask>", "lstrip": True}
"""It stands for the space in front of it too."""

BERT = TokenizerClass(
    name="BertTokenizer",
    model="WordPiece",
    vocabulary_file="vocab.txt",
    read=read_wordpiece,
    build=wordpiece_backend,
    frame=frame_as_bert,
    special_tokens=BERT_TOKENS,
    settings={"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True},
)
MPNET = replace(
    BERT,
    name="MPNetTokenizer",
    frame=frame_as_roberta,
    special_tokens={**ROBERTA_TOKENS, "unk_token": "[UNK]", "mask_token": _MASK_WITH_SPACE},
)
ROBERTA = TokenizerClass(
    name="RobertaTokenizer",
    model="BPE",
    vocabulary_file="vocab.json",
    read=read_bpe,
    build=byte_level_backend,
    frame=frame_as_roberta,
    special_tokens=ROBERTA_TOKENS,
    settings={"add_prefix_space": False},
)
XLM_ROBERTA = TokenizerClass(
    name="XLMRobertaTokenizer",
    model="Unigram",
    vocabulary_file="sentencepiece.bpe.model",
    read=_read_xlm_roberta,
    build=xlm_roberta_backend,
    frame=frame_as_xlm_roberta,
    special_tokens=ROBERTA_TOKENS,
    settings={"add_prefix_space": True},
)
CAMEMBERT = replace(
    XLM_ROBERTA,
    name="CamembertTokenizer",
    read=_read_camembert,
    special_tokens={
        **ROBERTA_TOKENS,
        "mask_token": _MASK_WITH_SPACE,
        # Where none are stated, transformers takes "<s>NOTUSED" and its like for special tokens.
        "additional_special_tokens": ["<s>", "</s>"],
    },
)
ALBERT = TokenizerClass(
    name="AlbertTokenizer",
    model="Unigram",
    vocabulary_file="spiece.model",
    read=read_unigram,
    build=albert_backend,
    frame=frame_as_bert,
    special_tokens={
        **BERT_TOKENS,
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
    },
    settings={"do_lower_case": True, "keep_accents": False, "add_prefix_space": True},
)
DEBERTA_V2 = TokenizerClass(
    name="DebertaV2Tokenizer",
    model="Unigram",
    vocabulary_file="spm.model",
    read=read_unigram,
    build=deberta_v2_backend,
    frame=frame_as_bert,
    special_tokens={**BERT_TOKENS, "bos_token": "[CLS]", "eos_token": "[SEP]"},
    settings={"do_lower_case": False, "split_by_punct": False, "add_prefix_space": True},
)

ESM = TokenizerClass(
    name="EsmTokenizer",
    model="WordLevel",
    vocabulary_file="vocab.txt",
    read=read_wordpiece,
    build=residue_backend,
    frame=frame_as_esm,
    special_tokens=ESM_TOKENS,
    settings={},
    has_token_types=False,
)

_WITH_TYPES = ("BertTokenizer", "ElectraTokenizer", "DebertaV2Tokenizer")
"""Classes whose pairs have token types in transformers 5, whatever their files say."""

GENERIC = "PreTrainedTokenizerFast"
"""The name under which transformers 4 and 5 take a tokenizer.json as it is."""

MODERNBERT = TokenizerClass(
    name=GENERIC,
    model="BPE",
    vocabulary_file="vocab.json",
    read=read_bpe,
    build=modernbert_backend,
    frame=frame_as_bert,
    special_tokens=BERT_TOKENS,
    settings={},
    has_token_types=False,
)
DEBERTA = TokenizerClass(
    # transformers 5 writes [SEP] twice between the texts of a pair, whatever a tokenizer.json of
    # the class DebertaTokenizer says. The published models have seen it once.
    name=GENERIC,
    model="BPE",
    vocabulary_file="vocab.json",
    read=read_bpe,
    build=byte_level_backend,
    frame=frame_as_bert,
    # In the order of the published vocabulary, which ends with the mask.
    special_tokens={
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
    },
    settings={"add_prefix_space": False},
)
CLASSES: Mapping[str, TokenizerClass] = {"DebertaTokenizer": DEBERTA} | {
    kind.name: kind
    for kind in (
        BERT,
        replace(BERT, name="DistilBertTokenizer", has_token_types=False),
        replace(BERT, name="ElectraTokenizer"),
        MPNET,
        ROBERTA,
        XLM_ROBERTA,
        CAMEMBERT,
        ALBERT,
        DEBERTA_V2,
        ESM,
    )
}
OF_FILE = {
    "vocab.txt": "BertTokenizer",
    "vocab.json": "RobertaTokenizer",
    "sentencepiece.bpe.model": "XLMRobertaTokenizer",
    "spiece.model": "AlbertTokenizer",
    "spm.model": "DebertaV2Tokenizer",
}
"""The class of a vocabulary file where no config.json names a model."""

OF_MODEL = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "megatron-bert": "BertTokenizer",
    "ernie": "BertTokenizer",
    "mpnet": "MPNetTokenizer",
    "roberta": "RobertaTokenizer",
    "roberta-prelayernorm": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "xlm-roberta-xl": "XLMRobertaTokenizer",
    "data2vec-text": "RobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "albert": "AlbertTokenizer",
    "deberta": "DebertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "modernbert": GENERIC,
    "nomic_bert": "BertTokenizer",
    "gte": "XLMRobertaTokenizer",
    "jina_embeddings_v3": "XLMRobertaTokenizer",
    "esm": "EsmTokenizer",
}
"""The class that goes with the `model_type` of a config.json."""


def assemble(
    kind: TokenizerClass,
    vocabulary: Vocabulary,
    config: Mapping[str, Any],
    declared: Iterable[AddedToken] = (),
) -> Parts:
    """Backend and complete tokenizer_config; `declared` are added tokens."""
    if kind is ESM and "eos_token" in config and config["eos_token"] is None:
        raise UserError(
            "tokenizer: eos_token is null: sequences without a token at their end are not "
            f"implemented for {kind.name}: name one of the vocabulary in tokenizer_config.json"
        )
    stated = {
        key: value
        for key, value in config.items()
        if value is not None and not (key in kind.special_tokens and _is_empty(value))
    }
    for role, usual in kind.special_tokens.items():
        if isinstance(usual, Mapping) and isinstance(stated.get(role), str):
            # A text alone says nothing of the space beside it, which the class then decides.
            stated[role] = {**usual, "content": stated[role]}
    whole = {**kind.special_tokens, **kind.settings, **stated, "tokenizer_class": kind.name}
    settings = {key: whole[key] for key in kind.settings}
    unknown = content(whole["unk_token"])
    if kind.model == "Unigram" and unknown not in dict(vocabulary.pieces):
        # Beside a tokenizer.json, transformers' class of DeBERTa takes number 1 where none is said.
        whole["unk_id"] = vocabulary.unk_id
    backend = kind.build(vocabulary, unknown, **settings)
    add_special_tokens(backend, [*vocabulary.symbols, *declared], whole)
    # ESM's texts end with what is no separator.
    end = whole["sep_token"] if "sep_token" in kind.special_tokens else whole["eos_token"]
    kind.frame(backend, content(whole["cls_token"]), content(end))
    return backend, whole


def _is_empty(token: Any) -> bool:
    return token == "" or (isinstance(token, Mapping) and token.get("content") == "")


def has_token_types(config: Mapping[str, Any]) -> bool:
    """Whether the model tells the two texts of a pair apart, by the tokenizer's configuration."""
    inputs = config.get("model_input_names")
    if inputs is not None:
        return "token_type_ids" in inputs
    kind = CLASSES.get(config.get("tokenizer_class", ""))
    return kind is None or kind.has_token_types


def with_input_names(backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration to write: it says where a pair has token types.

    Otherwise transformers 5, which tells ALBERT's two texts apart no longer, nor those of a class
    that it does not know, would leave them out where a model was trained with them.
    """
    is_known = config.get("tokenizer_class") in _WITH_TYPES
    if is_known or config.get("model_input_names") is not None or not has_token_types(config):
        return dict(config)
    if not any(backend.encode("", "").type_ids):
        return dict(config)
    return {**config, "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
