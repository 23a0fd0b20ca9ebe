"""jaxbert predict --glue-submission."""

import argparse
from pathlib import Path

import pytest

from jaxbert.cli.predict import _submission, _write
from jaxbert.errors import UserError


def test_a_submission_is_written_under_the_name_that_the_server_expects(tmp_path: Path):
    directory = tmp_path / "new" / "submission"
    arguments = argparse.Namespace(glue_submission=str(directory), data="MNLI/test_mismatched.tsv")
    predictions = [{"label": "neutral"}, {"label": "entailment"}]
    _write(arguments, *_submission(arguments, "mnli", predictions))
    assert [path.name for path in directory.iterdir()] == ["MNLI-mm.tsv"]
    text = (directory / "MNLI-mm.tsv").read_text()
    assert text == "index\tprediction\n0\tneutral\n1\tentailment\n"


def test_a_model_of_another_task_makes_no_submission_and_no_file(tmp_path: Path):
    arguments = argparse.Namespace(glue_submission=str(tmp_path), data="RTE/test.tsv")
    with pytest.raises(UserError, match=r"does not have task\.glue"):
        _submission(arguments, None, [{"label": "entailment"}])
    with pytest.raises(UserError, match=r"fine-tuned with task.glue=rte"):
        _write(arguments, *_submission(arguments, "rte", [{"label": "entailment"}, {"label": "1"}]))
    assert not list(tmp_path.iterdir())
