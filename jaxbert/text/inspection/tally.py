"""What a tokenizer makes of a corpus, counted batch by batch."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxbert.errors import UserError
from jaxbert.text.inspection.lengths import LengthFigures, length_figures
from jaxbert.text.inspection.words import (
    WordFigures,
    share,
    unknown_characters,
    word_figures,
    word_finder,
)
from jaxbert.text.tokenizer import Tokenizer

_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class Inspection:
    """The figures of a tokenizer over a corpus; `tokens` leaves the special ones out.

    `entries` of the vocabulary stand for text: special tokens and empty ids are none.
    """

    vocab_size: int
    rows: int
    characters: int
    tokens: int
    characters_per_token: float | None
    unknown_tokens: int
    unknown_token_rate: float | None
    unknown_characters: tuple[tuple[str, int], ...]
    entries: int
    entries_never_used: int
    words: WordFigures
    lengths: LengthFigures


class Tally:
    """Counts of texts, or of pairs of texts, over any number of batches.

    Memory grows with the number of distinct words (about 100 bytes each), not with the text.
    """

    def __init__(self, tokenizer: Tokenizer, *, pairs: bool = False):
        self.tokenizer = tokenizer
        self.rows = self.characters = 0
        self.lengths: Counter[int] = Counter()
        self._special_tokens = tokenizer.num_special_tokens(pair=pairs)
        self._words: Counter[str] = Counter()
        self._code_points = np.zeros(_CODE_POINTS, np.int64)
        self._uses = np.zeros(tokenizer.vocab_size, np.int64)

    def add(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> None:
        """Counts rows: texts, or as many pairs; special tokens spelled out in them are text."""
        lengths = self._special_tokens + self._count(texts)
        if pairs is not None:
            lengths += self._count(pairs)
        self.rows += len(texts)
        self.lengths.update(lengths.tolist())

    def _count(self, texts: Sequence[str]) -> np.ndarray:
        tokens, lengths = self.tokenizer.encode_flat(texts)
        self._uses += np.bincount(tokens, minlength=len(self._uses))
        find = word_finder()
        for text in texts:
            self._words.update(find(text))
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
        counts = np.bincount(codes)
        self._code_points[: len(counts)] += counts
        self.characters += len(codes)
        return lengths

    def figures(self, *, model_limit: int | None = None, shown: int = 20) -> Inspection:
        """Everything counted so far; `shown` is how long the lists of words may be."""
        if not self.rows:
            raise UserError("there are no rows to inspect a tokenizer with")
        tokenizer = self.tokenizer
        tokens = int(self._uses.sum())
        unknown = 0 if tokenizer.unk_id is None else int(self._uses[tokenizer.unk_id])
        special = tokenizer.special_ids
        stands_for_text = np.array(
            [token != "" and i not in special for i, token in enumerate(tokenizer.vocab())]
        )
        return Inspection(
            vocab_size=tokenizer.vocab_size,
            rows=self.rows,
            characters=self.characters,
            tokens=tokens,
            characters_per_token=share(self.characters, tokens),
            unknown_tokens=unknown,
            unknown_token_rate=share(unknown, tokens),
            unknown_characters=unknown_characters(tokenizer, self._code_points, shown),
            entries=int(stands_for_text.sum()),
            entries_never_used=int((stands_for_text & (self._uses == 0)).sum()),
            words=word_figures(tokenizer, self._words, shown),
            lengths=length_figures(self.lengths, self._special_tokens, model_limit),
        )
