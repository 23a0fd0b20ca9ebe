"""Runs that learn from a teacher."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment.small_runs import (
    MODEL,
    after_polls,
    fine_tuning,
    pretraining,
    sentences,
    trajectory,
    weights,
)
from safetensors.numpy import load_file, save_file

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.export import export_checkpoint
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.predictor import Predictor
from jaxbert.experiment.pretrain import pretrain
from jaxbert.experiment.teacher import check_labels
from jaxbert.families import preset
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.tokenizer import load_tokenizer
from jaxbert.training.metrics_file import read_metrics

WIDER = MODEL | {"overrides": {**MODEL["overrides"], "num_hidden_layers": 2}}


def losses(run: Path, name: str) -> list[float]:
    return [row[name] for row in read_metrics(run / "metrics.jsonl") if name in row]


@pytest.fixture(scope="module")
def teacher(pretrained, tables, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("teacher") / "run"
    finetune(fine_tuning(pretrained, *tables, "num_epochs=4"), run, quiet=True)
    return run


@pytest.fixture(scope="module")
def certain(pretrained, tmp_path_factory) -> Path:
    """A teacher with large random weights, whose answers are far from even."""
    directory = tmp_path_factory.mktemp("certain") / "model"
    loaded = load_params(pretrained)
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = replace(loaded.config, initializer_range=0.5, **rates)
    params = init_params(config, loaded.head, 1)
    save_params(params, config, loaded.head, load_tokenizer(pretrained / "model"), directory)
    return directory


@pytest.fixture(scope="module")
def student(pretrained, tables, teacher, tmp_path_factory) -> Path:
    """Of the labels it learns nothing."""
    run = tmp_path_factory.mktemp("student") / "run"
    options = (f"distillation={{teacher: {teacher}, labels_weight: 0}}", "num_epochs=4")
    finetune(fine_tuning(pretrained, *tables, *options), run, quiet=True)
    return run


def test_a_student_answers_as_its_teacher_without_any_label(student, teacher, tables):
    found = losses(student, "distillation_loss")
    assert np.mean(found[-4:]) < 0.1 * found[0]
    assert losses(student, "loss") == pytest.approx([x / 2 for x in found], rel=1e-5)
    texts = [line.split("\t")[0] for line in tables[1].read_text().splitlines()[1:]]
    theirs, ours = (list(Predictor(run)(texts)) for run in (teacher, student))
    same = [a["label"] == b["label"] for a, b in zip(ours, theirs, strict=True)]
    assert np.mean(same) > 0.9


def test_evaluation_is_of_the_labels_as_without_a_teacher(student):
    evaluated = [row for row in read_metrics(student / "metrics.jsonl") if "eval/loss" in row]
    assert {name for row in evaluated for name in row if "distillation" in name} == set()
    assert {"eval/accuracy", "eval/loss"} <= {*evaluated[-1]}
    assert "labels_loss" in {*read_metrics(student / "metrics.jsonl")[0]}


def test_a_run_with_a_teacher_is_continued_bit_for_bit(
    student, pretrained, teacher, tables, tmp_path
):
    options = (f"distillation={{teacher: {teacher}, labels_weight: 0}}", "num_epochs=4")
    config = fine_tuning(pretrained, *tables, *options)
    run = tmp_path / "run"
    assert finetune(config, run, interrupted=after_polls(9), quiet=True).outcome == "preempted"
    [step] = [int(path.name) for path in (run / "checkpoints").glob("[0-9]*")][-1:]
    assert step > 0
    finetune(config, run, quiet=True)
    assert weights(run) == weights(student)
    assert trajectory(run) == trajectory(student)


def test_a_checkpoint_is_exported_where_the_teacher_is_gone(pretrained, teacher, tables, tmp_path):
    gone = tmp_path / "teacher"
    shutil.copytree(teacher / "model", gone)
    run = tmp_path / "run"
    options = (f"distillation.teacher={gone}", "num_steps=4", "checkpoint.metric=null")
    config = fine_tuning(pretrained, *tables, *options)
    assert finetune(config, run, interrupted=after_polls(3), quiet=True).outcome == "preempted"
    file = gone / "model.safetensors"
    tensors = load_file(file)
    tensors["classifier.bias"] = tensors["classifier.bias"] + 1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match="the teacher is not the one from which the run has learnt"):
        finetune(config, run, quiet=True)
    shutil.rmtree(gone)
    assert export_checkpoint(run, tmp_path / "model", "latest").steps > (0,)
    with pytest.raises(UserError, match="teacher"):
        finetune(config, run, quiet=True)


def test_a_teacher_split_over_devices_answers_the_same(pretrained, teacher, tables, tmp_path):
    found = []
    weighed = "hidden_states_weight: 1, relations_weight: 1, relation_heads: 4"
    common = (f"distillation={{teacher: {teacher}, {weighed}}}", "num_steps=3")
    for mesh in ("{data: 8}", "{data: 1, fsdp: 8}", "{data: 4, tensor: 2}"):
        run = tmp_path / str(len(found))
        config = fine_tuning(pretrained, *tables, *common, f"mesh={mesh}")
        finetune(config, run, quiet=True)
        rows = [row for row in trajectory(run) if "hidden_loss" in row]
        names = ("loss", "labels_loss", "distillation_loss", "hidden_loss", "relations_loss")
        names = (*names, "grad_norm")
        found.append([[row[name] for name in names] for row in rows])
    # Of answers that are nearly the same, what is left of a difference are rounded logits.
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5, atol=1e-7)


def test_microbatches_add_up_to_the_whole_batch(store, certain, tmp_path):
    found = []
    weighed = "hidden_states_weight: 1, relations_weight: 1, relation_heads: 4"
    names = ("distillation_loss", "hidden_loss", "relations_loss")
    for parts in (1, 2):
        run = tmp_path / str(parts)
        options = (
            f"distillation={{teacher: {certain}, {weighed}}}",
            *("num_steps=3", f"step.accumulation_steps={parts}", "batch_size=16"),
            *("loop.evaluate_every=null", "data.validation_fraction=0"),
        )
        pretrain(pretraining(store, *options), run, quiet=True)
        rows = read_metrics(run / "metrics.jsonl")
        found.append([[row[name] for name in names] for row in rows])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_pretraining_from_a_teacher_brings_the_student_nearer_to_it(store, certain, tmp_path):
    run = tmp_path / "run"
    weighed = "labels_weight: 2, logits_weight: 5, hidden_states_weight: 1, temperature: 2"
    options = (
        f"distillation={{teacher: {certain}, {weighed}}}",
        *("num_steps=12", "optimizer.learning_rate=1e-2", "data.sentence_pairs=next_sentence"),
    )
    pretrain(pretraining(store, *options, model=WIDER), run, quiet=True)
    for name in ("distillation_loss", "hidden_loss"):
        found = losses(run, name)
        assert np.mean(found[-3:]) < 0.92 * found[0], name
    for row in read_metrics(run / "metrics.jsonl"):
        if "loss" in row:
            parts = 5 * row["distillation_loss"] + row["hidden_loss"]
            labels = row["masked_lm_loss"] + row["next_sentence_loss"]
            assert row["loss"] == pytest.approx(parts + 2 * labels, rel=1e-5)
    assert "hidden_loss" not in (run / "all_results.json").read_text()


def test_relations_of_a_wider_teacher_without_any_head_are_learnt(store, certain, tmp_path):
    """In packed rows, where the student has labels of masked words that nobody answers."""
    tokenizer, wide = load_tokenizer(certain), tmp_path / "wide"
    sizes = {"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 2}
    config = replace(load_params(certain).config, **sizes, initializer_range=0.3)
    save_params(init_params(config, Head(), 1), config, Head(), tokenizer, wide)
    weighed = "labels_weight: 0, logits_weight: 0, relations_weight: 1, relation_heads: 4"
    options = (
        f"distillation={{teacher: {wide}, {weighed}, relation_layer: 1}}",
        *("num_steps=12", "optimizer.learning_rate=2e-2", "data.packing=true"),
    )
    run = tmp_path / "run"
    pretrain(pretraining(store, *options), run, quiet=True)
    found = losses(run, "relations_loss")
    assert np.mean(found[-3:]) < 0.85 * found[0]
    assert losses(run, "loss") == pytest.approx(found, rel=1e-6)


def test_a_model_has_nothing_to_learn_from_itself(store, certain, tmp_path):
    """Its own weights, read again on another way, answer the same where nothing is dropped."""
    run, weighed = tmp_path / "run", "labels_weight: 0, hidden_states_weight: 1"
    weighed += ", relations_weight: 1"
    options = (f"distillation={{teacher: {certain}, {weighed}}}", "num_steps=2")
    pretrain(pretraining(store, *options, model={"from_pretrained": str(certain)}), run, quiet=True)
    assert losses(run, "distillation_loss")[0] == pytest.approx(0, abs=1e-5)
    assert losses(run, "hidden_loss")[0] == pytest.approx(0, abs=1e-5)
    assert losses(run, "relations_loss")[0] == pytest.approx(0, abs=1e-5)


def test_a_teacher_reads_pairs_as_it_does_by_itself(pretrained, tmp_path):
    """Also with a student that tells the two texts apart no more than DistilBERT."""
    tokenizer = load_tokenizer(pretrained / "model")
    head = Head("sequence_classification", labels=("no", "yes"), classifier_dropout=0.0)
    small = {**MODEL["overrides"], "vocab_size": tokenizer.vocab_size, "initializer_range": 0.5}
    presets = ("bert-tiny", "distilbert-base-uncased")
    for number, name in enumerate(presets):
        encoder = replace(preset(name), **small)
        params = init_params(encoder, head, number)
        save_params(params, encoder, head, tokenizer, tmp_path / name)
    texts = [sentences(8, seed) for seed in (1, 2)]
    table = tmp_path / "pairs.tsv"
    pairs = [*zip(*texts, strict=True)]
    rows = [f"{a}\t{b}\tno\n" for a, b in pairs]
    table.write_text("sentence\tother\tlabel\n" + "".join(rows), encoding="utf-8")
    values: dict[str, Any] = {
        "model": str(tmp_path / "distilbert-base-uncased"),
        "train": str(table),
        "task": {"labels": ["no", "yes"], "columns": {"text": "sentence", "text_pair": "other"}},
        "max_seq_length": 32,
        "batch_size": 8,
        "num_steps": 1,
        "dropout": {"hidden": 0, "attention": 0},
        "distillation": {"teacher": str(tmp_path / "bert-tiny"), "temperature": 1},
        "loop": {"log_every": 1},
    }
    config = parse_config(Finetune, values)
    finetune(config, tmp_path / "run", quiet=True)
    models = (Predictor(tmp_path / name, section=config.task) for name in presets)
    theirs, ours = (
        np.array([[*row["probabilities"].values()] for row in model(pairs)]) for model in models
    )
    expected = np.mean(np.sum(theirs * np.log(theirs / ours), axis=-1))
    assert losses(tmp_path / "run", "distillation_loss")[0] == pytest.approx(expected, rel=1e-4)


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (
        ("distillation={teacher: RUN}", "objective={kind: replaced_token_detection}"),
        "replaced_token_detection has no labels that a teacher could answer",
    ),
    (("distillation={teacher: NOWHERE}",), "NOWHERE"),
    (("distillation={teacher: CLASSIFIER}",), "it has no masked_lm head that was trained"),
    (
        (
            "distillation={teacher: RUN, hidden_states_weight: 1}",
            "model.overrides.hidden_size=32",
        ),
        "hidden states of the teacher are 16 wide and those of the student 32",
    ),
    (
        ("distillation={teacher: RUN, relations_weight: 1, relation_heads: 3}",),
        "relation_heads=3: the 16 features of the teacher's queries do not fall",
    ),
    (
        ("distillation={teacher: RUN, relations_weight: 1, relation_layer: 2}",),
        "relation_layer=2: the teacher's last layer is number 1",
    ),
    (("distillation={teacher: RUN, temperatur: 1}",), "did you mean 'temperature'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_teachers_of_pretraining_that_do_not_fit_are_refused(
    options, message, store, pretrained, teacher, tmp_path
):
    given: Any = [
        o.replace("RUN", str(pretrained)).replace("CLASSIFIER", str(teacher)) for o in options
    ]
    if "NOWHERE" in message:
        given = [o.replace("NOWHERE", str(tmp_path / "NOWHERE")) for o in given]
    with pytest.raises(UserError, match=message):
        pretrain(
            pretraining(store, *given, "data.sentence_pairs=none"), tmp_path / "run", quiet=True
        )
    assert not (tmp_path / "run").exists()


def test_teachers_of_fine_tuning_that_do_not_fit_are_refused(pretrained, teacher, tables, tmp_path):
    def refused(message: str, *options: str) -> None:
        with pytest.raises(UserError, match=message):
            finetune(fine_tuning(pretrained, *tables, *options), tmp_path / "run", quiet=True)

    given = f"distillation={{teacher: {teacher}}}"
    refused("no sequence_classification head that was", f"distillation={{teacher: {pretrained}}}")
    wide = tmp_path / "wide"
    config = replace(load_params(pretrained).config, hidden_size=32)
    tokenizer = load_tokenizer(pretrained / "model")
    save_params(init_params(config, Head(), 0), config, Head(), tokenizer, wide)
    columns = "{text: sentence, text_pair: label}"
    task = f"task={{kind: sentence_embedding, columns: {columns}}}"
    refused("32 components and those of the student 16", f"distillation.teacher={wide}", task)
    refused("cache_features: distillation needs", given, "cache_features=true")
    refused(
        r"its labels are \['animal', 'thing'\], those of the task \['thing', 'animal'\]",
        given,
        "task.labels=[thing, animal]",
    )
    other = tmp_path / "other"
    shutil.copytree(teacher / "model", other)
    for name in ("tokenizer.json", "vocab.txt"):
        if (file := other / name).is_file():
            file.write_text(file.read_text().replace("garden", "gorden"))
    refused("reads other tokens: token", f"distillation={{teacher: {other}}}")


def test_a_number_has_the_same_meaning_under_every_name():
    theirs = Head("sequence_classification", labels=("score",), problem_type="regression")
    check_labels("teacher", theirs, replace(theirs, labels=("LABEL_0",)))
    classes = Head("sequence_classification", labels=("no", "yes"))
    check_labels("teacher", replace(classes, labels=("LABEL_0", "LABEL_1")), classes)
    with pytest.raises(UserError, match=r"its labels are \['yes', 'no'\]"):
        check_labels("teacher", replace(classes, labels=("yes", "no")), classes)
    with pytest.raises(UserError, match="it was trained for regression"):
        check_labels("teacher", theirs, replace(theirs, problem_type="multi_label_classification"))
