"""Fine-tuning a tagger on files, and using what comes out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment.small_runs import ANIMALS, VERBS, fine_tuning, sentences
from seqeval.metrics import f1_score

from jaxbert.data.reading import Reading
from jaxbert.data.tagging import converted
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.inference import evaluate_labelled, ready, section_of
from jaxbert.experiment.predictor import Predictor

OVERRIDES = (
    "task.kind=token_classification",
    "checkpoint.metric=f1",
    "packing=true",
    "num_epochs=5",
)


def tags(words: list[str]) -> list[str]:
    """IOB1: animals, and actions with the article that follows."""
    before = ["", *words]
    return [
        "I-animal" if word in ANIMALS else "I-action" if {word, last} & {*VERBS} else "O"
        for word, last in zip(words, before, strict=False)
    ]


def write_tagged(path: Path, number: int, seed: int) -> Path:
    texts = [text.replace(".", " .").split() for text in sentences(number, seed)]
    rows = ["".join(map("{}\t{}\n".format, words, tags(words))) for words in texts]
    path.write_text("\t\n".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tagged")
    return (
        write_tagged(directory / "train.conll", 240, seed=1),
        write_tagged(directory / "dev.conll", 13, seed=2),
    )


@pytest.fixture(scope="module")
def run(pretrained: Path, files: tuple[Path, Path], tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("tagging") / "run"
    finetune(fine_tuning(pretrained, *files, *OVERRIDES), directory, quiet=True)
    return directory


def test_a_packed_tagger_learns_and_padded_evaluation_and_prediction_agree_with_its_run(
    run: Path, files: tuple[Path, Path]
):
    results: dict[str, Any] = json.loads((run / "all_results.json").read_text())
    assert results["eval_f1"] > 0.9
    model, data = ready(run), str(files[1])
    assert model.loaded.head.labels == (
        "O",
        "B-action",
        "I-action",
        "B-animal",
        "I-animal",
    )
    section = section_of(model)
    metrics = evaluate_labelled(model, data, section, Reading(32))
    for name in ("loss", "accuracy", "precision", "recall", "f1", "f1/action", "number/animal"):
        np.testing.assert_allclose(metrics[name], results[f"eval_{name}"], rtol=1e-5)
    records = list(section.read(data, labelled=True))
    assert "packing: true" in (run / "config.yaml").read_text()
    predictor = Predictor(model, section=section, reading=Reading(32))
    found = list(predictor.records(records))
    assert [row["words"] for row in found] == [list(record.words) for record in records]
    expected = [converted(record.tags, "bio") for record in records]
    assert f1_score(expected, [row["tags"] for row in found]) == metrics["f1"]
    [raw] = predictor([" ".join(records[0].words)])
    assert raw["tags"] == found[0]["tags"]
    assert [e["text"] for e in raw["entities"]] == [e["text"] for e in found[0]["entities"]]
    assert predictor([{"tokens": records[0].words}]) == found[:1]
    with pytest.raises(UserError, match=r"input 1 has no 'text', which the model reads"):
        predictor([{"words": records[0].words}])
