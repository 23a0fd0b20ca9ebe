"""Whether a vocabulary learnt from the corpus itself would be worth having."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from tokenizers import models

from jaxbert.errors import UserError
from jaxbert.text.inspection.sample import Sample
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_unigram, train_wordpiece
from jaxbert.text.words import is_byte_level

WORTHWHILE_SAVING = 0.10
WORTHWHILE_UNKNOWN = 0.01
_MIN_HELD_OUT = 10
_UNIGRAM: dict[str, Literal["albert", "deberta-v2", "xlm-roberta"]] = {
    "AlbertTokenizer": "albert",
    "DebertaV2Tokenizer": "deberta-v2",
}


@dataclass(frozen=True)
class Comparison:
    """Two vocabularies on documents that the new one has not seen.

    `saving` is the share of tokens that the new one does without. It pays from WORTHWHILE_SAVING
    on: every later step on such text becomes cheaper by about as much, while the rows of the new
    vocabulary have to be learnt by pretraining again, and a few per cent go under in the rounding
    of lengths. It also pays where it gives back WORTHWHILE_UNKNOWN of the tokens that are unknown
    now, which no model can read; unknown words also make the present vocabulary look short.
    """

    vocab_size: int
    training_characters: int
    held_out_documents: int
    held_out_characters: int
    current_tokens: int
    new_tokens: int
    saving: float
    current_unknown_rate: float
    new_unknown_rate: float
    pays: bool


def compare(tokenizer: Tokenizer, sample: Sample) -> Comparison:
    """Trains a tokenizer of the same kind and size and counts both on the held-out documents.

    Raises UserError where there is too little text or the kind is none that is trained here.
    """
    training, held_out = sample.training, sample.held_out
    if len(held_out) < _MIN_HELD_OUT:
        raise UserError(
            f"{len(held_out)} documents to judge by, every tenth or so; at least {_MIN_HELD_OUT}"
            " needed: give more documents"
        )
    new = train_alike(tokenizer, training)
    current_tokens, current_unknown = _tokens(tokenizer, held_out)
    new_tokens, new_unknown = _tokens(new, held_out)
    if not current_tokens:
        raise UserError("the documents to judge by hold no text")
    saving = 1 - new_tokens / current_tokens
    current_rate, new_rate = current_unknown / current_tokens, new_unknown / max(new_tokens, 1)
    return Comparison(
        vocab_size=new.vocab_size,
        training_characters=sum(map(len, training)),
        held_out_documents=len(held_out),
        held_out_characters=sum(map(len, held_out)),
        current_tokens=current_tokens,
        new_tokens=new_tokens,
        saving=saving,
        current_unknown_rate=current_rate,
        new_unknown_rate=new_rate,
        pays=saving >= WORTHWHILE_SAVING or current_rate - new_rate >= WORTHWHILE_UNKNOWN,
    )


def train_alike(tokenizer: Tokenizer, texts: list[str]) -> Tokenizer:
    """A tokenizer of the same kind, case and size, learnt from `texts`."""
    model, size = tokenizer.backend.model, tokenizer.vocab_size
    normalizer = tokenizer.backend.normalizer
    lowercase = normalizer is not None and normalizer.normalize_str("A") == "a"
    if isinstance(model, models.WordPiece):
        return train_wordpiece(texts, size, lowercase=lowercase)
    if isinstance(model, models.Unigram):
        name = tokenizer.config.get("tokenizer_class", "")
        family = _UNIGRAM.get(name, "albert" if lowercase else "xlm-roberta")
        return train_unigram(texts, size, family=family, lowercase=lowercase)
    if isinstance(model, models.BPE) and is_byte_level(tokenizer.backend):
        return train_byte_level_bpe(texts, size)
    raise UserError(f"a vocabulary of the kind {type(model).__name__} is not trained here")


def _tokens(tokenizer: Tokenizer, texts: list[str]) -> tuple[int, int]:
    tokens, _ = tokenizer.encode_flat(texts)
    return len(tokens), int(np.count_nonzero(tokens == tokenizer.unk_id))
