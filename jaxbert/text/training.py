"""Tokenizers trained on text, each behind its family's own pipeline."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import tokenizers
from tokenizers import AddedToken

from jaxbert.text.byte_level import train_merges
from jaxbert.text.classes import (
    ALBERT,
    BERT,
    DEBERTA,
    DEBERTA_V2,
    ESM,
    MODERNBERT,
    MPNET,
    ROBERTA,
    XLM_ROBERTA,
    TokenizerClass,
    assemble,
)
from jaxbert.text.residues import RESIDUES
from jaxbert.text.special_tokens import content
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.unigram import train_pieces
from jaxbert.text.vocabulary import Vocabulary
from jaxbert.text.wordpiece import train_wordpieces

TokenizerKind = Literal["wordpiece", "byte_level_bpe", "unigram", "residues"]
TokenizerFamily = Literal[
    "bert",
    "mpnet",
    "roberta",
    "modernbert",
    "deberta",
    "albert",
    "deberta-v2",
    "xlm-roberta",
    "esm",
]
FAMILIES: Mapping[TokenizerKind, Mapping[TokenizerFamily, TokenizerClass]] = {
    "wordpiece": {"bert": BERT, "mpnet": MPNET},
    "byte_level_bpe": {"roberta": ROBERTA, "modernbert": MODERNBERT, "deberta": DEBERTA},
    "unigram": {"albert": ALBERT, "deberta-v2": DEBERTA_V2, "xlm-roberta": XLM_ROBERTA},
    "residues": {"esm": ESM},
}
"""What is trained: by kind the families whose pipeline it can get, the usual one first.

Of residues nothing is: their vocabulary is always ESM's.
"""

Learn = Callable[[tokenizers.Tokenizer, Sequence[str]], Vocabulary]
"""From a pipeline and the special tokens that come first to a vocabulary."""


def train_wordpiece(
    texts: Iterable[str],
    vocab_size: int,
    *,
    family: Literal["bert", "mpnet"] = "bert",
    lowercase: bool = True,
    min_frequency: int = 2,
) -> Tokenizer:
    """Train a BERT tokenizer on texts that can be gone through twice (a list, not a generator).

    The same texts give the same tokenizer. Special tokens have the ids 0 to 4, in BERT's order or
    MPNet's `<s> <pad> </s> [UNK] <mask>`. The vocabulary stays smaller than `vocab_size` where the
    texts hold no more pieces that occur `min_frequency` times.
    """
    learn = partial(train_wordpieces, texts, vocab_size, min_frequency=min_frequency)
    return _train(FAMILIES["wordpiece"][family], {"do_lower_case": lowercase}, learn)


def train_byte_level_bpe(
    texts: Iterable[str],
    vocab_size: int,
    *,
    family: Literal["roberta", "modernbert", "deberta"] = "roberta",
    min_frequency: int = 2,
) -> Tokenizer:
    """Train a tokenizer that keeps every byte, upper and lower case among them.

    The same texts give the same tokenizer. Special tokens have the ids 0 to 4: RoBERTa's `<s>
    <pad> </s> <unk> <mask>`, ModernBERT's in BERT's order, DeBERTa's `[PAD] [CLS] [SEP] [UNK]
    [MASK]`.
    """
    learn = partial(train_merges, texts, vocab_size, min_frequency=min_frequency)
    inputs = {"model_input_names": ["input_ids", "attention_mask"]}
    config = inputs if family == "modernbert" else {}
    return _train(FAMILIES["byte_level_bpe"][family], config, learn)


def train_unigram(
    texts: Iterable[str],
    vocab_size: int,
    *,
    family: Literal["albert", "deberta-v2", "xlm-roberta"] = "albert",
    lowercase: bool = True,
) -> Tokenizer:
    """Train a SentencePiece-like tokenizer on texts that can be gone through twice.

    The same texts give the same tokenizer unless two candidates for the last place are equally
    likely but for rounding. Special tokens come first. XLM-RoBERTa's pipeline always keeps case.
    """
    kind = FAMILIES["unigram"][family]
    config = {"do_lower_case": lowercase} if "do_lower_case" in kind.settings else {}
    unk_token = kind.special_tokens["unk_token"]
    return _train(kind, config, partial(train_pieces, texts, vocab_size, unk_token=unk_token))


def residue_tokenizer() -> Tokenizer:
    """ESM's tokenizer of proteins, with the ids of the published models: a token a residue."""
    vocabulary = Vocabulary(tokens={token: i for i, token in enumerate(RESIDUES)})
    return Tokenizer(*assemble(ESM, vocabulary, {}))


def _train(kind: TokenizerClass, config: Mapping[str, Any], learn: Learn) -> Tokenizer:
    special = list(dict.fromkeys(map(content, kind.special_tokens.values())))
    empty = Vocabulary(
        tokens={token: i for i, token in enumerate(special)},
        pieces=[(token, 0.0) for token in special],
    )
    pipeline, _ = assemble(kind, empty, config)
    vocabulary = learn(pipeline, special)
    # As published: but for BERT's, a mask stands for the space in front of it too.
    mask = AddedToken(
        content(kind.special_tokens["mask_token"]), lstrip=kind is not BERT, special=True
    )
    return Tokenizer(*assemble(kind, vocabulary, config, [mask]))
