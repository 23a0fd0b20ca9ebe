"""Grids from the command line, of runs of a tiny model."""

import json
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import pytest
import yaml
from experiment.small_runs import MODEL, write_labelled

import jaxbert
from jaxbert.cli import main, parse
from jaxbert.cli.sweeps import points_of
from jaxbert.cli.training import words_of
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.recipe import load_finetune
from jaxbert.hub.save import save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """`finetune` of a model that has learnt nothing, without --run."""
    directory = tmp_path_factory.mktemp("sweeps")
    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "tree", "."]
    (directory / "vocab.txt").write_text("\n".join(letters) + "\n")
    tokenizer = jaxbert.load_tokenizer(directory / "vocab.txt", lowercase=True)
    config, head = EncoderConfig(vocab_size=10, **MODEL["overrides"]), Head("masked_lm")
    params = init_params(config, head, seed=0)
    save_params(params, config, head, tokenizer, directory / "model")
    values = {
        "model": str(directory / "model"),
        "train": str(write_labelled(directory / "train.tsv", 24, seed=1)),
        "validation": str(write_labelled(directory / "dev.tsv", 13, seed=2)),
        "max_seq_length": 16,
        "batch_size": 8,
        "num_steps": 3,
        "optimizer": {"learning_rate": 5e-3},
        "loop": {"log_every": 1, "checkpoint_every": None},
    }
    (directory / "finetune.yaml").write_text(yaml.safe_dump(values))
    return ["finetune", str(directory / "finetune.yaml")]


def files_of(run: Path) -> dict[str, int]:
    """What has been written when, below a directory."""
    paths = (path for path in run.rglob("*") if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in paths}


def rows_of(table: str) -> list[list[str]]:
    """The cells of every row that has values."""
    lines = [line for line in table.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_a_grid_is_trained_summed_up_extended_and_used(words, tmp_path, capsys):
    run = tmp_path / "run"
    words = [*words, "--run", str(run)]
    before = len(jax.live_arrays()), threading.active_count()
    assert main([*words, "--sweep", "optimizer.learning_rate=1e-3,1e25"]) == 0
    assert (len(jax.live_arrays()), threading.active_count()) == before, "something is left behind"
    said = capsys.readouterr().out
    assert "learning_rate=1e+25 counts as nan" in said
    assert f"the best is {run}/learning_rate=0.001" in said
    first = run / "learning_rate=0.001"
    results = json.loads((first / "all_results.json").read_text())
    (_, loss, accuracy, *_), diverged = rows_of(said)
    assert (loss, accuracy) == (f"{results['eval_loss']:.4f}", f"{results['eval_accuracy']:.4f}")
    assert diverged[:2] == ["1e+25", "nan"]
    written = files_of(first)
    assert main([*words, "--sweep", "optimizer.learning_rate=2e-2,1e25,1e-3"]) == 0
    assert files_of(first) == written, "a run that has ended was trained again"
    said = capsys.readouterr().out
    assert "2 of 3 runs had ended already\nrun 3 of 3: learning_rate=0.02\n" in said
    summary = json.loads((run / "sweep.json").read_text())
    losses = [float(row[1]) for row in rows_of(said)]
    assert losses[:2] == sorted(losses[:2])
    assert [point["values"]["optimizer.learning_rate"] for point in summary["points"]] == [
        float(row[0]) for row in rows_of(said)
    ]
    assert summary["best"] == f"learning_rate={rows_of(said)[0][0]}"
    assert (run / "sweep.png").stat().st_size > 1000
    texts = tmp_path / "texts.txt"
    texts.write_text("The old cat sees the tree.\n")
    best = str(run / summary["best"])
    assert main(["predict", best, "--data", str(texts)]) == 0
    assert main(["predict", str(run), "--data", str(texts)]) == 2
    assert f"name one, such as the best, {best}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--sweep", "batch_sise=8,16"], "unknown key 'batch_sise': did you mean 'batch_size'?"),
        (["--sweep", "batch_size=8,16,wide"], "'batch_size': Input should be a valid integer"),
        (["--sweep", "batch_size=8,12"], "batch_size=12 is not a multiple"),
        (["--sweep", "optimizer.freeze_layers=0,1,7"], "freeze_layers=7"),
        (["--sweep", "max_seq_length=16,33"], "max_seq_length=33 exceeds the model's"),
        (["--sweep", "model=bert,./nowhere"], "nowhere"),
        (["--sweep", "seed=1,2", "--seeds", "2"], "--sweep seed: --seeds says which too"),
        (["--sweep", "seed=1,-2"], "'seed': Input should be greater than or equal to 0"),
        (["--sweep", "batch_size=8", "batch_size=16"], "batch_size= is given too"),
        (["--sweep", "batch_size=8,16", "validation=null"], "which run is the best is said by"),
    ],
)
def test_a_mistake_in_any_run_is_one_line_before_the_first(
    words, given, expected, tmp_path, capsys
):
    assert main([*words, "--run", str(tmp_path / "run"), *given]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "jaxbert finetune:" in line]
    assert len(lines) == 1
    assert expected in lines[0]
    assert not (tmp_path / "run").exists()


def test_seeds_are_those_of_their_key_or_follow_the_configurations(words):
    def seeds(*given: str) -> tuple[int, list[int] | None]:
        arguments = parse([*words, "--run", "r", *given])
        file, overrides = words_of(arguments)

        def load(given: Sequence[str], say: Callable[[str], None]) -> Finetune:
            return load_finetune(file, given, say=say)

        points, seeds = points_of(arguments, overrides, load)
        return len(points), seeds

    assert seeds("--sweep", "batch_size=8,16") == (2, None)
    assert seeds("--sweep", "batch_size=8,16", "--seeds", "2", "seed=5") == (2, [5, 6])
    assert seeds("--sweep", "batch_size=8,16", "--sweep", "seed=7,1") == (2, [7, 1])
    assert seeds("--seeds", "2") == (1, [0, 1])


def test_other_data_are_found_out_before_they_are_compared(words, tmp_path, capsys):
    """In the place of those of runs that have ended, or beside them."""
    values = yaml.safe_load(Path(words[1]).read_text())
    train = tmp_path / "train.tsv"
    shutil.copy(values["train"], train)
    words = [*words, "--run", str(tmp_path / "run"), f"train={train}", "num_steps=1", "--sweep"]
    assert main([*words, "optimizer.learning_rate=1e-3"]) == 0
    write_labelled(train, 24, seed=3)
    assert main([*words, "optimizer.learning_rate=2e-3,1e-3"]) == 2
    write_labelled(other := tmp_path / "other.tsv", 24, seed=4)
    assert main([*words, "optimizer.learning_rate=2e-3,1e-3", f"train={other}"]) == 2
    why = "run/learning_rate=0.001: the training data is not what the run had, and what is compared"
    assert capsys.readouterr().err.count(why) == 2
    assert not (tmp_path / "run" / "learning_rate=0.002").exists()
