"""The verbs one after the other on small files, as a user calls them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from experiment.small_runs import label, sentences, trajectory

import jaxbert
from jaxbert.cli import main

CONFIG = {
    "max_seq_length": 32,
    "batch_size": 8,
    "num_epochs": 2,
    "optimizer": {"learning_rate": 5e-3},
    "loop": {"log_every": 2, "evaluate_every": "epoch", "checkpoint_every": None},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    (directory / "finetune.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    for name, number, seed in (("train", 40, 1), ("dev", 13, 2)):
        texts = sentences(number, seed)
        # A quotation mark that is never closed must not swallow the rows after it.
        texts[1] = texts[1].replace(" the ", ' the "', 1)
        rows = [f"{text}\t{label(text)}" for text in texts]
        write(directory / f"{name}.tsv", "\ufeffsentence\tlabel", *rows)
        pairs = [
            {"a": texts[i], "b": texts[-i], "same": int(label(texts[i]) == label(texts[-i]))}
            for i in range(number)
        ]
        write(directory / f"{name}.jsonl", *map(json.dumps, pairs))
        scored = [f'"{text.replace(chr(34), chr(34) * 2)}",{len(text) / 10}' for text in texts]
        write(directory / f"{name}.csv", "sentence,label", *scored)
    return directory


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def fine_tuned(files: Path, pretrained: Path, tmp_path_factory) -> Callable[..., Path]:
    """Fine-tunes the pretraining run from the command line; the run directory."""

    def run(name: str, *overrides: str) -> Path:
        directory = tmp_path_factory.mktemp(name) / "run"
        data = [f"{split}={files / name}" for split, name in zip(SPLITS, names(name), strict=True)]
        words = ["finetune", str(files / "finetune.yaml"), f"model={pretrained}", *data]
        # The flag in the middle: overrides may stand on both sides of it.
        assert main([*words, "--run", str(directory), *overrides]) == 0
        return directory

    return run


SPLITS = ("train", "validation")


def names(suffix: str) -> tuple[str, str]:
    return f"train.{suffix}", f"dev.{suffix}"


@pytest.fixture(scope="module")
def classifier(fine_tuned) -> Path:
    return fine_tuned("tsv", "checkpoint.metric=accuracy")


def evaluation(capsys, *words: str, out: Path) -> dict[str, Any]:
    assert main(["evaluate", *words, "--out", str(out)]) == 0
    capsys.readouterr()
    return json.loads(out.read_text())


def predictions(capsys, *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["predict", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def results(run: Path) -> dict[str, float]:
    return json.loads((run / "all_results.json").read_text())


def assert_agree(metrics: dict[str, float], run: Path) -> None:
    own = results(run)
    for name, value in metrics.items():
        if name != "rows":
            np.testing.assert_allclose(value, own[f"eval_{name}"], rtol=1e-5, err_msg=name)


def test_a_run_directory_describes_itself(pretrained):
    assert {path.name for path in pretrained.iterdir() if path.name[0] != "."} == {
        *("config.yaml", "chosen.yaml", "metrics.jsonl", "checkpoints", "model", "tensorboard"),
        *("all_results.json", "loss.png", "goodput.json", "data.json"),
    }
    config = yaml.safe_load((pretrained / "config.yaml").read_text())
    assert config["optimizer"]["learning_rate"] == 3e-3
    assert config["model"]["overrides"]["hidden_size"] == 16
    assert config["seed"] == 0
    assert [row["step"] for row in trajectory(pretrained) if "loss" in row] == list(range(1, 41))
    assert any(path.stat().st_size > 1000 for path in (pretrained / "tensorboard").iterdir())
    assert results(pretrained)["step"] == 40


def test_the_loss_curve_is_a_picture(pretrained):
    import matplotlib.image

    pixels = matplotlib.image.imread(pretrained / "loss.png")
    assert pixels.shape == (540, 960, 4)
    assert pixels.std() > 0.01


def test_a_report_tells_of_runs_of_both_kinds(pretrained, classifier, tmp_path, capsys):
    page = tmp_path / "report.html"
    assert main(["report", str(pretrained), str(classifier), "--out", str(page)]) == 0
    shown, text = capsys.readouterr().out, page.read_text(encoding="utf-8")
    assert "Pretraining, masked lm; finished, step 40 of 40" in shown
    assert "Fine-tuning, sequence classification; finished" in shown
    for words in (
        "masked_lm_loss",
        "goodput",
        "Evaluation in detail",
        "Worst mistakes",
        "40 examples",
    ):
        assert words in text, words
    # Options that are not at their defaults, of config.yaml that has them all.
    chosen = text[text.index("What is not the default") : text.index("at their defaults")]
    assert "optimizer.learning_rate" in chosen
    assert "optimizer.b1" not in chosen
    assert main(["report", str(classifier), "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert run["metrics"]["accuracy"]["final"] == results(classifier)["eval_accuracy"]


def test_the_loss_falls(pretrained):
    losses = [row["loss"] for row in trajectory(pretrained) if "loss" in row]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def test_a_run_says_first_what_is_about_to_run_and_where_it_continues(command, pretrained):
    process = command.start(pretrained)
    _, said = process.communicate(timeout=240)
    assert "continuing after step 40: " in said
    assert " rows an epoch, 40 steps of 8 (" in said


def test_the_figures_are_printed_on_standard_output(pretrained):
    shown = (pretrained.parent / "stdout").read_text()
    assert "run: finished" in shown
    assert f"{results(pretrained)['eval_masked_lm_loss']:.4f}" in shown


def test_the_exported_model_is_loaded_by_the_library(pretrained):
    for path in (pretrained, pretrained / "model"):
        model, tokenizer = (
            jaxbert.from_pretrained(path),
            jaxbert.load_tokenizer(path / "model" if path == pretrained else path),
        )
        ids = tokenizer.encode(["the old cat."], max_length=32, padding=False)["input_ids"]
        logits = model(np.asarray(ids[0])[None]).logits
        assert logits.shape == (1, len(ids[0]), tokenizer.vocab_size)


def test_a_checkpoint_converts_to_a_model(pretrained, tmp_path, capsys):
    words = ["convert", str(pretrained), str(tmp_path / "out"), "--step", "32"]
    assert main([*words, "--dtype", "bfloat16"]) == 0
    assert "out: BertForPreTraining after step 32\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    for asked, expected in (
        (["--head", "none"], "--head: a checkpoint has the head and the tokenizer of its run"),
        (["--overwrite", "--step", "33"], "no checkpoint of step 33: those of 32, 40 are there"),
    ):
        assert expected in error(capsys, *words, *asked)
    with pytest.raises(SystemExit):
        main([*words, "--step", "newest"])
    assert "expected the number of a step, or latest: 'newest'" in capsys.readouterr().err


def test_a_pretraining_run_is_evaluated_on_what_it_held_out(
    pretrained, configuration, capsys, tmp_path
):
    store = str(configuration.parent / "store")
    metrics = evaluation(capsys, str(pretrained), "--data", store, out=tmp_path / "run.json")
    assert_agree(metrics, pretrained)
    whole = evaluation(
        capsys, str(pretrained / "model"), "--data", store, out=tmp_path / "model.json"
    )
    assert whole["rows"] > 2 * metrics["rows"]


def test_a_pretrained_model_fills_masks(pretrained, tmp_path, capsys):
    write(tmp_path / "texts.txt", "The old [MASK] sees the [MASK].", "", "No mask\x0chere.")
    rows = predictions(
        capsys, str(pretrained), "--data", str(tmp_path / "texts.txt"), "--top-k", "3"
    )
    assert [row["text"] for row in rows] == [
        "The old [MASK] sees the [MASK].",
        "",
        "No mask\x0chere.",
    ]
    assert [len(row["masks"]) for row in rows] == [2, 0, 0]
    for found in rows[0]["masks"]:
        chances = [piece["probability"] for piece in found]
        assert len(chances) == 3
        assert 0 < chances[2] <= chances[1] <= chances[0] < 1
    (tmp_path / "none.txt").write_text("")
    assert predictions(capsys, str(pretrained), "--data", str(tmp_path / "none.txt")) == []


def test_a_row_without_a_text_to_fill_masks_in_is_named(pretrained, tmp_path, capsys):
    write(tmp_path / "texts.jsonl", '{"text": "The [MASK]."}', '{"text": null}')
    assert main(["predict", str(pretrained), "--data", str(tmp_path / "texts.jsonl")]) == 2
    message = capsys.readouterr().err
    assert f"{tmp_path / 'texts.jsonl'}:2: 'text' is null, expected text" in message


def test_every_line_of_a_tsv_file_is_a_row_whatever_its_quotation_marks(classifier, files, capsys):
    assert "40 rows" in (classifier / "model" / "README.md").read_text()
    rows = predictions(capsys, str(classifier), "--data", str(files / "dev.tsv"))
    assert len(rows) == 13


def test_evaluate_agrees_with_the_run_s_own_evaluation(classifier, files, capsys, tmp_path):
    data = ["--data", str(files / "dev.tsv")]
    from_run = evaluation(capsys, str(classifier), *data, out=tmp_path / "run.json")
    assert_agree(from_run, classifier)
    assert from_run["rows"] == 13
    words = [str(classifier / "model"), *data, "--max-seq-length", "32", "--batch-size", "3"]
    from_model = evaluation(capsys, *words, out=tmp_path / "model.json")
    np.testing.assert_allclose(list(from_model.values()), list(from_run.values()), rtol=1e-5)


def test_predictions_come_in_the_order_of_the_input_whatever_the_batches(
    classifier, files, capsys, tmp_path
):
    header, *lines = (files / "dev.tsv").read_text(encoding="utf-8-sig").splitlines()
    write(tmp_path / "reversed.tsv", header, *lines[::-1])
    write(tmp_path / "one.tsv", header, lines[4])
    rows = predictions(capsys, str(classifier), "--data", str(files / "dev.tsv"))
    backwards = predictions(
        capsys, str(classifier / "model"), "--data", str(tmp_path / "reversed.tsv")
    )
    one = predictions(capsys, str(classifier), "--data", str(tmp_path / "one.tsv"))
    assert len(one) == 1
    for found, expected in zip([*backwards[::-1], one[0]], [*rows, rows[4]], strict=True):
        assert found["label"] == expected["label"]
        assert set(found["probabilities"]) == {"animal", "thing"}
        for name, chance in expected["probabilities"].items():
            np.testing.assert_allclose(found["probabilities"][name], chance, rtol=1e-4)
    accuracy = np.mean(
        [row["label"] == line.split("\t")[1] for row, line in zip(rows, lines, strict=True)]
    )
    np.testing.assert_allclose(accuracy, results(classifier)["eval_accuracy"])


def test_an_empty_text_and_no_label_column_are_predicted(classifier, tmp_path, capsys):
    write(tmp_path / "a.csv", "sentence,other", '"",1', "The cat.,2")
    out = tmp_path / "predictions.jsonl"
    words = [str(classifier), "--data", str(tmp_path / "a.csv"), "--out", str(out)]
    assert main(["predict", *words]) == 0
    assert capsys.readouterr().out == ""
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        np.testing.assert_allclose(sum(row["probabilities"].values()), 1)


def test_a_table_without_rows_gives_one_without_rows(classifier, tmp_path, capsys, caplog):
    write(tmp_path / "none.tsv", "sentence")
    out = tmp_path / "out.csv"
    words = ["predict", str(classifier), "--data", str(tmp_path / "none.tsv"), "--out", str(out)]
    assert main(words) == 0
    assert out.read_text() == "label,probability,probabilities\n"
    assert f"{tmp_path / 'none.tsv'}: no rows: nothing is predicted" in caplog.messages
    assert predictions(capsys, *words[1:4]) == []


def test_sentence_pairs_with_whole_numbers_for_labels(fine_tuned, files, capsys, tmp_path):
    columns = ("text=a", "text_pair=b", "label=same")
    run = fine_tuned("jsonl", *(f"task.columns.{column}" for column in columns))
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "0", "1": "1"}
    data = ["--data", str(files / "dev.jsonl")]
    assert_agree(evaluation(capsys, str(run), *data, out=tmp_path / "run.json"), run)
    swapped = ["--text-column", "b", "--text-pair-column", "a"]
    straight = predictions(capsys, str(run), *data)
    assert len(straight) == 13
    assert predictions(capsys, str(run), *data, *swapped) != straight


def test_numbers_are_predicted_end_to_end(fine_tuned, files, capsys, tmp_path):
    run = fine_tuned("csv", "task.regression=true", "checkpoint.metric=loss")
    # In the run's own batches: a correlation of nearly equal predictions magnifies rounding.
    words = [str(run), "--data", str(files / "dev.csv"), "--batch-size", "8"]
    metrics = evaluation(capsys, *words, out=tmp_path / "m.json")
    assert_agree(metrics, run)
    assert set(metrics) == {"loss", "pearson", "spearman", "rows"}
    rows = predictions(capsys, str(run), "--data", str(files / "dev.csv"))
    values = [line.rsplit(",", 1)[1] for line in (files / "dev.csv").read_text().splitlines()[1:]]
    errors = [row["value"] - float(value) for row, value in zip(rows, values, strict=True)]
    np.testing.assert_allclose(np.mean(np.square(errors)), results(run)["eval_loss"], rtol=1e-4)


def error(capsys, *words: str) -> str:
    """The one line that a user sees."""
    capsys.readouterr()
    assert main(list(words)) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jaxbert ")]
    assert len(shown) == 1
    return shown[0]


def test_mistakes_are_one_line_that_names_what_to_change(
    files, pretrained, classifier, configuration, capsys, tmp_path
):
    write(older := tmp_path / "older.jsonl", "predictions")
    predict = ["predict", str(classifier), "--data", str(files / "dev.tsv")]
    finetune = ["finetune", str(files / "finetune.yaml"), f"model={pretrained}"]
    finetune += [f"train={files / 'train.tsv'}", "--run", str(tmp_path / "run")]
    write(tmp_path / "dev.tsv", "sentence\tlabel", "The cat.\tanimal", "The car.\tmachine")
    for words, expected in (
        ([*finetune, "optimiser.learning_rate=1"], "did you mean 'optimizer'?"),
        ([*finetune, "optimizer.learning_rat=1"], "did you mean 'learning_rate'?"),
        ([*finetune, "optimizer.learning_rate=quick"], "'optimizer.learning_rate'"),
        ([*finetune, f"validation={tmp_path / 'dev.tsv'}"], "dev.tsv:3: label 'machine' is none"),
        ([*finetune, "task.columns.text=text"], "sentence, label"),
        ([*finetune, "max_seq_length=33"], "exceeds the model's max_position_embeddings=32"),
        ([*finetune, "another.yaml"], "expected one CONFIG.yaml"),
        (["pretrain", str(configuration)], "and no --run"),
        (["pretrain", "--run", "x"], "found no file"),
        (["pretrain", "nowhere.yaml", "--run", "x"], "nowhere.yaml: no such configuration"),
        (["pretrain", str(configuration), "--run", str(files)], "neither empty nor a run"),
        (["pretrain", str(configuration), "--run", str(pretrained)], "learning_rate was 0.003, is"),
        (["pretrain", str(configuration), f"store={files}", "--run", "x"], "not a token store"),
        (["evaluate", str(files), "--data", "x"], "holds no config.json"),
        (["evaluate", str(pretrained), "--data", "nowhere"], "no such token store"),
        (["predict", str(pretrained), "--data", str(files / "dev.tsvv")], "did you mean"),
        ([*predict, "--out", str(tmp_path / "no" / "where.jsonl")], "cannot be written: No such"),
        (["evaluate", str(pretrained), "--data", "x", "--stride", "0"], "--stride: a masked LM is"),
        (["evaluate", str(pretrained), "--data", "x", "task.a=1"], "task.a=1: a masked LM is eval"),
        (["predict", str(pretrained), "--data", "x", "--combine", "max"], "--combine: a masked LM"),
        ([*predict, "--glue-submission", "x", "--out", "y"], "--out: --glue-submission writes"),
        ([*predict, "--text-column", "no", "--out", str(older)], "no column no; the columns are"),
        (
            ["pretrain", str(configuration), "model.overrides.hidden_size=wide", "--run", "x"],
            "model.overrides: 'hidden_size': Input should be a valid integer",
        ),
    ):
        assert expected in error(capsys, *words), words
    assert not (tmp_path / "run").exists()
    assert not Path("x").exists()
    assert older.read_text() == "predictions\n", "a mistake has cost an older file"
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_the_schema_of_a_configuration_is_json(verb, capsys):
    assert main([verb, "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert "batch_size" in json.dumps(schema)
