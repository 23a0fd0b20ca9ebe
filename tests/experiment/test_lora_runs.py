"""Fine-tuning with LoRA: whole, interrupted, exported, and read again as a model."""

import json
from pathlib import Path

import numpy as np
import pytest
from experiment.small_runs import after_polls, fine_tuning, trajectory, weights

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.export import export_checkpoint
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.predictor import Predictor
from jaxbert.experiment.recipe import parse_finetune
from jaxbert.experiment.run_files import checkpoint_steps
from jaxbert.hub.load import load_params
from jaxbert.plan.subject import subject_of
from jaxbert.tree import flat

LORA = ("lora={rank: 4, dropout: 0.1, targets: [attention/.*, mlp/.*]}", "optimizer.weight_decay=0")


@pytest.fixture(scope="module")
def adapting(pretrained: Path, tables) -> Finetune:
    overrides = ("num_epochs=2", "packing=true")
    return fine_tuning(pretrained, *tables, *LORA, *overrides)


@pytest.fixture(scope="module")
def whole(adapting: Finetune, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("lora") / "run"
    fitted = finetune(adapting, run, quiet=True)
    assert fitted.outcome == "finished"
    assert not any("lora" in path for path in flat(fitted.params))
    return run


def test_an_interrupted_run_ends_as_the_whole_one(adapting, whole, tmp_path, capsys):
    run = tmp_path / "run"
    assert finetune(adapting, run, interrupted=after_polls(3), quiet=True).outcome == "preempted"
    assert finetune(adapting, run).outcome == "finished"
    assert trajectory(run) == trajectory(whole)
    assert weights(run) == weights(whole)
    for name in ("adapter_config.json", "adapter_model.safetensors", "merged/config.json"):
        assert (run / "adapter" / name).read_bytes() == (whole / "adapter" / name).read_bytes()
    # A and B of four layers of [16, 16] and two of [16, 32], pooler and classifier.
    trained = 4 * 4 * 32 + 2 * 4 * 48 + 16 * 17 + 2 * 17
    assert f"trained parameters: {trained:,} after step" in capsys.readouterr().err


def test_the_model_of_a_run_is_its_base_with_the_adapter(pretrained, whole):
    base, merged, adapter = (
        flat(load_params(path).params) for path in (pretrained, whole, whole / "adapter")
    )
    assert merged.keys() == adapter.keys()
    for path, leaf in merged.items():
        np.testing.assert_allclose(adapter[path], leaf, rtol=1e-6, atol=1e-6)
        if path.startswith("encoder/"):
            has_factors = path.startswith("encoder/layers") and path.endswith("kernel")
            assert np.array_equal(base[path], leaf) != has_factors, path
    fields = json.loads((whole / "adapter" / "adapter_config.json").read_text())
    assert fields["base_model_name_or_path"] == str((pretrained / "model").resolve())
    assert fields["modules_to_save"] == ["bert.pooler", "classifier"]
    texts = ["The old cat sees the river.", "The green house likes the dog."]
    found, expected = (Predictor(path)(texts) for path in (whole / "adapter", whole))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["label"] == theirs["label"]
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-5)


def test_a_checkpoint_of_such_a_run_becomes_a_merged_model(whole, tmp_path):
    export_checkpoint(whole, tmp_path / "made", "latest")
    assert {*flat(load_params(tmp_path / "made").params)} == {*flat(load_params(whole).params)}


def test_the_mean_of_such_checkpoints_is_that_of_their_models(whole, tmp_path):
    steps = checkpoint_steps(whole)[-2:]
    export_checkpoint(whole, tmp_path / "mean", steps)
    models = []
    for step in steps:
        export_checkpoint(whole, tmp_path / str(step), step)
        models.append(flat(load_params(tmp_path / str(step)).params))
    for path, leaf in flat(load_params(tmp_path / "mean").params).items():
        expected = (models[0][path].astype(np.float64) + models[1][path]) / 2
        np.testing.assert_allclose(leaf, expected, rtol=1e-6, atol=1e-9)
    assert any(not np.array_equal(models[0][path], models[1][path]) for path in models[0])


def test_an_adapter_is_fine_tuned_as_the_model_that_it_makes(whole, tables, tmp_path, capsys):
    config = fine_tuning(whole / "adapter", *tables, *LORA, "num_steps=1")
    assert finetune(config, tmp_path / "run").outcome == "finished"
    assert "the run will have its model alone: " in capsys.readouterr().err
    assert not (tmp_path / "run" / "adapter").exists()
    assert load_params(tmp_path / "run").head.labels == load_params(whole).head.labels


def test_a_student_with_factors_learns_from_a_teacher(pretrained, whole, tables, tmp_path):
    teacher = f"distillation={{teacher: {whole}}}"
    config = fine_tuning(pretrained, *tables, *LORA, teacher, "num_steps=2")
    assert finetune(config, tmp_path / "run", quiet=True).outcome == "finished"
    assert (tmp_path / "run" / "adapter").is_dir()


def test_a_plan_counts_the_factors_and_no_gradients_of_kernels(pretrained, tables):
    plain = subject_of(fine_tuning(pretrained, *tables))
    lora = subject_of(fine_tuning(pretrained, *tables, *LORA))
    assert plain.flops_share == 1
    assert lora.flops_share == pytest.approx(2 / 3)
    assert {*flat(plain.trainee.shapes)} < {*flat(lora.trainee.shapes)}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("reinitialize_layers=1",), "reinitialize_layers=1: with lora such layers would stay"),
        (("optimizer.freeze_layers=all",), "optimizer.freeze_layers=all: lora's factors are in"),
        (("cache_features=true",), "cache_features: with lora what the encoder computes changes"),
    ],
)
def test_what_asks_for_another_part_of_the_encoder_is_refused(overrides, message):
    values = {"model": "m", "train": "t.csv", "lora": {}}
    with pytest.raises(UserError, match=message):
        parse_config(Finetune, values, overrides)


def test_a_recipe_has_no_rate_for_it_and_a_target_that_is_no_layer_is_told(
    pretrained, tables, tmp_path
):
    values = {"model": str(pretrained), "train": str(tables[0]), "recipe": "auto", "lora": {}}
    with pytest.raises(UserError, match="recipe=auto: its learning rates are for encoders that"):
        parse_finetune(values)
    config = fine_tuning(pretrained, *tables, "lora.targets=[attention/qkv]")
    with pytest.raises(UserError, match=r"lora\.targets: 'attention/qkv' matches no dense layer"):
        finetune(config, tmp_path / "run", quiet=True)
