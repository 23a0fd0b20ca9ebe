"""Queries and documents as late interaction reads them, each in its own way."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from jaxbert.data.reading import Reading, encode
from jaxbert.errors import UserError
from jaxbert.tasks.prompts import Prompts
from jaxbert.text.tokenizer import Tokenizer

Side = Literal["query", "document"]
PUNCTUATION = "punctuation"


@dataclass(frozen=True)
class QueryExpansion:
    """What short queries are filled with; its vectors are scored too (ColBERT, section 3.2)."""

    length: Annotated[int, Ge(3)] = 32
    """Tokens that a query has at least, special ones included."""
    attend: bool = False
    """The other tokens attend to it, as in PyLate's attend_to_expansion_tokens."""
    token: str | None = None
    """null: the tokenizer's [MASK]."""


@dataclass(frozen=True)
class Sides:
    """How texts of either side become tokens, and which of these are scored."""

    prompts: Prompts
    query_length: int | None
    expansion: QueryExpansion | None
    skiplist_words: tuple[str, ...] | Literal["punctuation"]
    skiplist_tasks: tuple[Side, ...]

    def longest_query(self, reading: Reading) -> int:
        """Tokens of the longest query; UserError where rows have no room for them."""
        length, filled = self.query_length or reading.max_seq_length, self.expansion
        needed = max(length, 0 if filled is None else filled.length)
        if needed > reading.max_seq_length:
            raise UserError(
                f"queries of {needed} tokens (task.query_length, task.query_expansion.length): rows"
                f" have max_seq_length={reading.max_seq_length}, the documents' length, which is to"
                " be no smaller"
            )
        return needed

    def encode(
        self, texts: Sequence[str], side: Side, tokenizer: Tokenizer, reading: Reading
    ) -> dict[str, list[Any]]:
        """Ragged columns per token: ids, types, what is attended to and what is scored (0 or 1).

        Raises UserError where a token to fill queries with is none.
        """
        if side == "query":
            reading = replace(reading, max_seq_length=self.longest_query(reading))
        prompt = self.prompts.query if side == "query" else self.prompts.document
        found = encode(tokenizer, [prompt + text for text in texts], None, reading)
        found["attention_mask"] = [np.ones_like(ids) for ids in found["input_ids"]]
        if side == "query" and self.expansion is not None:
            fills = {
                "input_ids": _fill(self.expansion, tokenizer),
                "token_type_ids": 0,
                "attention_mask": int(self.expansion.attend),
            }
            length = self.expansion.length
            found = {
                name: [_filled(row, length, fills[name]) for row in rows]
                for name, rows in found.items()
            }
        skipped = self._skipped(tokenizer) if side in self.skiplist_tasks else []
        is_scored = (~np.isin(ids, skipped) for ids in found["input_ids"])
        return found | {"scored": [each.astype(np.int32) for each in is_scored]}

    def _skipped(self, tokenizer: Tokenizer) -> list[int]:
        """Ids of the words on the list that are one token; others never occur."""
        words = self.skiplist_words
        given = [*string.punctuation] if words == PUNCTUATION else words
        known = (tokenizer.backend.token_to_id(word) for word in given)
        unknown = tokenizer.unk_id
        return [token for token in known if token is not None and token != unknown]


def _fill(expansion: QueryExpansion, tokenizer: Tokenizer) -> int:
    if expansion.token is None:
        return tokenizer.mask_id
    found = tokenizer.backend.token_to_id(expansion.token)
    if found is None:
        raise UserError(
            f"task.query_expansion.token={expansion.token!r} is not in the vocabulary: name one "
            "that is, or null for the mask token"
        )
    return found


def _filled(row: np.ndarray, length: int, fill: int) -> np.ndarray:
    return np.append(row, np.full(max(0, length - len(row)), fill, row.dtype))
