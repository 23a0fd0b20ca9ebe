"""Whole runs of replaced-token detection: they learn, resume, and leave two models."""

import json
from pathlib import Path

import numpy as np
import pytest
from experiment.small_runs import after_polls, pretraining, trajectory

from jaxbert.errors import UserError
from jaxbert.experiment.export import export_checkpoint
from jaxbert.experiment.inference import ready
from jaxbert.experiment.masked_lm import evaluate_masked_lm, masked_lm_data
from jaxbert.experiment.pretrain import pretrain
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.tree import flat

ELECTRA = (
    "model.preset=electra-small-discriminator",
    "model.overrides.embedding_size=8",
    "model.overrides.num_attention_heads=4",
    "objective.kind=replaced_token_detection",
    "objective.discriminator_weight=20",
    "data.sentence_pairs=none",
)


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("electra") / "run"
    pretrain(pretraining(store, *ELECTRA), run, quiet=True)
    return run


def test_a_run_leaves_the_discriminator_and_its_generator_with_the_same_tables(finished: Path):
    judge, generator = load_params(finished), load_params(finished / "generator")
    assert (judge.head.kind, generator.head.kind) == ("replaced_token_detection", "masked_lm")
    assert (judge.config.hidden_size, generator.config.hidden_size) == (16, 4)
    ours, theirs = flat(judge.params), flat(generator.params)
    name = "encoder/embeddings/word/embedding"
    np.testing.assert_array_equal(ours[name], theirs[name])
    config = json.loads((finished / "model" / "config.json").read_text())
    assert config["architectures"] == ["ElectraForPreTraining"]


def test_the_run_logs_both_losses_and_how_well_replacements_are_found(finished: Path):
    rows = trajectory(finished)
    assert {"masked_lm_loss", "replaced_token_loss"} <= set(rows[0])
    total = rows[0]["masked_lm_loss"] + 20 * rows[0]["replaced_token_loss"]
    assert rows[0]["loss"] == pytest.approx(total, rel=1e-6)
    evaluated = [row for row in rows if "eval/replaced_token_accuracy" in row]
    assert len(evaluated) == 3
    assert evaluated[-1]["eval/masked_lm_loss"] < evaluated[0]["eval/masked_lm_loss"]


def test_an_interrupted_run_continues_bit_for_bit(finished: Path, store: Path, tmp_path: Path):
    config = pretraining(store, *ELECTRA)
    assert pretrain(config, tmp_path / "run", interrupted=after_polls(6)).outcome == "preempted"
    pretrain(config, tmp_path / "run", quiet=True)
    assert trajectory(tmp_path / "run") == trajectory(finished)
    for name in ("model", "generator"):
        one, other = (run / name / "model.safetensors" for run in (tmp_path / "run", finished))
        assert one.read_bytes() == other.read_bytes()


def test_a_checkpoint_is_exported_as_the_run_exports_both(finished: Path, tmp_path: Path):
    exported = export_checkpoint(finished, tmp_path / "out", "latest")
    assert [path.name for path in exported.models] == ["model", "generator"]
    for name in ("model", "generator"):
        assert_same_files(tmp_path / "out" / name, finished / name)
    (tmp_path / "out" / "config.json").touch()
    with pytest.raises(UserError, match=r"out also holds config\.json, where model and generator"):
        export_checkpoint(finished, tmp_path / "out", "latest", overwrite=True)


def assert_same_files(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_a_run_goes_on_from_a_pair(finished: Path, store: Path, tmp_path: Path):
    model, objective = {"from_pretrained": str(finished / "model")}, ELECTRA[3:]
    with pytest.raises(UserError, match=r"objective\.generator"):
        pretrain(pretraining(store, *objective, model=model), tmp_path / "none")
    given = (*objective, f"objective.generator={finished / 'generator'}")
    pretrain(pretraining(store, *given, model=model), tmp_path / "run", quiet=True)
    first, last = trajectory(finished)[0], trajectory(tmp_path / "run")[0]
    assert last["masked_lm_loss"] < first["masked_lm_loss"]


def test_evaluating_a_discriminator_alone_says_where_it_is_evaluated(finished: Path, store: Path):
    with pytest.raises(UserError, match="give RUN/generator"):
        masked_lm_data(ready(finished), str(store))
    generator = ready(finished / "generator")
    assert evaluate_masked_lm(generator, masked_lm_data(generator, str(store)))["rows"] > 0


def test_the_discriminator_is_what_is_fine_tuned(finished: Path):
    model = from_pretrained(finished, head="sequence_classification", labels=["a", "b"])
    assert model.config.model_type == "electra"


def test_deberta_v3_shares_its_embeddings_without_their_gradient(store: Path, tmp_path: Path):
    """Its discriminator leaves as the encoder that transformers has a class for."""
    deberta = (
        "model.preset=deberta-v3-base",
        "objective.kind=replaced_token_detection",
        "objective.embedding_sharing=gradient_disentangled",
        "objective.generator_size=1.0",
        "data.sentence_pairs=none",
        "num_steps=4",
    )
    pretrain(pretraining(store, *deberta), tmp_path / "run", quiet=True)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["architectures"] == ["DebertaV2Model"]
    name = "encoder/embeddings/word/embedding"
    judge = flat(load_params(tmp_path / "run").params)[name]
    generator = flat(load_params(tmp_path / "run" / "generator").params)[name]
    difference = np.abs(judge - generator).max()
    assert 0 < difference <= 4 * 1e-3
    export_checkpoint(tmp_path / "run", tmp_path / "out", 4)
    assert_same_files(tmp_path / "out" / "model", tmp_path / "run" / "model")


def test_a_family_without_a_class_for_a_discriminator_is_refused(store: Path, tmp_path: Path):
    config = pretraining(
        store, "objective.kind=replaced_token_detection", "data.sentence_pairs=none"
    )
    with pytest.raises(UserError, match="no class for a bert discriminator: take an electra"):
        pretrain(config, tmp_path / "run")


def test_a_generator_that_no_config_json_can_say_is_kept_in_our_layout(
    store: Path, tmp_path: Path, capsys
):
    """DeBERTa's knows of no embeddings that are wider than what follows."""
    config = pretraining(
        store,
        "model.preset=deberta-v3-base",
        "objective.kind=replaced_token_detection",
        "objective.generator_size=0.5",
        "data.sentence_pairs=none",
        "data.validation_fraction=0",
        "loop.evaluate_every=null",
        "num_steps=1",
    )
    pretrain(config, tmp_path / "run")
    told = " ".join(capsys.readouterr().err.split())
    assert "an architecture of its own (embedding_size=16)" in told
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    generator = load_params(tmp_path / "run" / "generator").config
    assert (generator.hidden_size, generator.embedding_size) == (8, 16)
