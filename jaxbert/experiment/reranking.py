"""How well a reranker orders the documents that a search has found (Nogueira and Cho 2019)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os.path import expanduser
from pathlib import Path

from jaxbert.data.beir import RetrievalTest
from jaxbert.data.lines import read_lines
from jaxbert.data.problems import Problems
from jaxbert.data.reading import Reading
from jaxbert.data.tables import existing_file
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import TaskSection
from jaxbert.experiment.inference import Ready
from jaxbert.experiment.predictor import Predictor, chunks
from jaxbert.experiment.retrieval import Found, Retrieved, judged, opened_test
from jaxbert.parallel.processes import by_turns, is_first
from jaxbert.tasks.sentences import SentenceColumns
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.training.counted import counted

_FIELDS = 6


def evaluate_reranking(
    model: Ready,
    directory: str,
    section: TaskSection,
    reading: Reading,
    candidates: str,
    *,
    split: str = "test",
    depth: int = 100,
) -> Retrieved:
    """The first `depth` candidates of every judged query in the order of the model's scores.

    `candidates`: a ranking in trec_eval's format, such as a search leaves. The score is the one
    logit, or how far the second of two is above the first; of equal ones the better candidate comes
    first. Raises UserError where the model is no reranker, and for a candidate that the corpus has
    not.
    """
    reranker = _as_reranker(model, section)
    test = opened_test(model, directory, split)
    ranked = {
        query: names[:depth]
        for query, names in read_candidates(candidates).items()
        if query in test.queries
    }
    texts = _texts(test, {name for names in ranked.values() for name in names}, candidates)
    pairs = [(query, name) for query, names in ranked.items() for name in names]
    columns = SentenceColumns("query", "document")
    predictor = Predictor(model, section=replace(reranker, columns=columns), reading=reading)

    def scores(some: Iterable[tuple[str, str]]) -> Iterator[float]:
        for part in chunks(some, model.rows_at_once):
            logits = predictor.logits([(test.queries[query], texts[name]) for query, name in part])
            first = logits[:, 0]
            yield from (first if logits.shape[1] == 1 else logits[:, 1] - first).tolist()

    found = counted(
        by_turns(pairs, model.rows_at_once, scores),
        *(1, len(pairs), "scoring pairs"),
        quiet=not is_first(),
    )
    rankings: dict[str, list[tuple[str, float]]] = {query: [] for query in ranked}
    for (query, name), score in zip(pairs, found, strict=True):
        rankings[query].append((name, score))
    ordered: dict[str, Found] = {
        query: sorted(each, key=lambda pair: -pair[1]) for query, each in rankings.items()
    }
    return judged(test, ordered)


def read_candidates(spec: str) -> Mapping[str, Sequence[str]]:
    """Documents of every query in the order of their ranks, from a file in trec_eval's format.

    Raises UserError for a line that is none of it.
    """
    file, problems = existing_file(Path(expanduser(spec))), Problems()
    ranked: dict[str, list[tuple[int, str]]] = {}
    for number, line in read_lines(file, problems):
        fields = line.split()
        if len(fields) != _FIELDS or not fields[3].isdecimal():
            raise UserError(
                f"{file}:{number}: expected a query, Q0, a document, its rank, a score and a name"
            )
        ranked.setdefault(fields[0], []).append((int(fields[3]), fields[2]))
    return {
        query: list(dict.fromkeys(name for _, name in sorted(found, key=lambda pair: pair[0])))
        for query, found in ranked.items()
    }


def _texts(test: RetrievalTest, wanted: set[str], candidates: str) -> dict[str, str]:
    texts = {
        name: text for name, text in zip(test.ids, test.documents(), strict=True) if name in wanted
    }
    for name in sorted(wanted - texts.keys()):
        raise UserError(f"{candidates}: document {name!r} is not in {test.corpus}")
    return texts


def _as_reranker(model: Ready, section: TaskSection) -> SequenceClassificationConfig:
    head = model.loaded.head
    is_one = head.kind == "sequence_classification" and len(head.labels) in (1, 2)
    if not isinstance(section, SequenceClassificationConfig) or not is_one:
        raise UserError(
            f"{model.loaded.directory}: it is no reranker, which scores pairs by one output or two "
            f"(this is {section.kind}, with {len(head.labels)} labels)"
        )
    return section
