"""From texts to what late interaction reads of them, and from vectors to metrics."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.config import parse_config
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.errors import UserError
from jaxbert.experiment.finetuning_data import encoded
from jaxbert.nn.head import DenseLayer
from jaxbert.tasks.late_interaction import EncodedSides, LateInteractionConfig
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece

READING = Reading(12)
OPTIONS = {
    "columns": {"negatives": ["hard"]},
    "prompts": {"query": "five ", "document": "six "},
    "query_length": 7,
    "query_expansion": {"length": 7},
}
TEXT = "anchor\tpositive\thard\none\ttwo, three.\tone\none two three four\ttwo\t\n"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(["one two three four five six , ."] * 3, vocab_size=60)


def examples(
    tokenizer: Tokenizer, path: Path, values: Any, *, text: str = TEXT, labelled: bool = True
) -> EncodedSides:
    path.write_text(text, encoding="utf-8")
    config = parse_config(LateInteractionConfig, OPTIONS | values)
    records = tuple(config.read(str(path), labelled=labelled))
    return config.task(records).examples(records, tokenizer, READING, labelled=labelled)


def table(found: EncodedSides, tokenizer: Tokenizer) -> EncodedExamples:
    return encoded(found.features, found.task, tokenizer)


def test_queries_are_filled_and_documents_scored_without_punctuation(tokenizer, tmp_path):
    found = examples(tokenizer, tmp_path / "a.tsv", {})
    names = {tokenizer.backend.token_to_id(word): word for word in tokenizer.vocab()}
    words = [" ".join(names[i] for i in ids) for ids in found.features["input_ids"]]
    assert words == [
        "[CLS] five one [SEP] [MASK] [MASK] [MASK]",
        "[CLS] six two , three . [SEP]",
        "[CLS] six one [SEP]",
        "[CLS] five one two three four [SEP]",
        "[CLS] six two [SEP]",
        "",
    ]
    assert [list(each) for each in found.features["attention_mask"][:2]] == [
        [1, 1, 1, 1, 0, 0, 0],
        [1] * 7,
    ]
    assert [list(each) for each in found.features["scored"][:2]] == [[1] * 7, [1, 1, 1, 0, 1, 0, 1]]
    assert found.text_ids is not None
    assert found.text_ids.tolist() == [[0, 1, 0], [2, 3, -1]], "the same text on either side"


def test_batches_have_the_masks_and_a_place_for_what_is_not_there(tokenizer, tmp_path):
    found = examples(tokenizer, tmp_path / "a.tsv", {"query_expansion": {"length": 7}})
    batch = table(found, tokenizer).padded(np.array([0, 1, -1]), 8)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (3, 3, 8)
    assert batch["attention_mask"].sum(axis=-1).tolist() == [[4, 7, 4], [7, 4, 1], [1, 1, 1]]
    assert batch["scored"].sum(axis=-1).tolist() == [[7, 5, 4], [7, 4, 0], [0, 0, 0]]
    attending = {"query_expansion": {"length": 7, "attend": True, "token": "four"}}
    found = examples(tokenizer, tmp_path / "a.tsv", attending)
    batch = table(found, tokenizer).padded(np.array([0]), 8)
    assert batch["attention_mask"][0, 0].tolist() == [1] * 7 + [0]
    assert batch["input_ids"][0, 0, 4:7].tolist() == [tokenizer.backend.token_to_id("four")] * 3


def test_a_projection_that_begins_anew_has_the_dimensions_that_are_asked_for():
    for dimensions, found in ((None, 128), (16, 16)):
        head = LateInteractionConfig(dimensions=dimensions).task(()).head
        assert head.dense == DenseLayer(found, "identity", bias=False)


@pytest.mark.parametrize(("side", "tokens"), [("query", 7), ("document", 4)])
def test_texts_to_predict_are_of_the_side_that_is_chosen(tokenizer, tmp_path, side, tokens):
    found = examples(tokenizer, tmp_path / "a.tsv", {"side": side}, labelled=False)
    assert len(found.features["input_ids"][0]) == tokens
    vectors = [np.ones((tokens, 2), np.float32)]
    [row] = found.predictions({"token_vectors": vectors, "row_ids": np.arange(1)})
    assert row == {"token_vectors": [[1.0, 1.0]] * tokens}


def test_positives_are_searched_among_all_documents_by_the_sum_of_the_largest(tokenizer, tmp_path):
    text = "anchor\tpositive\thard\none\ttwo\tthree\nfour\tfive\t\n"
    options = {"recall_at": [1], "query_expansion": None, "prompts": None}
    found = examples(tokenizer, tmp_path / "a.tsv", options, text=text)
    east, north, up = np.eye(3)
    # [CLS] and [SEP] of all texts are alike and tell nothing.
    tokens = {"one": east, "two": east + north, "three": east, "four": up, "five": up - north}
    lines = [line.split("\t") for line in text.splitlines()[1:]]
    vectors = [
        np.concatenate([[0 * up, tokens[word], 0 * up] for word in line if word]) for line in lines
    ]
    rows = {"token_vectors": vectors, "row_ids": np.arange(2)}
    # "one" finds "two" as near as "three", which goes before it; "four" finds "five" alone.
    assert found.metrics({"loss": 0.5}, rows) == {
        "loss": 0.5,
        "mrr": 0.75,
        "ndcg_at_10": pytest.approx((1 + 1 / np.log2(3)) / 2),
        "recall_at_1": 0.5,
    }
    [worst] = found.tables(rows)
    assert worst.rows == ((f"{tmp_path / 'a.tsv'}:2", "one", "two", 2),)
    only = found.metrics({}, {"token_vectors": vectors[1:], "row_ids": np.array([1])})
    assert only["mrr"] == 1.0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"columns": {"label": "score"}}, "columns.label=score: late interaction learns"),
        ({"prompts": {"default": "x"}}, "prompts.default: every text is a query or a document"),
        ({"query_length": 6}, "query_expansion.length=7: queries are cut to query_length=6"),
    ],
)
def test_what_has_no_meaning_is_refused(values: dict[str, Any], told: str):
    with pytest.raises(UserError, match=told):
        parse_config(LateInteractionConfig, OPTIONS | values)


def test_what_the_data_and_the_model_have_no_room_for_is_refused(tokenizer, tmp_path):
    long = {"query_length": 20, "query_expansion": None}
    with pytest.raises(UserError, match=r"queries of 20 tokens .* max_seq_length=12"):
        examples(tokenizer, tmp_path / "a.tsv", long)
    unknown = {"query_expansion": {"length": 7, "token": "[FILL]"}}
    with pytest.raises(UserError, match=r"token='\[FILL\]' is not in the vocabulary"):
        examples(tokenizer, tmp_path / "a.tsv", unknown)
    task = LateInteractionConfig().task(())
    with pytest.raises(UserError, match="windows: late interaction reads a text in one row"):
        task.examples((), tokenizer, Reading(12, windows=WindowConfig(2)), labelled=True)
