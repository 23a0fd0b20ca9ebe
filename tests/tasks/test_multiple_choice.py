import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.config import parse_config
from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.errors import UserError
from jaxbert.tasks.multiple_choice import ChoiceColumns, EncodedQuestions, MultipleChoiceConfig
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece

LISTS = ChoiceColumns(context="article", question=None, choices="options", label="answer")
LETTERS = MultipleChoiceConfig(columns=LISTS, labels=("A", "B", "C"))
HEADER = "sent1\tsent2\tending0\tending1\tending2\tending3\tlabel\n"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(["he opened the door and went in out up"] * 3, vocab_size=60)


def examples(
    tokenizer: Tokenizer,
    config: MultipleChoiceConfig,
    path: Path,
    text: str,
    *,
    labelled: bool = True,
    windows: WindowConfig | None = None,
) -> EncodedQuestions:
    path.write_text(text, encoding="utf-8")
    records = tuple(config.read(str(path), labelled=labelled))
    reading = Reading(16, windows=windows)
    return config.task(records).examples(records, tokenizer, reading, labelled=labelled)


def test_a_table_like_swag_becomes_pairs_of_context_and_ending(tokenizer: Tokenizer, tmp_path):
    # A byte-order mark, Windows line ends, a column more, and a row with three choices.
    text = (
        "\ufeffsent1\tsent2\tending0\tending1\tending2\tending3\tlabel\tgold\r\n"
        "he opened the door\the\twent in\twent out\twent up\tdoor\t1\tx\r\n"
        "the door\tand\tin\tout\tup\t\tending2\tx\r\n"
    )
    found = examples(tokenizer, MultipleChoiceConfig(), tmp_path / "a.tsv", text)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 2]
    assert found.text_ids.tolist() == [[0, 1, 2, 3], [4, 5, 6, -1]]
    ids, types = found.features["input_ids"], found.features["token_type_ids"]
    first = tokenizer.encode(["he opened the door"], ["he went in"], padding=False)
    assert list(ids[0]) == list(first["input_ids"][0])
    assert list(types[0]) == list(first["token_type_ids"][0])
    last = tokenizer.encode(["the door"], ["and up"], padding=False)["input_ids"][0]
    assert (list(ids[6]), list(ids[7])) == (list(last), [])


def test_lists_and_letters_are_read_and_fewer_choices_fill_up(tokenizer: Tokenizer, tmp_path):
    rows = [
        {"article": "the door", "options": ["in", "out"], "answer": "B"},
        {"article": "", "options": ["in", "out", "up"], "answer": "C"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    found = examples(tokenizer, LETTERS, tmp_path / "a.jsonl", text)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 2]
    assert found.text_ids.tolist() == [[0, 1, -1], [2, 3, 4]]


def test_what_is_not_there_is_never_chosen(tokenizer: Tokenizer, tmp_path):
    rows = [{"article": "a", "options": ["in", "out", "up"][:n], "answer": "A"} for n in (2, 3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    found = examples(tokenizer, LETTERS, tmp_path / "a.jsonl", text)
    logits = np.array([[0.5, 1.5, 9.0], [3.0, 1.0, 2.0]], np.float32)
    rows_of: dict[str, Any] = {"logits": logits, "row_ids": np.arange(2)}
    first, second = found.predictions(rows_of)
    assert (first["choice"], second["choice"]) == (1, 0)
    expected = np.exp([0.5, 1.5]) / np.exp([0.5, 1.5]).sum()
    assert first["probabilities"] == pytest.approx(expected, rel=1e-12)
    assert sum(second["probabilities"]) == pytest.approx(1)
    assert found.metrics({"loss": 2.0}, rows_of) == {"loss": 2.0, "accuracy": 0.5}
    by_place, wrong = found.tables(rows_of)
    assert [row[:3] for row in by_place.rows] == [("0", 2, 1.0), ("1", 0, 0.0), ("2", 0, 0.0)]
    place = f"{tmp_path / 'a.jsonl'}:1"
    assert wrong.rows == ((place, "a", "in", "out", pytest.approx(expected[1])),)
    some = {"logits": logits[1:], "row_ids": np.array([1])}
    assert found.metrics({}, some) == {"accuracy": 1.0}
    assert found.tables(some)[1].rows == ()


def test_choices_keep_their_places_where_a_logit_overflows(tokenizer: Tokenizer, tmp_path):
    row = {"article": "a", "options": ["in", "out", "up"], "answer": "C"}
    found = examples(tokenizer, LETTERS, tmp_path / "a.jsonl", json.dumps(row))
    logits = np.array([[-np.inf, 1.0, 3.0]], np.float32)
    (prediction,) = found.predictions({"logits": logits, "row_ids": np.arange(1)})
    assert prediction["choice"] == 2
    assert prediction["probabilities"] == pytest.approx([0, 1 / (1 + np.e**2), 1 / (1 + np.e**-2)])


def test_a_test_file_needs_no_labels(tokenizer: Tokenizer, tmp_path):
    text = HEADER.replace("\tlabel", "") + "he\tand\tin\tout\tup\tin\n"
    found = examples(tokenizer, MultipleChoiceConfig(), tmp_path / "a.tsv", text, labelled=False)
    assert set(found.features) == {"input_ids", "token_type_ids", "text_ids"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "he\tand\tin\tout\tup\tin\t4",
            r"a.tsv:2: 'label' is '4', and the row has 4 choices: 0 to 3",
        ),
        ("he\tand\tin\tout\tup\t\t3", r"'label' is '3', and the row has 3 choices: 0 to 2"),
        ("he\tand\tin\tout\tup\tin\t-1", r"'label' is '-1', and the row has 4 choices"),
        ("he\tand\tin\t\tup\tin\t0", r"a.tsv:2: choice 'ending1' is '', expected text"),
        ("he\tand\tin\t\t\t\t0", r"a.tsv:2: 1 choices, expected at least two"),
    ],
)
def test_a_row_without_a_right_choice_is_refused(tokenizer: Tokenizer, tmp_path, row, message):
    with pytest.raises(UserError, match=message):
        examples(tokenizer, MultipleChoiceConfig(), tmp_path / "a.tsv", f"{HEADER}{row}\n")


def test_what_is_no_list_or_no_letter_is_refused(tokenizer: Tokenizer, tmp_path):
    row = {"article": "a", "options": "in, out", "answer": "A"}
    with pytest.raises(UserError, match=r"a.jsonl:1: 'options' is str, expected a list of texts"):
        examples(tokenizer, LETTERS, tmp_path / "a.jsonl", json.dumps(row))
    row = {"article": "a", "options": ["in", "out"], "answer": "C"}
    with pytest.raises(UserError, match=r"'answer' is 'C', and the row has 2 choices: valid: A, B"):
        examples(tokenizer, LETTERS, tmp_path / "a.jsonl", json.dumps(row))


def test_windows_are_refused(tokenizer: Tokenizer, tmp_path):
    text = f"{HEADER}he\tand\tin\tout\tup\tin\t0\n"
    with pytest.raises(UserError, match="windows: multiple choice reads every choice once"):
        examples(
            tokenizer, MultipleChoiceConfig(), tmp_path / "a.tsv", text, windows=WindowConfig(2)
        )


def test_choices_are_columns_or_one_column():
    def columns(**values: Any) -> ChoiceColumns:
        return parse_config(ChoiceColumns, values)

    assert columns(choices="options").of_choices == ("options",)
    assert columns(choices=["a", "b"]).inputs == ("sent1", "sent2", "a", "b")
    with pytest.raises(UserError, match="name at least two columns, or one column of lists"):
        columns(choices=["a"])
