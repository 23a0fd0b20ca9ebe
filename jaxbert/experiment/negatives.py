"""Texts that seem to belong to an anchor and do not, found by a model among those of the data."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxbert.data.reading import Reading
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.experiment.alike import check_same_model, check_same_texts
from jaxbert.experiment.comparison import comparison_of
from jaxbert.experiment.finetune_config import TaskSection
from jaxbert.experiment.inference import Ready
from jaxbert.experiment.search import Comparison, Ranking, search
from jaxbert.options import check_options
from jaxbert.parallel.processes import is_first
from jaxbert.tasks.sentences import text_of
from jaxbert.tasks.text_rows import EmbeddingColumns
from jaxbert.training.counted import counted

_PAIRS_AT_ONCE = 64


@dataclass(frozen=True)
class Mining:
    """Which of the texts that are nearest to an anchor are its negatives."""

    negatives: int = 5
    """Of a row, at most: the nearest."""
    skip: int = 0
    """The nearest so many are no negatives: they may belong to the anchor unknown to the data."""
    depth: int = 100
    """How many of the nearest, after those that are skipped, are looked at."""
    relative_margin: float = 0.05
    """A negative's score is at most that of the row's positive less this share of it, as one above
    may be a positive that nobody has marked (Moreira et al. 2024, TopK-PercPos at 95 %)."""

    def __post_init__(self) -> None:
        check_options(self)
        for name, least in (("negatives", 1), ("skip", 0), ("depth", 1)):
            if (value := getattr(self, name)) < least:
                raise UserError(f"{name}={value}: must be at least {least}")
        if not 0.0 <= self.relative_margin < 1.0:
            raise UserError(f"relative_margin={self.relative_margin}: must lie in [0, 1)")


@dataclass(frozen=True)
class Mined:
    """A row, and its negatives, the nearest first."""

    anchor: str
    positive: str
    negatives: tuple[str, ...]

    def columns(self, names: EmbeddingColumns, count: int) -> dict[str, str]:
        """As a row of a table; where there are fewer negatives the last ones are empty."""
        found = [*self.negatives, *[""] * (count - len(self.negatives))]
        others = {f"negative_{number}": text for number, text in enumerate(found, start=1)}
        return {names.text: self.anchor, names.text_pair: self.positive, **others}


def mine_negatives(
    model: Ready,
    section: TaskSection,
    reading: Reading,
    rows: Sequence[Row],
    corpus: Iterable[str] = (),
    mining: Mining | None = None,
) -> list[Mined]:
    """Every row with the negatives that a model finds among all positives and the `corpus`.

    What belongs to an equal anchor is none, nor is the anchor's own text. Several processes share
    the search. Raises UserError where the model gives no vectors of texts.
    """
    mining = mining or Mining()
    comparison, columns = comparison_of(model, section, reading), section.columns
    assert isinstance(columns, EmbeddingColumns)
    pairs = [(text_of(row, columns.text), text_of(row, columns.text_pair)) for row in rows]
    belonging: dict[str, dict[str, None]] = {}
    for anchor, positive in pairs:
        belonging.setdefault(anchor, {})[positive] = None
    texts = list(dict.fromkeys([positive for _, positive in pairs] + list(corpus)))
    check_same_model(model.loaded.params, model.loaded.directory)
    check_same_texts("the pairs and the corpus", (text for pair in pairs for text in pair), texts)
    # One anchor with a great many positives is not to make the search of all others deeper.
    most = min(max(map(len, belonging.values()), default=0), mining.depth)
    documents = counted(iter(texts), 1, len(texts), "searching texts", quiet=not is_first())
    anchors = list(belonging)
    found = search(
        comparison,
        anchors,
        documents,
        [-1] * len(anchors),
        depth=min(len(texts), mining.skip + mining.depth + most + 1),
        at_once=model.rows_at_once,
    )
    rankings = dict(zip(anchors, found, strict=True))
    scores = _scores(comparison, pairs, rankings, texts)
    return [
        Mined(
            anchor,
            positive,
            tuple(_negatives(rankings[anchor], texts, {anchor, *belonging[anchor]}, score, mining)),
        )
        for (anchor, positive), score in zip(pairs, scores, strict=True)
    ]


def _negatives(
    ranking: Ranking, texts: Sequence[str], belonging: set[str], score: float, mining: Mining
) -> Iterator[str]:
    highest = score - mining.relative_margin * abs(score)
    others = [
        (texts[number], found)
        for number, found in zip(ranking.documents.tolist(), ranking.scores.tolist(), strict=True)
        if texts[number] not in belonging
    ]
    looked_at = others[mining.skip : mining.skip + mining.depth]
    allowed = [text for text, found in looked_at if found <= highest]
    yield from allowed[: mining.negatives]


def _scores(
    comparison: Comparison,
    pairs: Sequence[tuple[str, str]],
    rankings: Mapping[str, Ranking],
    texts: Sequence[str],
) -> list[float]:
    """Of every anchor and its positive: what the search has found, else computed."""
    number_of = {text: number for number, text in enumerate(texts)}
    known: dict[tuple[str, str], float] = {}
    for anchor, positive in dict.fromkeys(pairs):
        ranking = rankings[anchor]
        places = np.flatnonzero(ranking.documents == number_of[positive])
        if places.size:
            known[anchor, positive] = float(ranking.scores[places[0]])
    missing = list(dict.fromkeys(pair for pair in pairs if pair not in known))
    for first in range(0, len(missing), _PAIRS_AT_ONCE):
        some = missing[first : first + _PAIRS_AT_ONCE]
        queries = comparison.queries([anchor for anchor, _ in some])
        documents = comparison.documents([positive for _, positive in some])
        own = np.diagonal(np.asarray(comparison.scores(queries, documents)))
        known.update(zip(some, own.tolist(), strict=True))
    return [known[pair] for pair in pairs]
