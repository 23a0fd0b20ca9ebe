"""GLUE's files as they are: columns, labels, official metrics, submissions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from jaxbert.config import parse_config
from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.tasks.glue import GLUE, submission_file, submission_lines
from jaxbert.tasks.sentences import Sentences
from jaxbert.tasks.sequence_classification import ClassifiedSentences
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig

HEADERS = {
    "cola": "",
    "sst2": "sentence\tlabel\n",
    "mrpc": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n",
    "stsb": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\t"
    "score\n",
    "mnli": "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
    "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n",
    "qnli": "index\tquestion\tsentence\tlabel\n",
    "rte": "index\tsentence1\tsentence2\tlabel\n",
    "wnli": "index\tsentence1\tsentence2\tlabel\n",
}
ROWS = {
    "cola": 'gj04\t1\t\tone\nbc81\t0\t*\t"two\n',
    "sst2": 'one\t1\n"two\t0\n',
    "mrpc": '1\t7\t8\tone\tuno\n0\t7\t8\t"two\tdos\n',
    "qqp": '1\t7\t8\tone\tuno\t1\n2\t7\t8\tbroken\n3\t7\t8\t"two\tdos\t0\n',
    "stsb": '0\tg\tf\ty\to\ts\ts\tone\tuno\t5.000\n1\tg\tf\ty\to\ts\ts\t"two\tdos\t0.25\n',
    "mnli": "0\t1\t2\tg\tx\tx\tx\tx\tone\tuno\tneutral\tneutral\n"
    '1\t1\t2\tg\tx\tx\tx\tx\t"two\tdos\tneutral\tentailment\n',
    "qnli": '0\tone\tuno\tnot_entailment\n1\t"two\tdos\tentailment\n',
    "rte": '0\tone\tuno\tnot_entailment\n1\t"two\tdos\tentailment\n',
    "wnli": '0\tone\tuno\t1\n1\t"two\tdos\t0\n',
}
TESTS = {
    "cola": ("index\tsentence\n", "0\tone\n"),
    "mrpc": ("index\t#1 ID\t#2 ID\t#1 String\t#2 String\n", "0\t7\t8\tone\tuno\n"),
    "qqp": ("id\tquestion1\tquestion2\n", "0\tone\tuno\n"),
}


def config(name: str) -> SequenceClassificationConfig:
    return parse_config(SequenceClassificationConfig, {"glue": name})


@pytest.mark.parametrize("name", GLUE)
def test_a_training_file_is_read_as_the_benchmark_ships_it(tmp_path: Path, name: str):
    path = tmp_path / "train.tsv"
    path.write_text(HEADERS[name] + ROWS[name], encoding="utf-8", newline="\r\n")
    records = tuple(config(name).read(str(path), labelled=True))
    task = config(name).task(records)
    found = Sentences(records, task.columns_read)
    assert found.texts == ["one", '"two']
    assert found.pairs == (None if name in ("cola", "sst2") else ["uno", "dos"])
    expected = {"stsb": [5.0, 0.25], "mnli": [1, 0]}.get(name, [1, 0])
    assert task.target.values(found).tolist() == expected


def test_the_rows_that_qqp_is_broken_in_are_counted(tmp_path: Path, caplog: Any):
    path = tmp_path / "train.tsv"
    path.write_text(HEADERS["qqp"] + ROWS["qqp"], encoding="utf-8")
    assert len(tuple(config("qqp").read(str(path), labelled=True))) == 2
    expected = f"{path}: 1 left out for wrong number of fields, the first in line 3"
    assert caplog.messages == [expected]
    path.write_text(HEADERS["qqp"], encoding="utf-8")
    with pytest.raises(UserError, match=r"train\.tsv: no rows$"):
        tuple(config("qqp").read(str(path), labelled=True))


def test_a_broken_row_of_a_test_file_is_refused(tmp_path: Path):
    path = tmp_path / "test.tsv"
    path.write_text("".join(TESTS["qqp"]) + "1\tbroken\n2\ttwo\tdos\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"test.tsv:3: 2 fields, expected 3; correct or remove"):
        tuple(config("qqp").read(str(path), labelled=False))


@pytest.mark.parametrize("name", TESTS)
def test_a_test_file_has_another_header_and_no_labels(tmp_path: Path, name: str):
    path = tmp_path / "test.tsv"
    path.write_text("".join(TESTS[name]), encoding="utf-8")
    records = tuple(config(name).read(str(path), labelled=False))
    assert [row.values["text"] for row in records] == ["one"]


def test_a_data_set_of_the_hub_has_its_own_columns(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def rows(spec: str, *, columns: list[str], names: object, labelled: bool) -> list[object]:
        assert labelled
        asked.append((spec, columns, names))
        return []

    monkeypatch.setattr("jaxbert.tasks.glue.whole_rows", rows)
    for name in ("cola", "mnli"):
        assert not [*config(name).read(f"hf:glue/{name}", labelled=True)]
    assert asked == [
        ("hf:glue/cola", ["sentence", "label"], None),
        ("hf:glue/mnli", ["premise", "hypothesis", "label"], None),
    ]


def test_the_score_is_the_mean_of_the_official_metrics():
    task = config("stsb").task(())
    draws = np.random.default_rng(0).random((2, 20)) * 5
    examples = ClassifiedSentences(task, Sentences((), task.columns_read), {}, draws[0], Reading(8))
    rows = {"row_ids": np.arange(20), "logits": draws[1][:, None]}
    expected = (pearsonr(*draws).statistic + spearmanr(*draws).statistic) / 2
    assert examples.metrics({"loss": 1.0}, rows)["glue_score"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "data", "file"),
    [
        ("sst2", "SST-2/test.tsv", "SST-2.tsv"),
        ("mnli", "MNLI/test_matched.tsv", "MNLI-m.tsv"),
        ("mnli", "MNLI/test_mismatched.tsv", "MNLI-mm.tsv"),
        ("mnli", "diagnostic/diagnostic.tsv", "AX.tsv"),
    ],
)
def test_files_of_a_submission_are_called_as_the_server_expects(name, data, file):
    assert submission_file(name, data) == file


def test_a_submission_has_names_of_classes_and_numbers_within_their_range():
    found = submission_lines("rte", [{"label": "entailment"}, {"label": "not_entailment"}])
    assert [*found] == ["index\tprediction", "0\tentailment", "1\tnot_entailment"]
    found = submission_lines("stsb", [{"value": 5.2}, {"value": -0.1}, {"value": 2.34567}])
    assert [*found][1:] == ["0\t5.000", "1\t0.000", "2\t2.346"]


@pytest.mark.parametrize(
    ("name", "prediction"),
    [("rte", {"label": "LABEL_0"}), ("stsb", {"label": "1"}), ("mrpc", {"value": 1.0})],
)
def test_a_model_for_something_else_makes_no_submission(name, prediction):
    with pytest.raises(UserError, match=f"fine-tuned with task.glue={name}"):
        list(submission_lines(name, [prediction]))


def test_the_benchmark_says_what_columns_and_labels_are():
    with pytest.raises(UserError, match=r"glue=rte says what columns are: drop task.columns"):
        parse_config(SequenceClassificationConfig, {"glue": "rte", "columns": {"text": "a"}})
