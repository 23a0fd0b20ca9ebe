"""What the command line answers without loading JAX."""

import argparse
import errno
import io
import logging
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from jaxbert.cli import VERBS, main, parse, reporting
from jaxbert.cli.figures import print_figures, shown
from jaxbert.cli.predictions import lines_of
from jaxbert.errors import UserError


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_shows_an_example(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"example:\n  jaxbert {verb}" in shown


def test_standard_output_of_another_encoding_gets_escapes(monkeypatch):
    def run(_):
        print("é", *lines_of([{"text": "é"}], None))
        return 0

    monkeypatch.setattr("jaxbert.cli.goodput.run", run)
    escaped, plain = b'\\xe9 {"text": "\\u00e9"}\n', 'é {"text": "é"}\n'.encode()
    for encoding, expected in (("ascii", escaped), ("utf-8", plain)):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["goodput", "a"]) == 0
        out.flush()
        assert out.buffer.getvalue() == expected


def test_an_empty_word_after_a_flag_is_an_override_like_others():
    words = ["finetune", "c.yaml", "--run", "runs/a", "seed=1", ""]
    assert parse(words).overrides == ["seed=1", ""]


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_of_a_verb_has_a_help_text(verb):
    parser = argparse.ArgumentParser()
    import_module(f"jaxbert.cli.{verb.replace('-', '_')}").add_arguments(parser)
    without = [each.option_strings or each.dest for each in parser._actions if not each.help]
    assert without == []


def test_the_readme_has_a_table_of_all_verbs():
    lines = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split("\n")
    rows = []
    for verb in VERBS:
        module = import_module(f"jaxbert.cli.{verb.replace('-', '_')}")
        rows.append(f"| `{verb}` | {module.HELP} |")
    start = lines.index("| verb | what it does |") + 2
    assert lines[start : start + len(rows) + 1] == [*rows, ""]


def test_help_is_answered_without_any_heavy_import():
    heavy = "jax flax optax orbax torch tensorflow transformers grain scipy sklearn numpy pydantic"
    code = (
        "import sys\nfrom jaxbert.cli import main\n"
        "try:\n    main(['pretrain', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {heavy.split()} if m in sys.modules], file=sys.stderr)"
    )
    done = python(code)
    assert "--run RUN" in done.stdout
    assert done.stderr.strip() == "[]"


def test_importing_the_package_imports_no_framework():
    code = (
        "import sys, jaxbert\ndir(jaxbert)\n"
        "print([m for m in ('jax', 'flax', 'torch', 'tensorflow', 'numpy') if m in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"


def test_loading_everything_that_trains_imports_neither_torch_nor_tensorflow():
    code = (
        "import sys, jaxbert.experiment.finetune, jaxbert.experiment.inference\n"
        "import jaxbert.experiment.pretrain\n"
        "print([m for m in ('torch', 'tensorflow', 'transformers') if m in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words",
    [
        *(["nonsense"], [], ["pretrain", "a.yaml", "--rum", "x"]),
        *(["evaluate", "a", "b", "--data", "c"], ["predict", "a", "--data", "b", "--top-k", "0"]),
        *(["predict", "a", "--data", "b", "--batch-size", "many"], ["demo", "--steps", "-1"]),
    ],
)
def test_wrong_words_are_answered_with_the_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: jaxbert" in capsys.readouterr().err


def test_an_interruption_from_the_keyboard_is_one_line(monkeypatch, capsys):
    def interrupted(*_words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxbert.cli.info.run", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "jaxbert info: interrupted\n"


def test_figures_are_shown_in_full_where_they_are_counts():
    assert [shown(value) for value in (1_234_567, 0.8125, 0.0, 0.00004, 97.34774)] == [
        *("1,234,567", "0.8125", "0.0000", "4.000e-05", "97.3477")
    ]


@pytest.mark.parametrize(
    ("number", "file", "message"),
    [
        (errno.ENOSPC, None, "runs/a: No space left on device: make room, and give the same"),
        (errno.EROFS, "runs/a/x", "runs/a/x: Read-only file system: name another place, or"),
    ],
)
def test_a_disk_that_takes_no_more_is_said_in_one_line(number, file, message, monkeypatch, capsys):
    def run(arguments: argparse.Namespace) -> int:
        raise OSError(number, os.strerror(number), file)

    monkeypatch.setattr("jaxbert.cli.finetune.run", run)
    assert main(["finetune", "config.yaml", "--run", "runs/a"]) == 2
    assert capsys.readouterr().err.startswith(f"jaxbert finetune: {message}")


def test_more_than_memory_holds_is_said_in_one_line(monkeypatch, capsys):
    def run(arguments: argparse.Namespace) -> int:
        np.empty(2**57)
        return 0

    monkeypatch.setattr("jaxbert.cli.adapt.run", run)
    assert main(["adapt", "a", "b", "--positions", str(2**57)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("jaxbert adapt: Unable to allocate 1.00 EiB")
    assert err.endswith("ask for less, or use a machine with more memory\n")


def test_other_errors_of_the_machine_keep_their_trace(monkeypatch):
    def run(arguments: argparse.Namespace) -> int:
        raise FileNotFoundError(errno.ENOENT, "gone", "a")

    monkeypatch.setattr("jaxbert.cli.info.run", run)
    with pytest.raises(FileNotFoundError):
        main(["info"])


def test_what_orbax_logs_before_it_raises_is_not_printed_as_well(monkeypatch):
    given: list[logging.Handler] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **options: given.extend(options["handlers"]))
    reporting.show_warnings()
    [handler] = given

    def shown(name: str, error: BaseException | None) -> bool:
        found = None if error is None else (type(error), error, None)
        record = logging.LogRecord(name, logging.WARNING, "", 0, "told", (), found)
        return bool(handler.filter(record))

    assert shown("absl", None)
    assert shown("jaxbert", ValueError())
    assert not shown("absl", ValueError())


def test_names_of_figures_are_no_markup(capsys):
    print_figures("runs/[a]", {"f1_[/PER]": 0.5, "f1_[b]": 0.25})
    out = capsys.readouterr().out
    assert all(name in out for name in ("runs/[a]", "f1_[/PER]", "f1_[b]"))


def test_a_message_cannot_command_the_terminal(monkeypatch, capsys):
    def run(arguments: argparse.Namespace) -> int:
        raise UserError("column \x1b]0;title\x07 \x9b31m é\tis none")

    monkeypatch.setattr("jaxbert.cli.info.run", run)
    assert main(["info"]) == 2
    assert (
        capsys.readouterr().err
        == "jaxbert info: column \ufffd]0;title\ufffd \ufffd31m é\tis none\n"
    )
