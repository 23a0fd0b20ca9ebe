"""What an interrupted run computes is what the uninterrupted one computes, to the last bit."""

import json
import shutil
from pathlib import Path

import pytest
from experiment.small_runs import (
    MODEL,
    WITH_DROPOUT,
    after_polls,
    fine_tuning,
    pretraining,
    trajectory,
    weights,
)

from jaxbert.data.order import visit
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import pretrain


def results(run: Path) -> dict[str, float]:
    figures = json.loads((run / "all_results.json").read_text())
    del figures["train_runtime"]
    return figures


def assert_same_run(continued: Path, whole: Path) -> None:
    assert trajectory(continued) == trajectory(whole)
    assert weights(continued) == weights(whole)
    assert results(continued) == results(whole)


def continue_until_it_ends(train, config, run: Path, polls: list[int]) -> list[int]:
    """Interrupts after each number of polls, then lets it end; the steps it stopped at."""
    steps = []
    for number in polls:
        fitted = train(config, run, interrupted=after_polls(number), quiet=True)
        assert fitted.outcome == "preempted", "the test interrupts a run that is over"
        assert not (run / "model").exists()
        steps.append(fitted.step)
    assert train(config, run, quiet=True).outcome != "preempted"
    return steps


def is_cut_off_evaluation(run: Path, step: int) -> bool:
    return any("loss" in row for row in trajectory(run) if row["step"] == step) and not any(
        "eval/loss" in row for row in trajectory(run) if row["step"] == step
    )


def test_a_pretraining_run_interrupted_anywhere_ends_as_the_whole_one(store, tmp_path):
    pretrain(pretraining(store, *WITH_DROPOUT), tmp_path / "whole", quiet=True)
    # 4 steps and then 2 of the batches of an evaluation; 1 batch of that evaluation; 3 steps more.
    # By more threads that make its batches, which changes none of them.
    config = pretraining(store, *WITH_DROPOUT, "loop.prefetch=4", "loop.loader_threads=3")
    run = tmp_path / "run"
    steps = continue_until_it_ends(pretrain, config, run, [0, 6, 1, 9])
    assert steps[:3] == [0, 4, 4]
    assert steps[3] > 4
    assert_same_run(run, tmp_path / "whole")


def test_an_interruption_that_is_taken_back_still_ends_the_run(store, tmp_path):
    asked = iter(range(1000))

    def once() -> bool:
        """Yes only after the first batch of the first evaluation."""
        return next(asked) == 4

    fitted = pretrain(pretraining(store), tmp_path / "run", interrupted=once, quiet=True)
    assert (fitted.outcome, fitted.step) == ("preempted", 4)
    assert not any("eval/perplexity" in row for row in trajectory(tmp_path / "run"))


def test_a_run_interrupted_before_its_first_step_may_begin_otherwise(pretrained, tables, tmp_path):
    options = ("num_epochs=1", "reinitialize_layers=1", "optimizer={kind: lion}", "seed=3")
    first, other = (fine_tuning(pretrained, *tables, *given) for given in ((), options))
    fitted = finetune(first, tmp_path / "run", interrupted=lambda: True, quiet=True)
    assert (fitted.outcome, fitted.step) == ("preempted", 0)
    finetune(other, tmp_path / "run", quiet=True)
    finetune(other, tmp_path / "whole", quiet=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.fixture(scope="module")
def stopping_early(pretrained: Path, tables) -> Finetune:
    return fine_tuning(
        pretrained,
        *tables,
        "num_epochs=20",
        "loop.early_stopping_patience=2",
        "optimizer.learning_rate=1e-6",
        "dropout={hidden: 0.1, attention: 0.1}",
    )


@pytest.fixture(scope="module")
def stopped_early(stopping_early: Finetune, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert finetune(stopping_early, run, quiet=True).outcome == "stopped_early"
    return run


def test_early_stopping_ends_a_run_after_evaluations_without_a_better_score(stopped_early):
    scores = [row["eval/accuracy"] for row in trajectory(stopped_early) if "eval/accuracy" in row]
    best = scores.index(max(scores))
    assert len(scores) - 1 - best == 2
    assert len(scores) < 20


def test_the_exported_model_is_the_first_of_the_best_checkpoints(stopped_early):
    rows = [row for row in trajectory(stopped_early) if "eval/accuracy" in row]
    best = max(rows, key=lambda row: row["eval/accuracy"])
    assert results(stopped_early)["step"] == best["step"]
    assert results(stopped_early)["eval_accuracy"] == best["eval/accuracy"]
    assert best["step"] < rows[-1]["step"]


def test_a_fine_tuning_run_interrupted_in_an_evaluation_stops_early_at_the_same_step(
    stopping_early, stopped_early, tmp_path
):
    run = tmp_path / "run"
    finetune(stopping_early, run, interrupted=after_polls(9), quiet=True)
    assert is_cut_off_evaluation(run, 8)
    continue_until_it_ends(finetune, stopping_early, run, [0, 3, 11])
    assert_same_run(run, stopped_early)


def test_a_run_that_is_over_is_left_as_it_is_by_the_same_command(
    stopping_early, stopped_early, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(stopped_early, run)
    assert finetune(stopping_early, run, quiet=True).outcome == "stopped_early"
    assert_same_run(run, stopped_early)
    figures = [(path / "all_results.json").read_bytes() for path in (run, stopped_early)]
    assert figures[0] == figures[1]


def test_the_newest_checkpoint_is_passed_over_when_it_is_damaged(
    store, pretrained, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(pretrained, run)
    newest = run / "checkpoints" / "12"
    largest = max(newest.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    fitted = pretrain(pretraining(store), run)
    assert fitted.step == 12
    assert "12.damaged: an incomplete checkpoint, which is not used" in capsys.readouterr().err
    assert_same_run(run, pretrained)


def test_a_run_is_not_continued_with_other_data_or_another_model(
    store, pretrained, tables, tmp_path
):
    train, dev = tmp_path / "train.tsv", tmp_path / "dev.tsv"
    for mine, original in zip((train, dev), tables, strict=True):
        mine.write_bytes(original.read_bytes())
    model = tmp_path / "model"
    shutil.copytree(pretrained / "model", model)
    config, run = fine_tuning(model, train, dev, "num_steps=8"), tmp_path / "run"
    finetune(config, run, interrupted=after_polls(2), quiet=True)
    for changed, named in ((train, "the training data"), (dev, "the validation data")):
        before = changed.read_text()
        changed.write_text(before.replace("old", "red") + before.partition("\n")[2])
        with pytest.raises(UserError, match=f"run: {named} is not what .* checkpoint of step 2"):
            finetune(config, run, quiet=True)
        changed.write_text(before)
    smaller = MODEL | {"overrides": MODEL["overrides"] | {"intermediate_size": 16}}
    pretrain(pretraining(store, "num_steps=1", model=smaller), tmp_path / "other", quiet=True)
    shutil.move(model, tmp_path / "kept")
    shutil.copytree(tmp_path / "other" / "model", model)
    with pytest.raises(UserError, match=r"no longer the model of this run .* was .*32.*, is .*16"):
        finetune(config, run, quiet=True)
    shutil.rmtree(model)
    shutil.move(tmp_path / "kept", model)
    # The same weights may be those of another function.
    fields = (model / "config.json").read_text()
    other = json.loads(fields) | {"num_attention_heads": 1, "hidden_act": "relu"}
    (model / "config.json").write_text(json.dumps(other))
    changed = r"step 2: num_attention_heads was 2, is 1; hidden_act was 'gelu', is 'relu'; put back"
    with pytest.raises(UserError, match=changed):
        finetune(config, run, quiet=True)
    (model / "config.json").write_text(fields)
    # The same data may lie elsewhere.
    moved = [shutil.move(path, tmp_path / f"moved_{path.name}") for path in (train, dev)]
    config = fine_tuning(model, *moved, "num_steps=8")
    assert finetune(config, run, quiet=True).outcome == "finished"


def test_a_run_is_not_continued_by_code_that_makes_other_rows(store, tmp_path, monkeypatch):
    config, run = pretraining(store), tmp_path / "run"
    pretrain(config, run, interrupted=after_polls(2), quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr("jaxbert.data.pretraining.visit", lambda seed, *args: visit(seed + 1, *args))
        with pytest.raises(UserError, match="another version of jaxbert or NumPy"):
            pretrain(config, run, quiet=True)
    assert pretrain(config, run, interrupted=after_polls(1), quiet=True).step > 2
