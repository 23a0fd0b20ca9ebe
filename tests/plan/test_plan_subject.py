"""What is planned without data has the shapes of what is trained with them."""

from pathlib import Path

import numpy as np
import pytest
from experiment.small_runs import (
    MODEL,
    UNTRAINABLE,
    WITHOUT_VALIDATION,
    fine_tuning,
    make_store,
    pretraining,
    write_labelled,
)

from jaxbert.config import load_config, parse_config, to_values
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.packed_rows import PackedLabelledRows
from jaxbert.data.rows import LabelledRows
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.pretraining_data import data_phases, open_stores, training_stream
from jaxbert.nn.functional import abstract_params
from jaxbert.plan.measure import model_figures
from jaxbert.plan.subject import for_tpu, subject_of
from jaxbert.text.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("planned"))


def described(batch):
    return {name: (array.shape, array.dtype) for name, array in batch.items()}


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("data.packing=true", "data.sentence_pairs=none"),
        ("data.packing=true", "data.max_examples_per_row=3"),
        ("data.masking.max_predictions=9",),
        ("phases=[{first_step: 4, max_seq_length: 16, batch_size: 16}]",),
    ],
)
def test_every_phase_of_pretraining_has_the_shapes_of_its_batches(store, overrides):
    config = pretraining(store, *overrides)
    phases = data_phases(config.data, config.batch_size, config.phases, config.num_steps)
    stream = training_stream(open_stores(config.store), phases, config.seed)
    planned = subject_of(config).phases
    assert len(planned) == len(phases)
    for phase in planned:
        trained = stream.batch(phase.first_step)
        assert described(phase.make_batch(phase.batch_size)) == described(trained)
    assert sum(phase.num_steps for phase in planned) == config.num_steps


EMBEDDINGS = "task={kind: sentence_embedding, columns: {text: sentence, text_pair: label}}"
CHOICES = (
    "task={kind: multiple_choice, labels: [animal, thing]}",
    "task.columns={context: sentence, question: null, choices: [sentence, label], label: label}",
)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("windows.stride=2",),
        ("packing=true",),
        ("task.multi_label=true",),
        CHOICES,
        (EMBEDDINGS,),
        (EMBEDDINGS, "packing=true"),
    ],
)
def test_fine_tuning_has_the_entries_of_its_batches(store, tmp_path, overrides):
    table = write_labelled(tmp_path / "train.tsv", 40, seed=1)
    config = fine_tuning("bert-tiny", table, table, *overrides)
    subject = subject_of(config)
    planned = subject.phases[0].make_batch(8)
    tokenizer = load_tokenizer(store / "tokenizer")
    records = tuple(config.task.read(config.train, labelled=True))
    task = config.task.task(records)
    found = task.examples(records, tokenizer, config.reading, labelled=True)
    examples = EncodedExamples(found.features, pad_id=0)
    make = PackedLabelledRows if config.packing else LabelledRows
    trained = make(examples, seed=0, length=32).rows(np.arange(8), 0)
    assert {name: array.dtype for name, array in planned.items()} == {
        name: array.dtype for name, array in trained.items()
    }
    for name, array in planned.items():
        # How many examples share a row is left to the data.
        same = array.ndim if not config.packing or array.shape[1] == 32 else 1
        assert array.shape[:same] == trained[name].shape[:same], name


def test_the_architecture_is_that_of_the_configuration(store):
    config = pretraining(store)
    subject = subject_of(config)
    encoder = subject.trainee.encoders[0]
    assert encoder.vocab_size == open_stores(config.store).first.vocab_size
    assert subject.trainee.shapes == abstract_params(encoder, subject.task.head)
    assert not subject.assumptions


def test_what_is_not_here_is_assumed_and_said(tmp_path):
    config = pretraining(tmp_path / "no store")
    assert any("is not here" in line for line in subject_of(config).assumptions)
    config = fine_tuning("bert-tiny", tmp_path / "no.tsv", tmp_path / "no.tsv")
    said = " ".join(subject_of(config).assumptions)
    for word in ("published architecture", "two classes", "epochs"):
        assert word in said


def test_replaced_token_detection_is_planned_with_both_models():
    values = {
        "store": "nowhere",
        "model": {**MODEL, "preset": "electra-small-discriminator"},
        "objective": {"kind": "replaced_token_detection", "generator_size": 0.5},
        "data": {"max_seq_length": 32, "sentence_pairs": "none"},
        "num_steps": 10,
    }
    subject = subject_of(parse_config(Pretrain, values))
    assert set(subject.trainee.shapes) == {"generator", "discriminator"}


@pytest.mark.parametrize(("overrides", "message"), UNTRAINABLE)
def test_what_could_not_be_trained_is_refused_as_training_refuses_it(store, overrides, message):
    with pytest.raises(UserError) as caught:
        subject_of(pretraining(store, *overrides))
    assert message in str(caught.value)


def test_checkpoints_may_be_ranked_by_a_validation_store(store):
    named = (WITHOUT_VALIDATION, "validation={dev: stores/dev}")
    subject_of(pretraining(store, *named, "checkpoint.metric=dev_masked_lm_loss"))
    with pytest.raises(UserError, match="did you mean 'dev_masked_lm_loss'"):
        subject_of(pretraining(store, *named, "checkpoint.metric=masked_lm_loss"))


def test_fine_tuning_without_validation_data_has_no_best_checkpoint():
    with pytest.raises(UserError, match="needs validation data"):
        subject_of(fine_tuning("bert-tiny", "train.tsv", "dev.tsv", "validation=null"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("reinitialize_layers=3",), "reinitialize_layers=3: expected 0 to the model's 2"),
        (("reinitialize_layers=2", "optimizer.freeze_layers=1"), "stay as it is drawn"),
        (("cache_features=true",), "set optimizer.freeze_layers=all"),
    ],
)
def test_fine_tuning_that_would_be_refused_is_not_planned(overrides, message):
    with pytest.raises(UserError, match=message):
        subject_of(fine_tuning("bert-tiny", "a.tsv", "b.tsv", *overrides))


@pytest.mark.parametrize(
    ("overrides", "thirds"),
    [
        # Of a frozen layer below all that is trained the forward pass alone, of two layers.
        ((), 6),
        (("optimizer.freeze_layers=1",), 1 + 3),
        (("optimizer.freeze_layers=all",), 1 + 1),
        (("unfreezing={every: epoch}",), 6),
    ],
)
def test_flops_of_what_is_frozen_are_not_needed(overrides, thirds):
    subject = subject_of(fine_tuning("bert-tiny", "a.tsv", "b.tsv", *overrides))
    assert subject.flops_share == pytest.approx(thirds / 6)
    [phase] = subject.phases
    [figure] = model_figures(subject, phase, 2).values()
    whole = subject.trainee.flops(phase.make_batch(phase.batch_size)) / 2
    assert figure.value == pytest.approx(whole * thirds / 6)


def test_cached_features_are_planned_as_if_they_were_not_and_that_is_said():
    cached = ("optimizer.freeze_layers=all", "cache_features=true")
    subject = subject_of(fine_tuning("bert-tiny", "a.tsv", "b.tsv", *cached))
    assert any("cache_features" in line for line in subject.assumptions)


def test_a_teacher_is_part_of_the_plan_and_reads_every_row(store):
    taught = "distillation={teacher: bert-tiny, hidden_states_weight: 1}"
    alone, with_teacher = (
        subject_of(fine_tuning("bert-tiny", "a.tsv", "b.tsv", *options))
        for options in ((), (taught,))
    )
    assert "bert-tiny is not here: its published architecture" in with_teacher.assumptions
    figures = [
        model_figures(subject, subject.phases[0], 1)["model_flops"]
        for subject in (alone, with_teacher)
    ]
    assert figures[1].value == pytest.approx(figures[0].value * 4 / 3)
    assert "the teacher's forward pass" in figures[1].how
    with pytest.raises(UserError, match="the teacher are 768 wide and those of the student 128"):
        subject_of(fine_tuning("bert-tiny", "a.tsv", "b.tsv", taught.replace("tiny", "base-cased")))


def test_auto_means_what_it_means_on_a_tpu(store):
    config = for_tpu(pretraining(store))
    assert (config.dtype, config.step.dropout_rng) == ("bfloat16", "rbg")
    chosen = pretraining(store, "dtype=float32", "step.dropout_rng=threefry2x32")
    assert for_tpu(chosen) == chosen


def test_a_configuration_goes_to_another_process_and_back(store):
    config = pretraining(store, "phases=[{first_step: 4, max_seq_length: 16}]")
    assert parse_config(Pretrain, to_values(config)) == config
    tuned = fine_tuning("bert-tiny", "a.tsv", "b.tsv")
    assert parse_config(Finetune, to_values(tuned)) == tuned


CONFIGS = Path(__file__).parents[2] / "configs"
OF_COMMANDS_BEFORE = {
    "distillation": ("distillation.teacher=bert-base-uncased",),
    "distilbert_base": ("model={preset: distilbert-base-uncased}",),
}
"""In the place of what the commands in a header make first, a published model."""


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_can_be_planned_where_nothing_is(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    kind = {"pretrain": Pretrain, "finetune": Finetune}[path.parent.name]
    subject = subject_of(load_config(kind, path, OF_COMMANDS_BEFORE.get(path.stem, ())))
    for phase in subject.phases:
        assert subject.trainee.flops(phase.make_batch(2)) > 0
