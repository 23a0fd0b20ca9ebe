"""A pretraining run of two real processes against that of one, with dropout and accumulation."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as orbax
import pytest
import yaml
from experiment.small_runs import (
    DROPOUT,
    MODEL,
    after_polls,
    fine_tuning,
    make_store,
    sentences,
    trajectory,
    weights,
    write_labelled,
)
from launching import start
from safetensors.numpy import load_file
from training_run import infer

from jaxbert.config import load_config, to_yaml
from jaxbert.data.store import TokenStore
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain, pretrain
from jaxbert.hub.save import save_pretrained
from jaxbert.manifest import damage
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, model_from_params
from jaxbert.nn.head import Head
from jaxbert.text.tokenizer import load_tokenizer

NUM_STEPS, BATCH, ACCUMULATION = 8, 16, 2
NUM_PREDICTED, NUM_MASKED = 301, 131


class Runs(NamedTuple):
    """All of one configuration."""

    alone: Path
    together: Path
    mixed: Path
    """Begun by one process, continued by two, ended by one."""
    seen: list[dict[str, Any]]
    """By each of the two processes."""
    logs: list[str]
    interrupted: list[dict[str, Any]]
    """The rows of `mixed` when the two processes had ended."""
    tuned: list[dict[str, Any]]
    """The rows of fine-tuning by the two processes when they had ended."""
    directory: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    directory = tmp_path_factory.mktemp("two")
    values = {
        "store": str(make_store(directory)),
        "model": {**MODEL, "overrides": {**MODEL["overrides"], **dict.fromkeys(DROPOUT, 0.1)}},
        "num_steps": NUM_STEPS,
        "batch_size": BATCH,
        "evaluation_batch_size": 8,
        "data": {"max_seq_length": 32, "validation_fraction": 0.3},
        "optimizer": {"learning_rate": 1e-3},
        "step": {"accumulation_steps": ACCUMULATION},
        "mesh": {"fsdp": 2},
        "averaging": {"decay": 0.5},
        # So many that the whole run keeps the one that the signal finds unfinished.
        "checkpoint": {"keep_last": 4},
        "loop": {"log_every": 1, "evaluate_every": 4, "checkpoint_every": 3},
    }
    path = directory / "pretrain.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    config = load_config(Pretrain, path)
    mixed, alone = directory / "begun_alone", directory / "alone"
    assert pretrain(config, mixed, interrupted=after_polls(2), quiet=True).step == 2
    make_finetuning(directory, values["store"])
    make_inference(directory, values["store"])
    started = start("training_run.py", directory, 2, path, directory, devices=2)
    pretrain(config, alone, quiet=True)
    statuses = started.wait(600)
    logs = [started.log(process) for process in (0, 1)]
    assert statuses == [75, 75], started.printed()
    interrupted, tuned = trajectory(mixed), trajectory(directory / "tuned")
    assert pretrain(config, mixed, quiet=True).outcome == "finished"
    seen = [json.loads((directory / f"process_{i}.json").read_text()) for i in (0, 1)]
    return Runs(alone, directory / "together", mixed, seen, logs, interrupted, tuned, directory)


def make_finetuning(directory: Path, store: str) -> None:
    """finetune.yaml: three epochs of three steps, and evaluations of four batches."""
    encoder = EncoderConfig(vocab_size=TokenStore.open(store).vocab_size, **MODEL["overrides"])
    head = Head("pretraining")
    model = model_from_params(init_params(encoder, head, 0), encoder, head)
    save_pretrained(model, load_tokenizer(Path(store) / "tokenizer"), directory / "model")
    train = write_labelled(directory / "train.tsv", 24, 0)
    validation = write_labelled(directory / "validation.tsv", 30, 1)
    config = fine_tuning(directory / "model", train, validation, "mesh.fsdp=2")
    (directory / "finetune.yaml").write_text(to_yaml(config), encoding="utf-8")


def make_inference(directory: Path, store: str) -> None:
    """A classifier, a table of which two processes get two turns and one; texts and pairs."""
    encoder = EncoderConfig(vocab_size=TokenStore.open(store).vocab_size, **MODEL["overrides"])
    head = Head("sequence_classification", ("animal", "thing"))
    # Larger than drawn, so that texts differ in what is said of them.
    params = jax.tree.map(lambda x: 10 * x, init_params(encoder, head, 0))
    model = model_from_params(params, encoder, head)
    save_pretrained(model, load_tokenizer(Path(store) / "tokenizer"), directory / "classifier")
    write_labelled(directory / "predicted.tsv", NUM_PREDICTED, 2)
    texts = [text.replace(" the ", " [MASK] ") for text in sentences(NUM_MASKED, 3)]
    (directory / "masked.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    pairs = zip(sentences(NUM_MASKED, 3), sentences(NUM_MASKED, 4), strict=True)
    lines = ["sentence_good,sentence_bad", *map(",".join, pairs)]
    (directory / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pooled = Head(pooling="mean")
    vectors = model_from_params(init_params(encoder, pooled, 0), encoder, pooled)
    save_pretrained(vectors, load_tokenizer(Path(store) / "tokenizer"), directory / "encoder")
    (directory / "beir" / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", sentences(NUM_PREDICTED, 5)), ("queries", sentences(9, 6))):
        rows = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(texts)]
        (directory / "beir" / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    judged = [f"{n}\t{17 * n + 3}\t1" for n in range(9)]
    qrels = "\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n"
    (directory / "beir" / "qrels" / "test.tsv").write_text(qrels)


def assert_close(run: Path, other: Path, atol: float) -> None:
    assert_rows_close(trajectory(run), trajectory(other), atol)


def assert_rows_close(
    rows: list[dict[str, Any]], others: list[dict[str, Any]], atol: float
) -> None:
    assert [[*row] for row in rows] == [[*row] for row in others]
    for row, theirs in zip(rows, others, strict=True):
        np.testing.assert_allclose([*row.values()], [*theirs.values()], rtol=atol, atol=atol)


def test_losses_and_evaluations_are_those_of_one_process(runs: Runs):
    assert sum("loss" in row for row in trajectory(runs.together)) == NUM_STEPS
    assert sum("eval/masked_lm_loss" in row for row in trajectory(runs.together)) == 2
    assert_close(runs.together, runs.alone, 1e-5)


def test_no_process_makes_the_rows_of_another(runs: Runs):
    # But for the run's first ones, of which a digest is kept.
    digested, *asked = zip(*(seen["asked"] for seen in runs.seen), strict=True)
    assert digested == ([0, [*range(8)]],) * 2
    for step in range(NUM_STEPS):
        parts = [
            [p for s, rows in made if s == step for p in rows] for made in zip(*asked, strict=True)
        ]
        assert [len(part) for part in parts] == [BATCH // 2, BATCH // 2]
        assert sorted(parts[0] + parts[1]) == list(range(step * BATCH, (step + 1) * BATCH))
        # A half of each microbatch.
        first = [p - step * BATCH for p in parts[0]]
        assert first == [0, 1, 2, 3, 8, 9, 10, 11]


def test_no_process_holds_the_rows_of_another(runs: Runs):
    """On its devices, of every array of every batch of training and evaluation."""
    for seen in runs.seen:
        assert len(seen["placed"]) > NUM_STEPS
        for made, held, whole in seen["placed"]:
            assert made == held == whole / 2


def test_every_row_is_evaluated_by_one_process(runs: Runs):
    made = [[n for rows in seen["evaluated"] for n in rows if n >= 0] for seen in runs.seen]
    assert set(made[0]) & set(made[1]) == set()
    counted = sorted(made[0] + made[1])
    # Two evaluations.
    assert counted == sorted([*range(max(counted) + 1)] * 2)


def test_only_the_first_process_gets_the_model_and_it_is_that_of_one_process(runs: Runs):
    assert [seen["has_params"] for seen in runs.seen] == [True, False]
    assert [seen["outcome"] for seen in runs.seen] == ["finished", "finished"]
    found, expected = (
        load_file(run / "model" / "model.safetensors") for run in (runs.together, runs.alone)
    )
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor, rtol=0, atol=1e-6, err_msg=name)
    names = [sorted(path.name for path in run.iterdir()) for run in (runs.together, runs.alone)]
    assert names[0] == names[1]


def placed(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(shape, dtype, sharding=device)


def saved_state(run: Path, step: int) -> Any:
    checkpoint = run / "checkpoints" / str(step)
    assert damage(checkpoint) is None
    with orbax.StandardCheckpointer() as checkpointer:
        shapes = checkpointer.metadata(checkpoint / "state").item_metadata.tree
        target = jax.tree.map(lambda x: placed(x.shape, x.dtype), shapes)
        return checkpointer.restore(checkpoint / "state", target)


def test_a_checkpoint_of_two_processes_is_that_of_one(runs: Runs):
    states = [saved_state(run, NUM_STEPS) for run in (runs.together, runs.alone)]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), *states)


def test_a_signal_to_one_process_while_it_compiles_stops_both_at_the_same_step(runs: Runs):
    assert ["signalled" in seen for seen in runs.seen] == [False, True]
    steps = [seen["stopped_at"] for seen in runs.seen]
    assert steps[0] == steps[1]
    assert 2 < steps[0] < NUM_STEPS
    assert f"preempted: saved at step {steps[0]}" in runs.logs[0]
    assert "preempted: saved" not in runs.logs[1]
    assert max(row["step"] for row in runs.interrupted) == steps[0]


def test_a_signal_to_one_process_while_a_checkpoint_is_written_stops_both_after_both_are_saved(
    runs: Runs,
):
    """That of step 4, of which no array is written before the one of step 5 is to be saved."""
    for process, seen in enumerate(runs.seen):
        *_, held, last = seen["saving"]["began_to_save"]
        assert held[:2] == [4, False]
        # The first process was not asked itself.
        assert last == [5, process == 1, ["3", "4.orbax-checkpoint-tmp"]]
        assert seen["saving"]["preempted"] == ["preempted", 5]
        assert seen["saving"]["left"] == ["3", "4", "5"]


def test_a_run_stopped_while_a_checkpoint_was_written_continues_bit_identically(runs: Runs):
    for seen in runs.seen:
        assert seen["saving"]["restored"] == [5]
        assert seen["saving"]["continued"] == ["finished", NUM_STEPS]
    saved, together = runs.directory / "saved", runs.together
    assert trajectory(saved) == trajectory(together)
    assert weights(saved) == weights(together)
    for step in (4, NUM_STEPS):
        states = [saved_state(run, step) for run in (saved, together)]
        jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_signal_to_one_process_in_the_middle_of_an_evaluation_stops_both(runs: Runs):
    """Of fine-tuning, which evaluates after steps 3, 6 and 9."""
    assert [seen["tuned"] for seen in runs.seen] == [["preempted", 6]] * 2
    evaluated = [row["step"] for row in runs.tuned if "eval/accuracy" in row]
    assert (evaluated, runs.tuned[-1]["step"]) == ([3], 6)


def test_fine_tuning_of_two_processes_is_that_of_one(runs: Runs):
    config = load_config(Finetune, runs.directory / "finetune.yaml")
    alone = runs.directory / "tuned_alone"
    # Polled before 6 steps, and 5 times in the first evaluation: this is in the second one.
    assert finetune(config, alone, interrupted=after_polls(12), quiet=True).step == 6
    assert_rows_close(runs.tuned, trajectory(alone), 1e-5)


def test_a_run_goes_on_with_other_processes_and_another_mesh(runs: Runs):
    assert "continuing after step 2" in runs.logs[0]
    assert "in 2 processes" in runs.logs[0]
    assert_close(runs.mixed, runs.alone, 1e-5)


@pytest.fixture(scope="module")
def inferred(runs: Runs) -> Path:
    """What one process, with other devices, says of the same data."""
    assert infer(runs.directory, runs.directory / "of_one") == [NUM_PREDICTED]
    return runs.directory


WHO = ("of_two", "of_one")


def of(directory: Path, name: str) -> tuple[Any, Any]:
    """What two processes said, and one."""
    texts = [(directory / who / name).read_text() for who in WHO]
    two, one = ([json.loads(line) for line in text.splitlines()] for text in texts)
    return two, one


@pytest.mark.parametrize("name", ["classes.json", "masked.json", "pairs.json"])
def test_metrics_of_two_processes_are_those_of_one(inferred: Path, name: str):
    two, one = (json.loads((inferred / who / name).read_text()) for who in WHO)
    assert two.keys() == one.keys()
    assert two["rows"] == one["rows"] > 50
    for metric, value in one.items():
        np.testing.assert_allclose(two[metric], value, rtol=1e-5, err_msg=metric)


def test_a_corpus_is_searched_by_two_processes_as_by_one(inferred: Path):
    two, one = (json.loads((inferred / who / "search.json").read_text()) for who in WHO)
    assert two == pytest.approx(one, rel=1e-6)
    lines = [(inferred / who / "search.trec").read_text().splitlines() for who in WHO]
    two, one = ([line.split() for line in of_one] for of_one in lines)
    assert len(two) == 9 * NUM_PREDICTED - 9
    assert {(query, document) for query, _, document, *_ in two} == {
        (query, document) for query, _, document, *_ in one
    }
    # Documents that are equally near but for rounding may have changed places.
    scores = [[float(line[4]) for line in lines] for lines in (two, one)]
    np.testing.assert_allclose(*scores, atol=3e-6)


def test_predictions_of_two_processes_are_those_of_one_in_their_order(inferred: Path):
    two, one = of(inferred, "classes.jsonl")
    assert len(two) == len(one) == NUM_PREDICTED
    assert np.std([row["probabilities"]["animal"] for row in one]) > 0.01
    for mine, theirs in zip(two, one, strict=True):
        assert mine["probabilities"].keys() == theirs["probabilities"].keys()
        np.testing.assert_allclose(
            [*mine["probabilities"].values()], [*theirs["probabilities"].values()], rtol=1e-5
        )


def test_masks_are_filled_by_two_processes_as_by_one(inferred: Path):
    two, one = of(inferred, "masked.jsonl")
    assert len(two) == len(one) == NUM_MASKED
    for mine, theirs in zip(two, one, strict=True):
        assert mine["text"] == theirs["text"]
        found, expected = ([mask[0] for mask in row["masks"]] for row in (mine, theirs))
        assert [best["token"] for best in found] == [best["token"] for best in expected] != []
        np.testing.assert_allclose(
            [best["probability"] for best in found],
            [best["probability"] for best in expected],
            rtol=1e-5,
        )


def test_processes_take_turns_at_predicting_and_the_first_one_speaks(runs: Runs):
    """Lots of 64 batches of a row for each of a process's two devices."""
    assert [seen["predicted"] for seen in runs.seen] == [[128, 45], [128]]
    assert "accuracy" in runs.logs[0]
    assert "accuracy" not in runs.logs[1]


def test_processes_with_other_data_or_another_model_are_refused(runs: Runs):
    assert [seen["unlike"] for seen in runs.seen] == [[[2, 2], [2, 2]]] * 2
    for verb in ("evaluate", "predict"):
        assert re.search(rf"jaxbert {verb}: .*process 1 has read other data", runs.logs[0])
        assert re.search(rf"jaxbert {verb}: .*/bias has other values in process 1", runs.logs[0])


def test_standard_input_is_refused_in_several_processes(runs: Runs):
    assert [seen["status_of_standard_input"] for seen in runs.seen] == [2, 2]
    assert "jaxbert predict: --data -: several processes" in runs.logs[0]
