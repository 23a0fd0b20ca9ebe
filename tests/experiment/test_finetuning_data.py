"""Packed rows, buckets and windows give what every text alone gives."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from experiment.small_runs import fine_tuning, sentences

from jaxbert.data.buckets import BucketedRows, standard_lengths
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.data.rows import LabelledRows
from jaxbert.data.stream import EvaluationRows, evaluation_batches
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.experiment import predictor
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetuning_data import training_data
from jaxbert.experiment.inference import (
    evaluate_labelled,
    reading_of,
    ready,
    section_of,
)
from jaxbert.experiment.predictor import Predictor
from jaxbert.experiment.run_files import read_run_config
from jaxbert.hub.load import from_pretrained
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.multiple_choice import ChoiceColumns, MultipleChoiceConfig
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.text.tokenizer import load_tokenizer
from jaxbert.text.training import train_wordpiece
from jaxbert.training.evaluation import evaluate
from jaxbert.training.metrics_file import read_metrics
from jaxbert.training.step import jit_evaluation_step, make_evaluation_step

ENCODER = EncoderConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=48,
    initializer_range=0.5,
)
CLASSES = SequenceClassification(SingleLabel(("a", "b", "c")))
REGRESSION = SequenceClassification(Regression())
LONGEST, BATCH_SIZE = 44, 4


def examples_of(number: int, task: SequenceClassification) -> EncodedExamples:
    generator = np.random.default_rng(number)
    lengths = generator.integers(2, LONGEST + 1, number)
    ids = [generator.integers(5, 50, length) for length in lengths]
    labels = (
        generator.normal(size=number) if task is REGRESSION else generator.integers(3, size=number)
    )
    return EncodedExamples({"input_ids": ids, "labels": labels}, pad_id=0)


class Evaluation:
    """Evaluates an untrained model, and counts how often it is compiled."""

    def __init__(self, task: SequenceClassification):
        self.task, self.widths = task, []
        self.mesh = make_mesh(MeshConfig(), jax.devices()[:1])
        self.params = jax.device_put(init_params(ENCODER, task.head, 0), jax.devices()[0])
        apply = make_apply(ENCODER, task.head)

        def counting(params: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
            self.widths.append(input_ids.shape[1])
            return apply(params, input_ids, *args, **kwargs)

        step = make_evaluation_step(counting, task)
        self.step = jit_evaluation_step(step, self.params, self.mesh)

    def __call__(self, rows: EvaluationRows) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        batches = evaluation_batches(rows, BATCH_SIZE)
        found: dict[str, np.ndarray] = {}

        def metrics(means: dict[str, float], rows: dict[str, np.ndarray]) -> dict[str, float]:
            found.update(rows)
            return means

        return evaluate(self.step, self.params, batches, metrics, self.mesh), found


def layouts(examples: EncodedExamples) -> Iterator[EvaluationRows]:
    yield LabelledRows(examples, seed=0, length=LONGEST)
    yield PackedLabelledRows(examples, seed=0, length=LONGEST)
    yield BucketedRows(examples, batch_size=BATCH_SIZE, longest=LONGEST, compilation=300)


@pytest.mark.parametrize(("task", "number"), [(CLASSES, 23), (REGRESSION, 5)], ids=["many", "few"])
def test_rows_packed_or_in_buckets_give_the_outputs_of_every_example_in_input_order(task, number):
    evaluation, examples = Evaluation(task), examples_of(number, task)
    (metrics, outputs), *others = map(evaluation, layouts(examples))
    np.testing.assert_array_equal(outputs["row_ids"], np.arange(number))
    for other, found in others:
        np.testing.assert_array_equal(found["row_ids"], np.arange(number))
        np.testing.assert_allclose(found["logits"], outputs["logits"], atol=1e-5)
        np.testing.assert_allclose(other["loss"], metrics["loss"], atol=1e-5)


def test_every_bucket_is_compiled_once():
    evaluation, examples = Evaluation(CLASSES), examples_of(60, CLASSES)
    rows = BucketedRows(examples, batch_size=BATCH_SIZE, longest=LONGEST, compilation=300)
    for _ in range(2):
        evaluation(rows)
    assert sorted(evaluation.widths) == rows.lengths.tolist()
    assert 1 < len(rows.lengths) < 8


@pytest.fixture(scope="module")
def windowed_run(pretrained: Path, tables: tuple[Path, Path], tmp_path_factory) -> Path:
    """Windows of at most 6 tokens of text, several of them in a row."""
    directory = tmp_path_factory.mktemp("windowed") / "run"
    overrides = ("windows={stride: 1}", "max_seq_length=8", "packing=true", "num_epochs=2")
    finetune(fine_tuning(pretrained, *tables, *overrides), directory, quiet=True)
    return directory


def test_a_run_on_packed_windows_is_evaluated_text_by_text(windowed_run, tables):
    results = json.loads((windowed_run / "all_results.json").read_text())
    model = ready(windowed_run)
    metrics = evaluate_labelled(model, str(tables[1]), section_of(model), reading_of(model, 8))
    assert metrics.pop("rows") == 13
    for name, value in metrics.items():
        np.testing.assert_allclose(results[f"eval_{name}"], value, rtol=1e-5)


def test_an_epoch_of_packed_rows_has_fewer_steps(windowed_run, tables):
    tokenizer = load_tokenizer(windowed_run / "model")
    texts = [line.split("\t")[0] for line in tables[0].read_text().splitlines()[1:]]
    tokens = [len(ids) - 2 for ids in tokenizer.encode(texts, padding=False)["input_ids"]]
    windows = [1 + max(0, -(-(n - 6) // 5)) for n in tokens]
    assert min(windows) > 1
    last = [row["step"] for row in read_metrics(windowed_run / "metrics.jsonl")][-1]
    num_tokens = sum(n + 3 * w - 1 for n, w in zip(tokens, windows, strict=True))
    assert num_tokens / 8 <= last * 8 / 2 <= sum(windows) + 4


def predicted(model: Any, table: Path, reading: Reading) -> list[dict[str, Any]]:
    section = section_of(model)
    records = section.read(str(table), labelled=False)
    return list(Predictor(model, section=section, reading=reading).records(records))


@pytest.mark.parametrize("how", ["mean", "max"])
def test_predictions_combine_the_windows_of_every_text(windowed_run, tmp_path, how):
    texts = [" ".join(sentences(3, seed=5)), "", "The cat.", " ".join(sentences(2, seed=6))]
    table = tmp_path / "a.csv"
    table.write_text("sentence\n" + "".join(f'"{text}"\n' for text in texts))
    model = ready(windowed_run)
    reading = Reading(8, windows=WindowConfig(2, how))
    found = predicted(model, table, reading)
    rows, owners = [], []
    tokenizer = load_tokenizer(windowed_run / "model")
    for number, ids in enumerate(tokenizer.encode(texts, padding=False)["input_ids"]):
        content = ids[1:-1]
        for start in range(0, max(1, len(content) - 2), 4):
            rows.append([ids[0], *content[start : start + 6], ids[-1]])
            owners.append(number)
    mask = np.array([[1] * len(row) + [0] * (8 - len(row)) for row in rows])
    ids = np.array([[*row, *[0] * (8 - len(row))] for row in rows])
    logits = np.asarray(from_pretrained(windowed_run)(ids, attention_mask=mask).logits)
    assert len(found) == len(texts)
    for number, prediction in enumerate(found):
        combined = getattr(np, how)(logits[np.array(owners) == number], axis=0)
        chances = jax.nn.softmax(combined)
        np.testing.assert_allclose([*prediction["probabilities"].values()], chances, rtol=1e-4)


def test_predictions_in_buckets_are_those_in_one(windowed_run, tmp_path, monkeypatch):
    texts = [" ".join(sentences(1 + number % 3, seed=number)) for number in range(12)]
    table = tmp_path / "a.tsv"
    table.write_text("sentence\n" + "".join(f"{text}\n" for text in texts))
    model = ready(windowed_run, batch_size=2)
    lengths = [32, *standard_lengths(32).tolist()]
    assert len(lengths) > 3
    monkeypatch.setattr(predictor, "standard_lengths", lambda longest: np.array([longest]))
    plain = predicted(model, table, Reading(32))
    monkeypatch.undo()
    for one, other in zip(plain, predicted(model, table, Reading(32)), strict=True):
        assert one["label"] == other["label"]
        chances = [[*row["probabilities"].values()] for row in (one, other)]
        np.testing.assert_allclose(*chances, atol=1e-5)


def test_the_length_is_that_of_the_data_and_the_same_command_goes_on(
    pretrained: Path, tables: tuple[Path, Path], tmp_path: Path
):
    unevaluated = ("validation=null", "loop.evaluate_every=null", "checkpoint.metric=null")
    options = ("max_seq_length=auto", "truncation=head_tail", *unevaluated)
    config = fine_tuning(pretrained, *tables, *options)
    for _ in range(2):
        finetune(config, tmp_path / "run", interrupted=lambda: True, quiet=True)
    values = read_run_config(tmp_path / "run")
    tokenizer = load_tokenizer(pretrained / "model")
    texts = [line.split("\t")[0] for line in tables[0].read_text().splitlines()[1:]]
    lengths = sorted(len(ids) for ids in tokenizer.encode(texts, padding=False)["input_ids"])
    assert values["max_seq_length"] == -(-lengths[56] // 8) * 8
    model = dataclasses.replace(ready(pretrained), run_config=values)
    assert reading_of(model, 16) == Reading(16, "head_tail")


def test_what_is_asked_for_goes_before_what_the_run_had(windowed_run):
    model = ready(windowed_run)
    assert reading_of(model, 8).windows == WindowConfig(1)
    assert reading_of(model, 8, combine="max").windows == WindowConfig(1, "max")
    assert reading_of(model, 8, truncation="tail") == Reading(8, "tail")
    with pytest.raises(UserError, match="truncation=tail a part: drop one"):
        reading_of(model, 8, truncation="tail", stride=2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["truncation=middle"], "'truncation': Input should be 'head', 'tail' or 'head_tail'"),
        (["truncation=tail", "windows={}"], "truncation=tail a part: drop one"),
        (["windows={strid: 3}"], "did you mean 'stride'"),
        (["max_seq_length=some"], "max_seq_length"),
    ],
)
def test_options_that_make_no_sense_are_refused(pretrained, tables, overrides, message):
    with pytest.raises(UserError, match=message):
        fine_tuning(pretrained, *tables, *overrides)


def test_validation_data_that_are_the_training_data_are_told():
    texts = ["the old cat", "a green tree", "the cat"]
    rows = [Row({"sentence": t, "label": "aba"[i]}, "a.csv", i) for i, t in enumerate(texts)]
    data, _ = training_data(
        SequenceClassification(SingleLabel(("a", "b"))),
        rows,
        {"same": rows, "other": rows[1:]},
        train_wordpiece(texts, 60, min_frequency=1),
        Reading(16),
        packing=False,
        batch_size=2,
        evaluation_batch_size=2,
        seed=0,
    )
    told = [note for note in data.notes if "the training examples themselves" in note]
    assert told == [
        "same: these are the training examples themselves: figures say nothing of others"
    ]


def test_choices_that_do_not_fit_one_packed_row_are_named_by_their_record():
    columns = ChoiceColumns(context="c", question=None, choices=("a", "b"), label="l")
    values = [{"c": "x", "a": "one", "b": end, "l": "0"} for end in ("two", "two two two two")]
    rows = [Row(value, "t.csv", line) for line, value in enumerate(values, start=2)]
    with pytest.raises(UserError, match=r"^t\.csv:3: its 2 texts have \d+ tokens, and a packed"):
        training_data(
            MultipleChoiceConfig(columns=columns).task(rows),
            *(rows, {}, train_wordpiece(["one two x"] * 3, 60), Reading(12)),
            packing=True,
            batch_size=1,
            evaluation_batch_size=1,
            seed=0,
        )
