from pathlib import Path

import fsspec
import pytest
from report.written_runs import CONFIG, ROWS, rows_of, write_run

from jaxbert.errors import UserError
from jaxbert.report.comparison import Score, compared, differing, flat
from jaxbert.report.reading import read_runs


def runs_at(*paths: Path):
    return read_runs([*map(str, paths)])


def comparison_of(*paths: Path):
    [comparison] = compared(runs_at(*paths))
    return comparison


@pytest.mark.parametrize(
    ("configs", "chosen", "keys"),
    [
        ([{"a": 1, "b": 2}, {"a": 1, "b": 3}], [{}, {}], ["b"]),
        ([{"a": 1}, {"a": 1}], [{}, {}], []),
        ([{"a": [1]}, {"a": [2]}, {"a": [1]}], [{}, {}, {}], ["a"]),
        # What an older version, or a section of another kind, has not.
        ([{"a": 1}, {"a": 1, "new": 0}], [{}, {}], []),
        ([{"a": 1}, {"a": 1, "new": 0}], [{}, {"new": 0}], ["new"]),
        ([{"a": 1}, {"a": 1, "new": 0}], [{}, None], ["new"]),
        # A section that one has and the other has not, all of it at its defaults or not.
        ([{"a": None, "b": 1}, {"a.x": 0, "b": 1}], [{}, {"a": {}}], ["a"]),
        ([{"a": None}, {"a.x": 1}], [{}, {"a.x": 1}], ["a.x"]),
        ([{"a": None}, {"a.b": None}, {"a.b.x": 0}], [{}, {"a": {}}, {"a.b": {}}], ["a.b"]),
    ],
)
def test_options_differ_where_two_runs_have_them_or_one_has_chosen_them(configs, chosen, keys):
    assert differing(configs, chosen) == keys


def test_a_section_at_its_defaults_is_told_from_none(tmp_path):
    write_run(tmp_path / "with", adversarial={"epsilon": 1.0}, chosen={"adversarial": {}})
    write_run(tmp_path / "without", adversarial=None)
    found = comparison_of(tmp_path)
    assert [found.value(place, "adversarial") for place in (0, 1)] == [{}, None]


def test_options_have_dotted_keys_and_lists_are_one_value():
    assert flat({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}}) == {
        "a.b.c": 1,
        "a.d": [1, {"e": 2}],
        "f": {},
    }


def test_runs_are_told_apart_by_options_and_the_best_is_known(tmp_path):
    one = write_run(tmp_path / "runs" / "one", results={"eval_loss": 2.5, "step": 40})
    faster = {"kind": "adamw", "learning_rate": 0.01, "b1": 0.9}
    better = rows_of({1: 3.0, 40: 1.0}, {40: 1.5})
    two = write_run(tmp_path / "runs" / "two", rows=better, optimizer=faster, batch_size=16)
    found = comparison_of(one, two)
    assert [run.name for run in found.runs] == ["one", "two"]
    assert found.options == ["batch_size", "optimizer.learning_rate"]
    assert [found.value(place, "batch_size") for place in (0, 1)] == [8, 16]
    # f1/a is a figure of one class.
    assert found.metrics == ["loss"]
    assert found.scores[0]["loss"] == Score(2.5, 40, 2.0, 30)
    assert found.scores[1]["loss"] == Score(1.5, 40, 1.5, 40)
    assert found.best == {"loss": [1]}
    assert found.groups == []


def test_the_model_that_a_run_has_left_counts_and_not_its_last_evaluation(tmp_path):
    results = {"eval_loss": 2.0, "step": 30}
    kept = {"metric": "loss", "mode": "auto"}
    ended = write_run(tmp_path / "ended", results=results, checkpoint=kept)
    # Figures of before it was continued.
    goes_on = write_run(tmp_path / "on", results=results, checkpoint=kept, outcome=None)
    found = comparison_of(ended, goes_on)
    assert found.scores[0]["loss"] == Score(2.0, 30, 2.0, 30)
    assert found.scores[1]["loss"] == Score(2.5, 40, 2.0, 30)


def test_more_of_an_accuracy_is_better_and_of_a_threshold_nothing_is(tmp_path):
    names = ("accuracy", "threshold", "own")
    for name, values in {"one": (0.5, 0.9, 0.3), "two": (0.7, 0.1, 0.2)}.items():
        rows = [{"step": 1} | {f"eval/{n}": v for n, v in zip(names, values, strict=True)}]
        write_run(tmp_path / name, rows=rows, checkpoint={"metric": "own", "mode": "min"})
    found = comparison_of(tmp_path)
    assert found.best == {"own": [1], "accuracy": [1], "threshold": []}
    assert found.metrics[0] == "own"
    assert found.scores[0]["threshold"] == Score(0.9, 1)


def test_runs_that_differ_in_their_seed_alone_have_mean_and_deviation(tmp_path):
    for rate in (0.1, 0.2):
        for seed, loss in enumerate((1.0, 2.0, 6.0)):
            write_run(
                tmp_path / f"rate-{rate}" / f"seed-{seed}",
                rows=rows_of({1: 1.0}, {1: loss + rate}),
                seed=seed,
                optimizer={"kind": "adamw", "learning_rate": rate},
            )
    found = comparison_of(tmp_path)
    assert found.options == ["seed", "optimizer.learning_rate"]
    assert [group.places for group in found.groups] == [[0, 1, 2], [3, 4, 5]]
    figure = found.groups[0].figures["loss"]
    assert figure.mean == pytest.approx(3.1)
    assert figure.deviation == pytest.approx(7**0.5)
    assert (found.best["loss"], found.best_groups["loss"]) == ([0], [0])


def test_a_directory_of_runs_is_all_of_them_in_order(tmp_path):
    for seed in (10, 2):
        write_run(tmp_path / "seeds" / f"seed-{seed}")
    (tmp_path / "seeds" / "notes").mkdir()
    assert [run.name for run in runs_at(tmp_path / "seeds")] == ["seed-2", "seed-10"]
    twice = runs_at(tmp_path / "seeds" / "seed-2", tmp_path / "seeds")
    assert [run.name for run in twice] == ["seed-2", "seed-10"]


def test_runs_of_a_sweep_are_in_the_order_of_its_values(tmp_path):
    names = ["rate=1e-05", "rate=0.00012", "rate=0.0002", "rate=2.5", "rate=10"]
    for name in reversed(names):
        write_run(tmp_path / name)
    assert [run.name for run in runs_at(tmp_path)] == names


def test_a_directory_of_sweeps_is_all_runs_of_these(tmp_path):
    write_run(tmp_path / "base")
    write_run(tmp_path / "sweep" / "batch_size=16" / "seed-0")
    assert [run.name for run in runs_at(tmp_path)] == ["base", "sweep/batch_size=16/seed-0"]


def test_a_run_is_named_also_where_one_stands_in_it(tmp_path, monkeypatch):
    write_run(tmp_path / "base")
    monkeypatch.chdir(tmp_path / "base")
    assert [run.name for run in read_runs(["."])] == ["base"]


def test_kinds_are_compared_apart(tmp_path):
    write_run(tmp_path / "a", kind="finetune")
    write_run(tmp_path / "b")
    write_run(tmp_path / "c", kind="finetune")
    found = [(each.kind, [run.name for run in each.runs]) for each in compared(runs_at(tmp_path))]
    assert found == [("finetune", ["a", "c"]), ("pretrain", ["b"])]


def test_a_run_that_was_killed_is_read_without_its_torn_line(tmp_path):
    run = write_run(tmp_path / "run", outcome=None)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "loss": 1.')
    [read] = runs_at(run)
    assert (read.step, read.outcome, read.has_ended) == (40, None, False)
    assert read.curves["loss"].last == (40, 2.0)


def test_a_run_that_has_only_begun_is_one(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    [run] = runs_at(tmp_path)
    assert (run.kind, run.step, run.curves, run.sessions) == ("run", 0, {}, [])


def test_what_is_no_run_or_damaged_is_one_line(tmp_path):
    with pytest.raises(UserError, match="none: no such directory: give run directories"):
        runs_at(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no run, which has a config\.yaml"):
        runs_at(tmp_path)
    run = write_run(tmp_path / "run", rows=[ROWS[0]])
    (run / "metrics.jsonl").write_text('{"step": 1}\n[1]\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a row as jaxbert writes it"):
        runs_at(run)


def test_an_evaluation_that_ended_in_no_number_is_no_better(tmp_path):
    nan = float("nan")
    write_run(tmp_path / "a", rows=rows_of({1: 1.0, 2: nan}, {1: 1.0, 2: nan}))
    write_run(tmp_path / "b", rows=rows_of({1: 1.0, 2: 1.0}, {1: 3.0, 2: 3.0}))
    found = comparison_of(tmp_path)
    assert str(found.scores[0]["loss"].final) == "nan"
    assert found.scores[0]["loss"].best == 1.0
    assert found.best["loss"] == [1]


def test_runs_in_a_bucket_are_read_by_their_url(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    for seed in (0, 1):
        run = write_run(tmp_path / f"seed-{seed}", seed=seed)
        for file in run.iterdir():
            system.pipe(f"memory://bucket/seeds/{run.name}/{file.name}", file.read_bytes())
    runs = read_runs(["memory://bucket/seeds/"])
    assert [run.place for run in runs] == [f"memory://bucket/seeds/seed-{n}" for n in (0, 1)]
    assert runs[1].config == CONFIG | {"seed": 1}
    system.rm("bucket", recursive=True)
