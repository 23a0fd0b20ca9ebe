"""What a search has found, in the order of a reranker."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from jaxbert.cli import main
from jaxbert.errors import UserError
from jaxbert.experiment.inference import reading_of, ready, section_of
from jaxbert.experiment.predictor import Predictor
from jaxbert.experiment.reranking import evaluate_reranking, read_candidates
from jaxbert.families import preset
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.training import train_wordpiece

WORDS = ["moon", "far", "near", "tree", "green", "cat", "dog", "old", "house", "river"]
DOCUMENTS = {f"d{number}": " ".join(WORDS[number:]) for number in range(8)}
QUERIES = {"q1": "far moon", "q2": "old dog"}
RANKING = {"q1": ["d3", "d0", "d7", "d5"], "q2": ["d1", "d2"], "unjudged": ["d1"]}


def saved(head: Head, directory: Path) -> Path:
    tokenizer = train_wordpiece([" ".join(WORDS)], 60, min_frequency=1)
    sizes = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 32}
    encoder = replace(preset("bert-tiny"), initializer_range=0.2, **sizes)
    save_params(init_params(encoder, head, 1), encoder, head, tokenizer, directory)
    return directory


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        rows = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(rows))
    qrels = "query-id\tcorpus-id\tscore\nq1\td7\t1\nq2\td2\t1\nq2\td6\t1\n"
    (folder / "qrels" / "test.tsv").write_text(qrels)
    lines = [
        f"{query} Q0 {name} {rank} {-rank} search\n"
        for query, names in RANKING.items()
        for rank, name in enumerate(names, start=1)
    ]
    (folder / "search.trec").write_text("".join(reversed(lines)))
    return folder


@pytest.mark.parametrize("labels", [("fits",), ("no", "yes")])
def test_candidates_are_ordered_by_the_cross_encoders_scores(
    files: Path, tmp_path: Path, labels: tuple[str, ...]
):
    problem = "multi_label_classification" if len(labels) == 1 else None
    model = saved(Head("sequence_classification", labels, problem), tmp_path / "model")
    out, found = tmp_path / "figures.json", tmp_path / "found.trec"
    words = ["--retrieval", "--data", str(files), "--candidates", str(files / "search.trec")]
    words += ["--out", str(out), "--ranking", str(found), "--batch-size", "8", "--depth", "3"]
    assert main(["evaluate", str(model), *words]) == 0
    theirs = CrossEncoder(str(model), device="cpu")
    ranking: dict[str, list[str]] = {}
    for line in found.read_text().splitlines():
        query, _, name, *_ = line.split()
        ranking.setdefault(query, []).append(name)
    for query, text in QUERIES.items():
        names = RANKING[query][:3]
        scores = np.asarray(theirs.predict([(text, DOCUMENTS[name]) for name in names]))
        scores = scores if scores.ndim == 1 else scores[:, 1] - scores[:, 0]
        assert np.ptp(scores) > 1e-3
        assert ranking[query] == [names[n] for n in np.argsort(-scores)]
    figures = json.loads(out.read_text())
    first = 1 / (1 + ranking["q1"].index("d7")), 1 / (1 + ranking["q2"].index("d2"))
    assert figures["mrr_at_10"] == pytest.approx(np.mean(first))
    assert figures["recall_at_10"] == pytest.approx((1 + 1 / 2) / 2)
    assert (figures["queries"], figures["documents"]) == (2, 8)


def test_equal_scores_keep_the_order_of_the_search(files: Path, tmp_path: Path, monkeypatch):
    model = ready(saved(Head("sequence_classification", ("fits",)), tmp_path / "model"))
    monkeypatch.setattr(Predictor, "logits", lambda self, pairs: np.zeros((len(pairs), 1)))
    found = evaluate_reranking(
        model, str(files), section_of(model), reading_of(model), str(files / "search.trec")
    )
    assert [name for name, _ in found.rankings["q1"]] == RANKING["q1"]


def test_what_cannot_be_reranked_is_refused(files: Path, tmp_path: Path, capsys):
    broken = tmp_path / "broken.trec"
    broken.write_text("q1 Q0 d1 first 1.0 x\n")
    with pytest.raises(UserError, match=r"broken\.trec:1: expected a query, Q0, a document"):
        read_candidates(str(broken))
    broken.write_text("q1 Q0 d99 1 1.0 x\n")
    model = saved(Head("sequence_classification", ("fits",)), tmp_path / "model")
    words = ["--retrieval", "--data", str(files), "--candidates"]
    assert main(["evaluate", str(model), *words, str(broken)]) == 2
    assert "document 'd99' is not in" in capsys.readouterr().err
    vectors = saved(Head(pooling="mean"), tmp_path / "vectors")
    assert main(["evaluate", str(vectors), *words, str(broken)]) == 2
    assert "it is no reranker" in capsys.readouterr().err
    assert main(["evaluate", str(vectors), *words[:-1], "--depth", "3"]) == 2
    assert "--depth: of --candidates alone" in capsys.readouterr().err
    assert main(["evaluate", str(model), *words[:-1]]) == 2
    assert "retrieval compares vectors" in capsys.readouterr().err


def test_logits_are_what_scores_come_from(tmp_path: Path):
    model = saved(Head("sequence_classification", ("no", "yes")), tmp_path / "model")
    predictor = Predictor(model)
    logits = predictor.logits(WORDS[:3])
    assert (logits.shape, logits.dtype) == ((3, 2), np.float32)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, prediction in zip(chances, predictor(WORDS[:3]), strict=True):
        assert [*prediction["probabilities"].values()] == pytest.approx(row.tolist(), abs=1e-6)
    assert predictor.logits([]).shape == (0, 2)
    with pytest.raises(UserError, match="task is sentence_embedding: call it"):
        Predictor(saved(Head(pooling="mean"), tmp_path / "vectors")).logits(["a"])
