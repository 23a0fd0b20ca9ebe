"""A torch-free tokenizer: the `tokenizers` backend plus what a BERT engineer asks of it."""

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
import tokenizers

from jaxbert.errors import UserError
from jaxbert.text.classes import has_token_types
from jaxbert.text.encoded_text import EncodedText, EncodedWords
from jaxbert.text.files import read_tokenizer, write_tokenizer
from jaxbert.text.pieces import BatchEncoder
from jaxbert.text.special_tokens import BERT_TOKENS, content
from jaxbert.text.words import continues_word, is_byte_level

# What a text begins and ends with has one of two names, or both.
_ALIKE = {
    "cls_token": "bos_token",
    "sep_token": "eos_token",
    "bos_token": "cls_token",
    "eos_token": "sep_token",
}
# transformers writes int(1e30) for "no limit"; anything of that order means the same.
_NO_LIMIT = 10**9

Padding = Literal["longest", "max_length", False]
Encoded = dict[str, np.ndarray]
RaggedEncoded = dict[str, list[np.ndarray]]


class Tokenizer:
    """Text to token ids and back, with transformers' ids and without transformers' imports.

    `config` is the content of tokenizer_config.json. Processes and threads may share instances.
    """

    def __init__(self, backend: tokenizers.Tokenizer, config: Mapping[str, Any]):
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.config = dict(config)
        # No part of tokenizer.json: whether "[SEP]" within a text is text.
        backend.encode_special_tokens = self.config.get("split_special_tokens") is True
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_json, (self.backend.to_str(), self.config)

    @cached_property
    def vocab_size(self) -> int:
        """Largest id plus one: the number of rows that an embedding table needs."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    def special_token(self, role: str) -> str | None:
        """The token that plays a role (`pad_token`, `cls_token`, `bos_token`, ...).

        Where none is stated it is BERT's, and for what a text begins or ends with the one that is
        stated under the other name: EuroBERT's tokenizers have `bos_token` and no `cls_token`.
        """
        stated, berts = self.config.get(role), BERT_TOKENS.get(role)
        if not stated and (berts is None or self.backend.token_to_id(berts) is None):
            stated = self.config.get(_ALIKE.get(role, ""))
        token = stated or berts
        return content(token) if token else None

    def token_id(self, role: str) -> int | None:
        """Id of the token that plays a role; None where the vocabulary has none for it."""
        token = self.special_token(role)
        return None if token is None else self.backend.token_to_id(token)

    def _id(self, role: str) -> int:
        token_id = self.token_id(role)
        if token_id is None:
            raise UserError(
                f"tokenizer: its {role} {self.special_token(role)!r} is not in the vocabulary; name"
                f' the one that is as "{role}" in tokenizer_config.json'
            )
        return token_id

    @cached_property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return self._id("pad_token")

    @cached_property
    def cls_id(self) -> int:
        """Id of the token that starts every example."""
        return self._id("cls_token")

    @cached_property
    def sep_id(self) -> int:
        """Id of the token that ends every sentence of an example."""
        return self._id("sep_token")

    @cached_property
    def mask_id(self) -> int:
        """Id of the token that stands for a masked one."""
        return self._id("mask_token")

    @cached_property
    def unk_id(self) -> int | None:
        """Id of the token that stands for a word which no pieces can spell.

        None where there is none: bytes spell every word.
        """
        return self.token_id("unk_token") if self._is_byte_level else self._id("unk_token")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that never come from text: the five above and every added special token."""
        added = self.backend.get_added_tokens_decoder()
        named = {self.pad_id, self.cls_id, self.sep_id, self.mask_id}
        if self.unk_id is not None:
            named.add(self.unk_id)
        return frozenset(named | {i for i, token in added.items() if token.special})

    @property
    def model_max_length(self) -> int | None:
        """Longest example that the model takes, special tokens included; None when not stated."""
        limit = self.config.get("model_max_length")
        # Also what is no number of tokens, such as NaN.
        return int(limit) if limit is not None and 1 <= limit <= _NO_LIMIT else None

    def vocab(self) -> list[str]:
        """Every token in the order of the ids; an id that no token has gives the empty string."""
        tokens = [""] * self.vocab_size
        for token, token_id in self.backend.get_vocab(with_added_tokens=True).items():
            tokens[token_id] = token
        return tokens

    def is_continuation(self) -> np.ndarray:
        """True for the pieces that continue a word (`##ing`, or `ing` beside `▁ing`): bool [vocab].

        A byte-level tokenizer without `add_prefix_space` gives the first word of a text as a piece
        that elsewhere continues one.
        """
        return continues_word(self.backend, self.vocab())

    def num_special_tokens(self, *, pair: bool = False) -> int:
        """How many tokens frame a text or a pair: 2 and 3, but 4 for a pair of RoBERTa's."""
        return self.backend.num_special_tokens_to_add(pair)

    @cached_property
    def tells_leading_space(self) -> bool:
        """Whether a text's first word is another piece after a space (RoBERTa's `\u0120`)."""
        spaced, bare = self.encode_plain([" a", "a"])
        return spaced != bare

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, no special token added or recognised: "[SEP]" is three pieces."""
        tokens, lengths = self.encode_flat(texts)
        ends = np.cumsum(lengths)
        starts = ends - lengths
        return [tokens[a:b].tolist() for a, b in zip(starts, ends, strict=True)]

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As `encode_plain`, but (tokens int32 [sum of lengths], lengths int64 [texts])."""
        with self._lock:
            return self._batch_encoder.encode(texts)

    @cached_property
    def _batch_encoder(self) -> BatchEncoder:
        return BatchEncoder(self.backend)

    @overload
    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        padding: Literal["longest", "max_length"] = "longest",
    ) -> Encoded: ...

    @overload
    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        padding: Literal[False],
    ) -> RaggedEncoded: ...

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        padding: Padding = "longest",
    ) -> Encoded | RaggedEncoded:
        """Model inputs as transformers' tokenizers give them, as int32 arrays [batch, seq].

        Keys: input_ids, token_type_ids (0 throughout where the model has none), attention_mask.
        Texts are cut and padded at the ends that `truncation_side` and `padding_side` say. A pair
        that is too long loses tokens from its longer member first. `max_length=None` means
        `model_max_length`. Without padding every value is a list of arrays.
        """
        max_length = self._check_inputs(texts, pairs, max_length, padding)
        rows = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        cut_at = self.config.get("truncation_side", "right")
        with self._lock:
            if max_length is not None:
                self.backend.enable_truncation(
                    max_length, strategy="longest_first", direction=cut_at
                )
            try:
                encodings = self.backend.encode_batch_fast(rows)
            finally:
                self.backend.no_truncation()
        ids = [encoding.ids for encoding in encodings]
        typed = has_token_types(self.config)
        types = [e.type_ids if typed else [0] * len(e.ids) for e in encodings]
        ones = [[1] * len(row) for row in ids]
        if padding is False:
            ragged = {"input_ids": ids, "token_type_ids": types, "attention_mask": ones}
            return {k: [np.array(r, np.int32) for r in rows] for k, rows in ragged.items()}
        width = max_length if padding == "max_length" else max(map(len, ids), default=0)
        assert width is not None
        at_start = self.config.get("padding_side") == "left"
        return {
            "input_ids": _pad(ids, width, self.pad_id, at_start=at_start),
            "token_type_ids": _pad(types, width, 0, at_start=at_start),
            "attention_mask": _pad(ones, width, 0, at_start=at_start),
        }

    def encode_whole(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> list[EncodedText]:
        """As `encode` without any limit of length, every token with its place in the text."""
        self._check_inputs(texts, pairs, None, False)
        rows = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        with self._lock:
            encodings = self.backend.encode_batch(rows)
        typed = has_token_types(self.config)
        return [EncodedText.of(encoding, has_types=typed) for encoding in encodings]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[EncodedWords]:
        """Texts that are words already, without any limit of length.

        As transformers with `is_split_into_words` (RoBERTa's with `add_prefix_space`): every word
        has the pieces that it has in the middle of a text.
        """
        words = [self._spaced(sentence) for sentence in sentences]
        with self._lock:
            encodings = self.backend.encode_batch(words, is_pretokenized=True)
        typed = has_token_types(self.config)
        return [EncodedWords.of(encoding, has_types=typed) for encoding in encodings]

    def _spaced(self, words: Sequence[str]) -> list[str]:
        """Words with the space that byte-level pieces tell from none; an added token needs none."""
        if not self._is_byte_level:
            return list(words)
        return [
            word if word[:1] in ("", " ") or word in self._added_tokens else f" {word}"
            for word in words
        ]

    @cached_property
    def _is_byte_level(self) -> bool:
        return is_byte_level(self.backend)

    @cached_property
    def _added_tokens(self) -> frozenset[str]:
        added = self.backend.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added)

    def _check_inputs(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None,
        max_length: int | None,
        padding: Padding,
    ) -> int | None:
        if isinstance(texts, str) or isinstance(pairs, str):
            raise UserError("encode takes a list of texts; put a single one into a list")
        if pairs is not None and len(pairs) != len(texts):
            raise UserError(f"encode got {len(texts)} texts and {len(pairs)} pairs; expected equal")
        for name, given in (("texts", texts), ("pairs", () if pairs is None else pairs)):
            for number, text in enumerate(given):
                if not isinstance(text, str):
                    raise UserError(
                        f"{name}[{number}] is {type(text).__name__}, expected a text: second texts "
                        "are the argument `pairs`, and lists of words are for `encode_words`"
                    )
        if padding not in get_args(Padding):
            raise UserError(f"padding={padding!r}: expected 'longest', 'max_length' or False")
        limit = self.model_max_length if max_length is None else max_length
        if limit is None and padding == "max_length":
            raise UserError('padding="max_length" needs max_length: this tokenizer states no limit')
        special = self.num_special_tokens(pair=pairs is not None)
        if limit is not None and limit <= special:
            raise UserError(
                f"max_length {limit} leaves no room for text beside {special} special tokens"
            )
        return limit

    def decode(self, ids: Sequence[int] | np.ndarray, *, skip_special_tokens: bool = True) -> str:
        """The text of token ids, pieces joined into words; UserError for several rows of them."""
        if np.ndim(ids) != 1:
            raise UserError(f"ids has {np.ndim(ids)} axes: give one row of a batch at a time")
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens)


def load_tokenizer(
    path_or_hub_id: str | Path, revision: str | None = None, *, lowercase: bool | None = None
) -> Tokenizer:
    """Load a directory, a vocabulary file or a hub repository with a tokenizer of any family.

    Takes tokenizer.json, vocab.txt, vocab.json with merges.txt, and SentencePiece's spiece.model,
    spm.model and sentencepiece.bpe.model. A vocab.txt without tokenizer_config.json does not say
    whether it is lowercased: then `lowercase` must. Elsewhere it may only confirm what the files
    say. As in transformers 5 the class that tokenizer_config.json names decides what is done to
    the text, and tokenizer.json only where that class is none of the BERT family's.
    """
    return Tokenizer(*read_tokenizer(path_or_hub_id, revision=revision, lowercase=lowercase))


def save_tokenizer(tokenizer: Tokenizer, directory: str | Path) -> None:
    """Write tokenizer.json and what goes with it; transformers 4 and 5 load the result."""
    write_tokenizer(tokenizer.backend, tokenizer.config, tokenizer.vocab(), Path(directory))


def _from_json(text: str, config: dict[str, Any]) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(text), config)


def _pad(rows: list[list[int]], width: int, fill: int, *, at_start: bool) -> np.ndarray:
    padded = np.full((len(rows), width), fill, np.int32)
    for i, row in enumerate(rows):
        start = width - len(row) if at_start else 0
        padded[i, start : start + len(row)] = row
    return padded
