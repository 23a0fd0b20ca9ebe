"""A search of a corpus: against brute force, and sentence-transformers' own evaluation."""

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from jaxbert.cli import main
from jaxbert.experiment.search import Comparison, search
from jaxbert.families import preset
from jaxbert.hub.save import save_params
from jaxbert.metrics.ranked_lists import figures_of
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.training import train_wordpiece

WORDS = ["moon", "far", "near", "tree", "green", "cat", "dog", "old", "house", "river"]


@pytest.mark.parametrize(("documents", "depth", "at_once"), [(50, 7, 8), (5, 5, 64), (33, 33, 11)])
def test_the_nearest_are_those_of_all_scores(documents: int, depth: int, at_once: int):
    generator = np.random.default_rng(documents)
    # Whole numbers, so that many are equally near.
    corpus, queries = (generator.integers(-2, 3, (n, 3)).astype(np.float32) for n in (documents, 4))
    corpus[2] = np.nan
    left_out = [1, -1, 4, -1]

    def rows(of: np.ndarray):
        return lambda names: jnp.asarray(of[[int(name) for name in names]])

    found = search(
        Comparison(rows(queries), rows(corpus), lambda a, b: a @ b.T),
        [str(number) for number in range(4)],
        (str(number) for number in range(documents)),
        left_out,
        depth=depth,
        at_once=at_once,
    )
    for query, ranking in enumerate(found):
        allowed = [n for n in range(documents) if n not in (2, left_out[query])]
        scores = {number: float(corpus[number] @ queries[query]) for number in allowed}
        expected = sorted(allowed, key=lambda number: (-scores[number], number))[:depth]
        assert ranking.documents.tolist() == expected
        assert ranking.scores.tolist() == [scores[number] for number in expected]


def test_what_is_not_above_the_least_score_is_not_found():
    scores = jnp.asarray([[0.0, 2.0, 0.0, 1.0]])
    comparison = Comparison(len, len, lambda queries, documents: scores, above=0.0)
    options = {"left_out": [-1], "depth": 4, "at_once": 8}
    [found] = search(comparison, ["q"], list("abcd"), **options)
    assert found.documents.tolist() == [1, 3]
    [nothing] = search(replace(comparison, above=5.0), ["q"], list("abcd"), **options)
    assert nothing.documents.size == 0


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    generator, folder = np.random.default_rng(0), tmp_path_factory.mktemp("beir")

    def text(words: int) -> str:
        return " ".join(generator.choice(WORDS, words))

    corpus = [
        {"_id": f"d{number}", "title": text(1) if number % 3 else "", "text": text(6)}
        for number in range(70)
    ]
    corpus[5]["_id"] = "q2"
    queries = [{"_id": f"q{number}", "text": text(4)} for number in range(9)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels").mkdir()
    lines = [
        f"{query['_id']}\t{corpus[number]['_id']}\t1\n"
        for query in queries
        for number in generator.choice(70, 3, replace=False)
    ]
    head = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "dev.tsv").write_text(head + "".join(lines))
    return folder


def test_figures_are_those_of_sentence_transformers(files: Path, tmp_path: Path):
    tokenizer = train_wordpiece([" ".join(WORDS)], 60, min_frequency=1)
    sizes = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 32}
    encoder, head = replace(preset("bert-tiny"), **sizes), Head(pooling="mean")
    prompts = {"prompts": {"query": "moon ", "document": "cat "}}
    params, model = init_params(encoder, head, 1), tmp_path / "model"
    save_params(params, encoder, head, tokenizer, model, prompts=prompts)
    out, trec = tmp_path / "figures.json", tmp_path / "ranking.trec"
    words = ["--retrieval", "--split", "dev", "--data", str(files)]
    words += ["--batch-size", "8", "--out", str(out), "--ranking", str(trec)]
    assert main(["evaluate", str(model), *words]) == 0
    found = json.loads(out.read_text())
    assert (found["queries"], found["documents"]) == (9, 70)

    def rows(name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (files / f"{name}.jsonl").read_text().splitlines()]

    relevant: dict[str, set[str]] = {}
    for line in (files / "qrels" / "dev.tsv").read_text().splitlines()[1:]:
        query, document, _ = line.split("\t")
        relevant.setdefault(query, set()).add(document)
    # A document with the query's id is not searched, which the other one knows nothing of.
    queries = {row["_id"]: row["text"] for row in rows("queries") if row["_id"] != "q2"}
    corpus = {row["_id"]: f"{row['title']} {row['text']}".strip() for row in rows("corpus")}
    evaluator = InformationRetrievalEvaluator(
        queries,
        corpus,
        {query: relevant[query] for query in queries},
        mrr_at_k=[10],
        ndcg_at_k=[10],
        accuracy_at_k=[10],
        precision_recall_at_k=[10],
        map_at_k=[100],
        show_progress_bar=False,
        write_csv=False,
    )
    theirs = evaluator(SentenceTransformer(str(model), device="cpu"))
    ranking: dict[str, list[str]] = {}
    for line in trec.read_text().splitlines():
        query, q0, document, rank, score, name = line.split()
        assert (q0, name) == ("Q0", "jaxbert")
        ranking.setdefault(query, []).append(document)
        assert int(rank) == len(ranking[query])
        assert np.isfinite(float(score))
    assert [len(ranking[name]) for name in ("q1", "q2")] == [70, 69]
    assert "q2" not in ranking["q2"]
    grades = {query: dict.fromkeys(sorted(names), 1) for query, names in relevant.items()}
    again = figures_of(ranking, grades)
    assert again == pytest.approx({name: found[name] for name in again})
    own = figures_of(ranking, {query: grades[query] for query in queries})
    for name in ("ndcg_at_10", "mrr_at_10", "map_at_100", "recall_at_10"):
        theirs_name = f"cosine_{name.replace('_at_', '@')}"
        assert own[name] == pytest.approx(theirs[theirs_name], rel=1e-6)


def test_options_that_a_search_does_not_look_at_are_refused(files: Path, tmp_path: Path, capsys):
    tokenizer = train_wordpiece([" ".join(WORDS)], 60, min_frequency=1)
    sizes = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 32}
    encoder, head = replace(preset("bert-tiny"), **sizes), Head(pooling="mean")
    params, model = init_params(encoder, head, 1), tmp_path / "model"
    save_params(params, encoder, head, tokenizer, model)
    words = ["evaluate", str(model), "--retrieval", "--data", str(files), "--split", "dev"]
    for option in ("task.dimensions=[8]", "task.scale=3.0", "task.prompt=query"):
        assert main([*words, option]) == 2
        assert f"{option}: a search reads whole vectors" in capsys.readouterr().err
