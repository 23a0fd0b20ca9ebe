import datetime
import json
import re
import subprocess
import sys

import pytest
from report.written_runs import ROWS, Page, rows_of, write_run

from jaxbert.cli import main
from jaxbert.report.elements import Markup, element
from jaxbert.report.page import page_of
from jaxbert.report.reading import read_runs
from jaxbert.tasks.tables import Table

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
EVIL = '<script>alert("1")</script> & | ![x](http://evil.example/x.png)'


def page(*paths) -> str:
    return page_of(read_runs([*map(str, paths)]), NOW)


def assert_loads_nothing(text: str) -> None:
    read = Page(text)
    assert not {"script", "img", "link", "iframe", "object", "base", "use"} & {*read.tags}
    assert not any(name in ("href", "src", "xlink:href", "id") for name, _ in read.attributes)
    assert not any(name.startswith("on") for name, _ in read.attributes)
    # Not by the style either.
    assert "url(" not in text
    assert "@import" not in text


def test_a_page_of_one_run_says_how_it_went(tmp_path):
    results = {"eval_loss": 2.5, "step": 40, "train_loss": 2.75}
    text = page(write_run(tmp_path / "base", results=results))
    assert_loads_nothing(text)
    read = Page(text)
    for words in ("Pretraining; finished, step 40 of 40", "best 2.000 at step 30", "2.750"):
        assert read.says(words), words
    for title in ("Evaluation", "Curves", "Where the time went", "Configuration", "Data"):
        assert title in read.texts
    assert read.says("goodput 69.8%")
    assert read.says("a1b2")
    assert read.tags.count("figure") == 2
    assert read.says("The same at every step: gradient norm 1.500.")
    # What is not the default comes first.
    assert text.index("optimizer.learning_rate") < text.index("optimizer.b1")
    assert read.says("The 6 options at their defaults")


def test_texts_of_data_names_and_options_are_never_markup(tmp_path):
    table = Table("Worst mistakes", ("text", "label"), ((EVIL, "<b>"), ("a | b", "")))
    run = write_run(
        tmp_path / "<script>x",
        rows=[*ROWS, {"step": 40, "eval/<script>": 1.0}],
        data="<script>",
        kind="<script>",
        store=EVIL,
        results={"eval_loss": 2.5, "step": 40, "<script>": 1.0},
        tables={"<script>": [table]},
        notes=[EVIL],
    )
    other = write_run(tmp_path / "other", kind="<script>", store="x")
    for text in (page(run), page(run, other)):
        assert_loads_nothing(text)
        assert "<script" not in text
        assert "<script>x" in Page(text).texts
    read = Page(page(run))
    # Markdown's own escapes are undone, so that texts are what they were in the data.
    assert EVIL in read.texts
    assert "a | b" in read.texts
    assert "Evaluation in detail: <script>" in read.texts


def test_a_name_that_is_no_unicode_is_written(tmp_path):
    text = page(write_run(tmp_path / "run-\udcff"))
    assert "run-?" in Page(text).texts
    text.encode()


def test_content_is_escaped_unless_it_is_markup():
    assert element("p", "a<b", Markup("<br/>"), None, title='"&') == (
        '<p title="&quot;&amp;">a&lt;b<br/></p>'
    )


@pytest.mark.parametrize("outcome", [None, "preempted"])
def test_a_run_without_evaluation_that_has_not_ended_has_a_page(tmp_path, outcome):
    rows = rows_of({step: 1.0 / step for step in range(1, 4)}, {})
    read = Page(page(write_run(tmp_path / "run", rows=rows, outcome=outcome, chosen=None)))
    assert "Evaluation" not in read.texts
    assert read.says("step 3 of 40")
    assert read.says("preempted" if outcome else "not ended (running, killed or failed)")
    begun = write_run(tmp_path / "begun", rows=[], outcome=None)
    assert Page(page(begun)).says("No step has been logged yet.")


def test_several_runs_are_a_table_of_what_differs_and_charts_of_all(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"seed-{seed}", seed=seed, rows=rows_of({1: 2.0}, {1: 3.0 + seed}))
    text = page(tmp_path)
    assert_loads_nothing(text)
    read = Page(text)
    assert read.says("Their configurations differ in one option: seed.")
    assert read.says("3.500 ± 0.707")
    assert read.says("mean of 2 (seeds 0, 1)")
    assert read.says("All of them have the same data.")
    assert re.findall(r'<span class="best">([^<]+)<', text) == ["3.000"]
    assert not read.says("optimizer.b1")


def test_other_data_is_shown(tmp_path):
    write_run(tmp_path / "a", data="1111")
    write_run(tmp_path / "b", data="2222")
    read = Page(page(tmp_path))
    assert read.says("Not all of them have the same data")
    assert {"1111", "2222"} <= {*read.texts}


def test_kinds_stand_one_after_the_other(tmp_path):
    for name, kind in (("a", "pretrain"), ("b", "finetune"), ("c", "finetune")):
        write_run(tmp_path / name, kind=kind)
    read = Page(page(tmp_path))
    assert read.texts.index("Pretraining: 1 run") < read.texts.index("Fine-tuning: 2 runs")


def test_a_long_run_makes_a_small_page_that_says_it_is_thinned(tmp_path):
    number = 10_000
    rows = ({"step": s, "loss": 5 - s / number, "grad_norm": s % 7 + 1.0} for s in range(number))
    text = page(write_run(tmp_path / "long", rows=rows))
    assert len(text) < 60_000
    assert Page(text).says("Curves of more than 400 values")
    several = [
        write_run(tmp_path / name, rows=rows_of(dict.fromkeys(range(1, 301), 1.0), {}))
        for name in "abc"
    ]
    assert Page(page(*several)).says("Curves of more than 200 values")
    assert not Page(page(several[0])).says("Curves of more than")


def test_what_is_not_finite_is_told_beside_the_chart(tmp_path):
    rows = [{"step": s, "loss": None if s in (3, 5) else 1.0 / s} for s in range(1, 9)]
    read = Page(page(write_run(tmp_path / "run", rows=rows)))
    assert read.says("training: not finite at steps 3 to 5")
    never = Page(page(write_run(tmp_path / "never", rows=[{"step": 1, "loss": None}])))
    assert never.says("training: not finite at step 1")
    assert "svg" not in never.tags


def test_the_verb_writes_the_page_into_the_run_or_where_it_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, batch_size=len(name))
    for words, file in (
        (["runs/a"], "runs/a/report.html"),
        (["runs"], "runs/report.html"),
        (["runs/a", "runs/b"], "report.html"),
        (["runs/a", "--out", "x.html"], "x.html"),
    ):
        assert main(["report", *words]) == 0
        assert f"the page is {file}\n" in capsys.readouterr().out
        assert Page((tmp_path / file).read_text()).tags[0] == "html"
    assert main(["report", "runs/a", "--out", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>\n")
    # The page is no part of a run.
    assert len(read_runs(["runs"])) == 2


def test_the_figures_are_a_table_or_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for seed in (0, 1):
        rows = rows_of({1: 2.0}, {1: 3.0 + seed})
        write_run(tmp_path / f"seed-{seed}", seed=seed, rows=rows)
    words = ["report", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    assert not (tmp_path / "report.html").exists()
    found = json.loads(capsys.readouterr().out)
    assert [run["options"] for run in found["runs"]] == [{"seed": 0}, {"seed": 1}]
    assert found["runs"][0]["metrics"] == {
        "loss": {"final": 3.0, "step": 1, "best": 3.0, "best_step": 1}
    }
    [mean] = found["means"]
    assert mean["metrics"] == {"loss": {"mean": 3.5, "deviation": 0.5**0.5}}
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.search(r"seed-0 .* 0 .* 3\.000\* .* finished", line) for line in lines)
    assert any(re.search(r"mean of 2 .* 3\.500 ± 0\.707", line) for line in lines)
    assert main(["report", str(tmp_path / "seed-0")]) == 0
    assert "Pretraining; finished, step 1 of 40" in capsys.readouterr().out


def test_a_narrow_terminal_gets_whole_figures_and_whole_names(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    metrics = [f"metric_number_{number}" for number in range(9)]
    names = [f"batch_size={size},learning_rate=0.0001" for size in (16, 32)]

    def told(numbers) -> list[str]:
        for number in numbers:
            values = {f"eval/{name}": number + 0.25 for name in metrics}
            path = tmp_path / names[number % 2] / f"seed-{number}"
            write_run(path, seed=number, rows=[{"step": 1, **values}])
        assert main(["report", str(tmp_path)]) == 0
        text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        for number in numbers:
            assert f"{names[number % 2]}/seed-{number}\n" in text
        lines = text.splitlines()
        assert max(len(line) for line in lines if line[0] in "┏┃│└") <= 80
        return lines

    # Runs beside each other, of which every metric is there.
    lines = told(range(2))
    assert all(any(f"│ {name} " in line for line in lines) for name in metrics)
    # Below each other, with as many metrics as there is room for.
    lines = told(range(2, 14))
    assert any(re.search(r"│ 14 +│ +13 +│ +13\.25\* ", line) for line in lines)
    assert any(line.startswith("on the page") and metrics[-1] in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x.txt"], "--out x.txt: is written as a page: expected .html"),
        (["--out", "gs://b/x.html"], "a URL, where only a path of this machine"),
        (["--out", "no/where/x.html"], "cannot be written: No such file"),
        (["--out", "-", "--json"], "both are standard output: name a file"),
    ],
)
def test_a_page_that_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    assert main(["report", "run", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_page_is_made_without_jax(tmp_path):
    run = write_run(tmp_path / "run")
    code = (
        "import sys\nfrom jaxbert.cli import main\n"
        f"assert main(['report', {str(run)!r}]) == 0\n"
        "heavy = ('jax', 'flax', 'orbax', 'optax', 'pydantic')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
