"""Rows of texts that belong together: read, encoded, and searched for each other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxbert.data.reading import Reading, encode
from jaxbert.data.tables import Row, whole_rows
from jaxbert.errors import UserError
from jaxbert.metrics.retrieval import Ranks, mean_reciprocal_rank, ndcg_at, recall_at
from jaxbert.tasks.prompts import Prompts
from jaxbert.tasks.sentences import text_of
from jaxbert.tasks.tables import Table, mistakes
from jaxbert.text.tokenizer import Tokenizer

Which = Literal["query", "document"]
"""One of the prompts."""


@dataclass(frozen=True)
class EmbeddingColumns:
    """Which columns of a table hold what."""

    text: str = "anchor"
    """The one column that prediction reads."""
    text_pair: str = "positive"
    """What belongs to it, or what `label` compares it with."""
    negatives: tuple[str, ...] = ()
    """Texts that do not belong to it though they seem to; may be empty in a row."""
    label: str | None = None
    """How alike both texts are, a number; null: they belong together, other texts do not."""
    names: tuple[str, ...] | None = None
    """Column names of a CSV or TSV file that has no header."""

    def __post_init__(self) -> None:
        if self.label is not None and self.negatives:
            raise UserError("columns.label scores two texts: columns.negatives have no place there")

    @property
    def inputs(self) -> tuple[str, ...]:
        """What prediction reads."""
        return (self.text,)


def check_prompt(prompt: Which | None, prompts: Prompts | None) -> None:
    """Raises UserError where one is asked for and there is none."""
    if prompt is not None and prompts is None:
        raise UserError(
            f"prompt={prompt!r}: there are no prompts: give task.prompts={{query: ..., "
            "document: ...}, or drop it"
        )


def predicted_prompt(prompt: Which | None, prompts: Prompts | None) -> str:
    """What is put before texts that are predicted."""
    given = prompts or Prompts()
    return given.default if prompt is None else str(getattr(given, prompt))


def read_rows(spec: str, columns: EmbeddingColumns, *, labelled: bool) -> Iterator[Row]:
    """Rows of a table; without labels those of its first text."""
    others = [columns.text_pair, *columns.negatives, columns.label] if labelled else []
    wanted = [name for name in (columns.text, *others) if name is not None]
    return whole_rows(spec, columns=wanted, names=columns.names, labelled=labelled)


class Encoded(NamedTuple):
    """Texts as tokens."""

    features: dict[str, Any]
    """Of every text of every row, one after another; of one that is not there no tokens."""
    text_ids: NDArray[np.int32] | None
    """[rows, texts], equal where texts are, -1 where there is none; None: a row is one text."""


def encoded_texts(
    records: Sequence[Row],
    columns: EmbeddingColumns,
    tokenizer: Tokenizer,
    reading: Reading,
    prompts: Prompts | None,
    prompt: Which | None,
    *,
    labelled: bool,
) -> Encoded:
    """With labels a row's texts, without them its first text alone; each behind its prompt."""
    if reading.windows is not None:
        raise UserError("windows: an embedding is of one row of tokens: take a truncation")
    if not labelled:
        before = predicted_prompt(prompt, prompts)
        texts = [before + text_of(row, columns.text) for row in records]
        return Encoded(dict(encode(tokenizer, texts, None, reading)), None)
    grid = [texts_of(row, columns) for row in records]
    befores = (prompts or Prompts()).of_columns(2 + len(columns.negatives))
    # A text is the same text behind another prompt, with other tokens.
    ids = numbered([text for texts in grid for text in texts])
    whole = [
        None if text is None else before + text
        for texts in grid
        for before, text in zip(befores, texts, strict=True)
    ]
    numbers = numbered(whole)
    encoded = encode(tokenizer, [x for x in dict.fromkeys(whole) if x is not None], None, reading)
    features = {
        name: [values[number] if number >= 0 else [] for number in numbers]
        for name, values in encoded.items()
    }
    return Encoded(features, np.array(ids, np.int32).reshape(len(records), -1))


class Search(NamedTuple):
    """Every different anchor is a query; all different positives and negatives are searched.

    What is relevant are the positives of its rows. The anchor's own text, which would be the
    nearest of all, is left out where it is not relevant.
    """

    queries: list[int]
    """Rows, whose anchors are different."""
    documents: NDArray[np.integer]
    """Places among the other texts of all rows, one row after another."""
    relevant: list[list[int]]
    """Of every query places among the documents."""
    left_out: Sequence[tuple[int, ...]]


def search(ids: NDArray[np.integer]) -> Search:
    """What is searched for what, in rows whose texts have these `text_ids`."""
    anchors, queries = np.unique(ids[:, 0], return_index=True)
    texts, places = np.unique(ids[:, 1:], return_index=True)
    first = int(texts[0] < 0)
    relevant: list[list[int]] = [[] for _ in anchors]
    pairs = np.unique(ids[:, :2], axis=0)
    of_anchor = np.searchsorted(anchors, pairs[:, 0])
    of_text = np.searchsorted(texts[first:], pairs[:, 1])
    for query, document in zip(of_anchor.tolist(), of_text.tolist(), strict=True):
        relevant[query].append(document)
    number = {int(text): document for document, text in enumerate(texts[first:])}
    itself = [number.get(int(anchor)) for anchor in anchors]
    left_out = [
        () if own is None or own in wanted else (own,)
        for own, wanted in zip(itself, relevant, strict=True)
    ]
    return Search(queries.tolist(), places[first:], relevant, left_out)


def ranking_metrics(ranks: Ranks, recalls: Sequence[int]) -> dict[str, float]:
    """How well positives are found."""
    found = {f"recall_at_{k}": recall_at(ranks, k) for k in recalls}
    return {"mrr": mean_reciprocal_rank(ranks), "ndcg_at_10": ndcg_at(ranks, 10), **found}


def worst_ranked(
    records: Sequence[Row], columns: EmbeddingColumns, queries: Sequence[int], ranks: Ranks
) -> Table:
    """The anchors whose first positive comes last; `queries` are numbers of records."""
    first = np.array([int(found[0]) for found in ranks])
    late = [i for i in np.argsort(-first, kind="stable").tolist() if first[i] > 1]
    anchors = ((*shown(records[queries[i]], columns), int(first[i])) for i in late)
    return mistakes(("row", "anchor", "positive", "rank"), anchors)


def shown(record: Row, columns: EmbeddingColumns) -> tuple[str, str, str]:
    """Where a pair is, and its texts."""
    return record.place, text_of(record, columns.text), text_of(record, columns.text_pair)


def numbered(texts: Iterable[str | None]) -> list[int]:
    """Every text's number among the different ones, as they come; -1 where there is none."""
    numbers: dict[str, int] = {}
    return [-1 if text is None else numbers.setdefault(text, len(numbers)) for text in texts]


def texts_of(row: Row, columns: EmbeddingColumns) -> list[str | None]:
    """Anchor, its pair, and negatives, None where the row has none."""
    needed = [text_of(row, columns.text), text_of(row, columns.text_pair)]
    empty = [name for name in columns.negatives if row.values[name] in (None, "")]
    others = [None if name in empty else text_of(row, name) for name in columns.negatives]
    return [*needed, *others]
