"""How well a model of embeddings finds the documents of a corpus that answer queries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jaxbert.data.beir import RetrievalTest, read_retrieval_test
from jaxbert.data.reading import Reading
from jaxbert.experiment.alike import check_same_model, check_same_texts
from jaxbert.experiment.comparison import comparison_of
from jaxbert.experiment.finetune_config import TaskSection
from jaxbert.experiment.inference import Ready
from jaxbert.experiment.search import search
from jaxbert.metrics.ranked_lists import figures_of
from jaxbert.parallel.processes import is_first
from jaxbert.training.counted import counted

DEPTH = 1000
"""Documents of a ranking, of which recall is told."""


Found = Sequence[tuple[str, float]]
"""Documents with their scores, best first."""


@dataclass(frozen=True)
class Retrieved:
    """Figures, and the rankings that they are of."""

    figures: Mapping[str, float]
    rankings: Mapping[str, Found]
    """By the id of the query."""

    def lines(self) -> Iterator[str]:
        """In trec_eval's format: query, Q0, document, rank, score, name.

        Scores have as many digits as tell float32 numbers apart: trec_eval sorts by them.
        """
        for query, found in self.rankings.items():
            for rank, (document, score) in enumerate(found, start=1):
                yield f"{query} Q0 {document} {rank} {score:.9g} jaxbert"


def evaluate_retrieval(
    model: Ready, directory: str, section: TaskSection, reading: Reading, *, split: str = "test"
) -> Retrieved:
    """Searches BEIR's files for every judged query; of both sides the model's own prompts.

    A document with the id of the query is not searched for it, as in BEIR. Raises UserError where
    the model gives no vectors of texts.
    """
    comparison = comparison_of(model, section, reading)
    test = opened_test(model, directory, split)
    number_of = {name: number for number, name in enumerate(test.ids)}
    documents = counted(
        test.documents(), 1, len(number_of), "searching documents", quiet=not is_first()
    )
    found = search(
        comparison,
        list(test.queries.values()),
        documents,
        [number_of.get(name, -1) for name in test.queries],
        depth=min(DEPTH, len(number_of)),
        at_once=model.rows_at_once,
    )
    named = [
        [
            (test.ids[number], score)
            for number, score in zip(
                ranking.documents.tolist(), ranking.scores.tolist(), strict=True
            )
        ]
        for ranking in found
    ]
    return judged(test, dict(zip(test.queries, named, strict=True)))


def opened_test(model: Ready, directory: str, split: str) -> RetrievalTest:
    """The files, of which all processes read the same, as of the model."""
    test = read_retrieval_test(directory, split)
    check_same_model(model.loaded.params, model.loaded.directory)
    check_same_texts(directory, test.queries, test.queries.values(), test.ids, test.documents())
    return test


def judged(test: RetrievalTest, rankings: Mapping[str, Found]) -> Retrieved:
    """The figures of `metrics.ranked_lists`, `queries`, `documents`, and `not_in_corpus` where
    relevant documents are missing there."""
    names = {query: [document for document, _ in found] for query, found in rankings.items()}
    figures = figures_of(names, test.grades)
    figures |= {"queries": len(test.queries), "documents": len(test.ids)}
    missing = {name for grades in test.grades.values() for name in grades} - set(test.ids)
    if missing:
        figures["not_in_corpus"] = len(missing)
    return Retrieved(figures, rankings)
