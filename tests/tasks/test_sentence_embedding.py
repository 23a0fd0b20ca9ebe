from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from jaxbert.config import parse_config
from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.errors import UserError
from jaxbert.nn.head import Head
from jaxbert.tasks.sentence_embedding import EncodedTexts, SentenceEmbeddingConfig
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece

SCORES = {"columns": {"text": "a", "text_pair": "b", "label": "score"}, "max_label": 5}
NEGATIVES = {"columns": {"negatives": ["hard"]}}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(["one two three four five six"] * 3, vocab_size=60)


def examples(
    tokenizer: Tokenizer, values: Any, path: Path, text: str, *, labelled: bool = True
) -> EncodedTexts:
    path.write_text(text, encoding="utf-8")
    config = parse_config(SentenceEmbeddingConfig, values)
    records = tuple(config.read(str(path), labelled=labelled))
    return config.task(records).examples(records, tokenizer, Reading(12), labelled=labelled)


def test_equal_texts_have_equal_numbers_and_a_negative_may_be_missing(tokenizer, tmp_path):
    text = "anchor\tpositive\thard\none\ttwo\tthree\nfour\ttwo\t\ntwo\t\tone\n"
    found = examples(tokenizer, NEGATIVES, tmp_path / "a.tsv", text)
    assert found.text_ids is not None
    assert found.text_ids.tolist() == [[0, 1, 2], [3, 1, -1], [1, 4, 0]]
    ids = found.features["input_ids"]
    expected = tokenizer.encode(["one", "two", "three"], padding=False)["input_ids"]
    assert [list(row) for row in ids[:3]] == [list(row) for row in expected]
    assert len(ids[5]) == 0
    assert len(ids[7]) == 2, "an empty text is [CLS] [SEP]"


PROMPTS = {"prompts": {"query": "five: ", "document": "six ", "default": "four "}}


def test_prompts_stand_before_texts_by_their_columns(tokenizer, tmp_path):
    text = "anchor\tpositive\thard\none\ttwo\tone\nthree\ttwo\t\n"
    found = examples(tokenizer, NEGATIVES | PROMPTS, tmp_path / "a.tsv", text)
    whole = ["five: one", "six two", "six one", "five: three", "six two"]
    expected = tokenizer.encode(whole, padding=False)["input_ids"]
    assert [row.tolist() for row in found.features["input_ids"][:5]] == [
        row.tolist() for row in expected
    ]
    assert len(found.features["input_ids"][5]) == 0
    assert found.text_ids is not None
    assert found.text_ids.tolist() == [[0, 1, 0], [2, 1, -1]], "the same texts without prompts"


@pytest.mark.parametrize(
    ("prompt", "before"), [(None, "four "), ("query", "five: "), ("document", "six ")]
)
def test_the_prompt_of_texts_to_predict_is_chosen(tokenizer, tmp_path, prompt, before):
    values = PROMPTS | {"prompt": prompt}
    found = examples(tokenizer, values, tmp_path / "a.tsv", "anchor\none\n", labelled=False)
    [expected] = tokenizer.encode([f"{before}one"], padding=False)["input_ids"]
    assert found.features["input_ids"][0].tolist() == expected.tolist()


def test_a_prompt_of_none_is_refused():
    with pytest.raises(UserError, match="prompt='query': there are no prompts"):
        SentenceEmbeddingConfig(prompt="query")


def test_prediction_reads_one_text_a_row(tokenizer, tmp_path):
    found = examples(tokenizer, {}, tmp_path / "a.tsv", "anchor\none\ntwo\n", labelled=False)
    assert set(found.features) == {"input_ids", "token_type_ids"}
    vectors = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    rows = {"embeddings": vectors, "row_ids": np.arange(2)}
    assert [row["embedding"] for row in found.predictions(rows)] == vectors.tolist()


def test_scores_are_correlated_with_cosines(tokenizer, tmp_path):
    draws = np.random.default_rng(0)
    scores = np.round(draws.uniform(0, 5, 9), 2)
    lines = [f"one {i}\ttwo\t{score}\n" for i, score in enumerate(scores)]
    found = examples(tokenizer, SCORES, tmp_path / "a.tsv", "a\tb\tscore\n" + "".join(lines))
    np.testing.assert_allclose(found.features["labels"], scores / 5, rtol=1e-6)
    vectors = draws.normal(size=(9, 2, 4)).astype(np.float32)
    a, b = vectors[:, 0].astype(float), vectors[:, 1].astype(float)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    numbers = np.array([0, 2, 3, 5, 8])
    for some in (np.arange(9), numbers):
        metrics = found.metrics({}, {"embeddings": vectors[some], "row_ids": some})
        for name, of in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
            assert metrics[name] == pytest.approx(of(cosines[some], scores[some])[0], abs=1e-6)
        [worst] = found.tables({"embeddings": vectors[some], "row_ids": some})
        furthest = max(some, key=lambda i: abs(cosines[i] - scores[i] / 5))
        place = f"{tmp_path / 'a.tsv'}:{furthest + 2}"
        assert worst.rows[0][:3] == (place, f"one {furthest}", "two")
        assert len(worst.rows) == len(some)


def test_positives_are_searched_among_all_different_texts(tokenizer, tmp_path):
    # Two rows have the same anchor, two the same positive; a hard negative is searched too.
    text = "anchor\tpositive\thard\none\ttwo\tsix\none\tthree\t\nfour\ttwo\t\nfive\tsix\t\n"
    found = examples(tokenizer, NEGATIVES | {"recall_at": [1, 2]}, tmp_path / "a.tsv", text)
    east, north, up = np.eye(3)
    vectors = {"one": east, "two": east, "three": north, "four": north + up, "five": up, "six": up}
    words = [line.split("\t") for line in text.splitlines()[1:]]
    embeddings = np.array([[vectors.get(word, 9 * east) for word in row] for row in words])
    metrics = found.metrics({}, {"embeddings": embeddings, "row_ids": np.arange(4)})
    # Documents: two, six, three. "one" finds two first, and three, as near as six, after it; "four"
    # finds two last; "five" finds six first.
    assert metrics["mrr"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert metrics["recall_at_1"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert metrics["recall_at_2"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    [worst] = found.tables({"embeddings": embeddings, "row_ids": np.arange(4)})
    assert worst.rows == ((f"{tmp_path / 'a.tsv'}:4", "four", "two", 3),)


def test_an_anchor_does_not_find_its_own_text(tokenizer, tmp_path):
    # As pairs of questions that ask the same have it: an anchor is another row's positive.
    text = "anchor\tpositive\none\ttwo\ntwo\tone\nthree\tfour\nfour\tfour\n"
    found = examples(tokenizer, {"recall_at": [1]}, tmp_path / "a.tsv", text)
    vectors = {"one": [1, 0.1, 0], "two": [1, -0.1, 0], "three": [0, 0.1, 1], "four": [0, -0.1, 1]}
    words = [line.split("\t") for line in text.splitlines()[1:]]
    embeddings = np.array([[vectors[word] for word in row] for row in words])
    rows = {"embeddings": embeddings, "row_ids": np.arange(4)}
    assert found.metrics({}, rows) == {"mrr": 1.0, "ndcg_at_10": 1.0, "recall_at_1": 1.0}
    assert found.tables(rows)[0].rows == ()


def test_metrics_are_also_those_of_cut_vectors(tokenizer, tmp_path):
    text = "anchor\tpositive\none\ttwo\nthree\tfour\n"
    options = {"recall_at": [1], "dimensions": [3, 2]}
    found = examples(tokenizer, options, tmp_path / "a.tsv", text)
    # Whole, every anchor is nearest to its positive, and without the last component to the other.
    embeddings = np.array([[[1, 0, 5], [0, 1, 5]], [[0, 1, -5], [1, 0, -5]]])
    metrics = found.metrics({"loss": 0.5}, {"embeddings": embeddings, "row_ids": np.arange(2)})
    whole = {"loss": 0.5, "mrr": 1.0, "ndcg_at_10": 1.0, "recall_at_1": 1.0}
    assert metrics == whole | {
        "mrr_2": 0.5,
        "ndcg_at_10_2": pytest.approx(1 / np.log2(3)),
        "recall_at_1_2": 0.0,
    }


def test_correlations_are_also_those_of_cut_vectors(tokenizer, tmp_path):
    text = "a\tb\tscore\none\ttwo\t1\nthree\tfour\t3\nfive\tsix\t2\n"
    options = SCORES | {"dimensions": [3]}
    found = examples(tokenizer, options, tmp_path / "a.tsv", text)
    vectors = np.random.default_rng(0).normal(size=(3, 2, 5))
    metrics = found.metrics({}, {"embeddings": vectors, "row_ids": np.arange(3)})
    cut = found.metrics({}, {"embeddings": vectors[..., :3], "row_ids": np.arange(3)})
    assert cut["pearson"] != metrics["pearson"]
    assert {name: metrics[f"{name}_3"] for name in cut} == cut


@pytest.mark.parametrize("dimensions", [[64, 768], [64, 64], [], [768, 0], [768, -1]])
def test_dimensions_that_do_not_descend_to_a_component_are_refused(dimensions: list[int]):
    with pytest.raises(UserError, match="dimensions"):
        parse_config(SentenceEmbeddingConfig, {"dimensions": dimensions})


def test_the_head_pools_and_a_finished_model_keeps_its_pooling():
    config = SentenceEmbeddingConfig(pooling="cls")
    assert config.assumed()[0].head == Head("none", pooling="cls")
    assert config.task_of(Head("none", pooling="max")).head.pooling == "max"


def test_scores_that_no_cosine_reaches_are_refused(tokenizer, tmp_path):
    values = SCORES | {"max_label": 1}
    with pytest.raises(
        UserError, match=r"a.tsv:3: 'score' is '4.5', and a cosine is at most 1: se"
    ):
        examples(tokenizer, values, tmp_path / "a.tsv", "a\tb\tscore\none\ttwo\t1\none\ttwo\t4.5\n")


def test_a_score_that_is_no_number_is_named_without_advice_for_classifiers(tokenizer, tmp_path):
    with pytest.raises(UserError, match=r"a.tsv:2: 'score' is 'x', expected a number; .* the row$"):
        examples(tokenizer, SCORES, tmp_path / "a.tsv", "a\tb\tscore\none\ttwo\tx\n")


def test_negatives_beside_scores_are_refused():
    columns = {"columns": {"label": "score", "negatives": ["hard"]}}
    with pytest.raises(UserError, match=r"columns.negatives have no place there"):
        parse_config(SentenceEmbeddingConfig, columns)


def test_windows_are_refused(tokenizer):
    task = SentenceEmbeddingConfig().task(())
    with pytest.raises(UserError, match="windows: an embedding is of one row of tokens"):
        task.examples((), tokenizer, Reading(12, windows=WindowConfig(2)), labelled=True)
