"""Every jaxbert command that the documentation shows is one that the command line takes."""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from jaxbert.cli import VERBS, parse
from jaxbert.cli.sweeps import points_of
from jaxbert.cli.training import words_of
from jaxbert.config import load_config
from jaxbert.errors import UserError
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.recipe import load_finetune

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tpu" / "README.md"]
SCRIPTS = [*sorted((ROOT / "examples").glob("*.py")), *sorted((ROOT / "tpu").rglob("*.[sp][hy]"))]
CONFIGS = sorted((ROOT / "configs").glob("*/*.yaml"))

_COMMAND = re.compile(r"(?:^|\$|--|\||\b(?:Command|Store|then):) *jaxbert +(\S.*)")
_SETTING = re.compile(r"(?<![^\s'\"`])['\"]?[a-z_]+(?:\.[a-z_]+)*=")


@dataclass(frozen=True)
class Command:
    """A command as it is written, and where."""

    place: str
    text: str
    settings: tuple[str, ...] = ()
    """Words that the same header names as additions to it."""

    @property
    def words(self) -> list[str]:
        """As a shell gives them to jaxbert, with what stands for some name left as it is."""
        words = shlex.split(self.text, comments=True)
        return words[: words.index(">")] if ">" in words else words

    def __str__(self) -> str:
        return f"{self.place}: {self.text[:60]}"


def lines_of(text: str) -> list[str]:
    """Lines, with those that a backslash continues made one, as a shell does."""
    return re.sub(r"[ \t]*\\+\n[ \t]*", " ", text).split("\n")


def commands_in(lines: list[str], place: str) -> Iterator[Command]:
    for line in lines:
        if found := _COMMAND.search(line.strip()):
            # Some are the last of the string, or of the brackets, that they stand in.
            yield Command(place, found[1].removesuffix('"""').removesuffix(")"))


def of_page(page: Path) -> Iterator[Command]:
    """What stands in code blocks, and between backticks."""
    text = page.read_text(encoding="utf-8")
    blocks = [line if line.startswith("    ") else "" for line in text.split("\n")]
    yield from commands_in(lines_of("\n".join(blocks)), page.name)
    prose = "\n".join(line for line in text.split("\n") if not line.startswith("    "))
    for found in re.findall(r"`jaxbert\s([^`]+)`", prose):
        yield Command(page.name, " ".join(found.split()))


def of_config(path: Path) -> Iterator[Command]:
    """The header's commands; the one that trains has the settings named beside it."""
    header = [line for line in path.read_text(encoding="utf-8").split("\n") if line[:1] == "#"]
    lines = lines_of("\n".join(line[1:] for line in header))
    settings = tuple(word for line in lines if not _COMMAND.search(line) for word in _named(line))
    for command in commands_in(lines, f"{path.parent.name}/{path.name}"):
        trains = path.name in command.text
        yield Command(command.place, command.text, settings if trains else ())


def _named(line: str) -> Iterator[str]:
    """The words of prose that are settings, each cut off where a shell would."""
    for found in _SETTING.finditer(line):
        words = shlex.shlex(line[found.start() :], posix=True)
        words.whitespace_split, words.commenters = True, ""
        word = (words.get_token() or "").rstrip(",:;`")
        if not word.endswith("=..."):
            yield word


def documented() -> list[Command]:
    found = [command for page in PAGES for command in of_page(page)]
    for script in SCRIPTS:
        lines = lines_of(script.read_text(encoding="utf-8"))
        found += commands_in(lines, str(script.relative_to(ROOT)))
    found += [command for path in CONFIGS for command in of_config(path)]
    for verb in VERBS:
        example = import_module(f"jaxbert.cli.{verb.replace('-', '_')}").EXAMPLE
        found += commands_in(lines_of(example), f"{verb} --help")
    return found


DOCUMENTED = documented()


def resolved(command: Command) -> Any:
    """The configuration that the command trains with or plans; None where it names none of ours."""
    arguments = parse(command.words)
    if getattr(arguments, "schema", None):
        return None
    if arguments.verb == "plan":
        file, overrides = arguments.config, arguments.overrides
    else:
        file, overrides = words_of(arguments)
    if not (ROOT / file).is_file():
        return None
    overrides = [
        # What an earlier command makes is not there to be read.
        *(word for word in overrides if not word.startswith("model=runs/")),
        *command.settings,
    ]

    def load(given: Sequence[str], say: Callable[[str], None]) -> Any:
        if "/finetune/" in file:
            return load_finetune(ROOT / file, given, reads_data=False)
        return load_config(Pretrain, ROOT / file, given)

    if arguments.verb == "plan":
        return load(overrides, print)
    [first, *_], _ = points_of(arguments, overrides, load)
    return first.config


def test_commands_are_found_everywhere():
    places = {command.place for command in DOCUMENTED}
    assert {"README.md", "tpu/run.py", "tpu/gke/jobset.sh"} < places
    assert {f"{verb} --help" for verb in VERBS} < places
    assert {f"{path.parent.name}/{path.name}" for path in CONFIGS} < places
    assert len(DOCUMENTED) > 80


@pytest.mark.parametrize("command", DOCUMENTED, ids=str)
def test_a_documented_command_is_taken(command: Command):
    words = command.words
    if len(words) == 1 or words[-1] == "...":
        assert words[0] in (*VERBS, "...")
        return
    if parse(words).verb in ("pretrain", "finetune", "plan"):
        resolved(command)


def settings_of(page: Path) -> list[str]:
    """What stands between backticks in the last columns of its tables and sets options."""
    rows = [line for line in page.read_text(encoding="utf-8").split("\n") if line[:2] == "| "]
    found = [text for row in rows for text in re.findall(r"`([^`]+)`", row.split(" | ")[-1])]
    return [text for text in found if re.match(r"[a-z_]+(\.[a-z_]+)*=[^(]+$", text)]


@pytest.mark.parametrize("settings", settings_of(ROOT / "docs" / "migrating.md"))
def test_what_options_of_others_are_called_here_is_taken(settings: str):
    bases = ("pretrain/bert_base", "finetune/classification", "finetune/mrpc", "finetune/squad")
    bases += ("finetune/sentence_embedding", "finetune/splade")
    refused = []
    for base in bases:
        verb, path = base.split("/")[0], f"configs/{base}.yaml"
        try:
            resolved(Command("migrating.md", f"{verb} {path} {settings} --run r"))
        except UserError as error:
            refused.append(error)
    assert len(refused) < len(bases), refused


def command_of(config: str) -> Command:
    [command] = [c for c in of_config(ROOT / "configs" / config) if config in c.text]
    return command


@pytest.mark.parametrize(
    ("config", "row"),
    [
        (
            "finetune/multiple_choice.yaml",
            {"article": "a", "question": "q", "options": ["w", "x", "y", "z"], "answer": "B"},
        ),
        (
            "finetune/sentence_embedding.yaml",
            {"sentence1": "a", "sentence2": "b", "score": 2.5},
        ),
    ],
)
def test_settings_for_another_data_set_read_its_rows(config, row, tmp_path):
    """RACE's columns and STS-B's, as they are published."""
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(row) + "\n", encoding="utf-8")
    task = resolved(command_of(config)).task
    [read] = task.read(str(data), labelled=True)
    assert set(read.values) == set(row)


@pytest.mark.parametrize(
    "words",
    [
        *("finetun configs/finetune/mrpc.yaml --run r", "pretrain a.yaml --rum r"),
        *("finetune configs/finetune/mrpc.yaml trian=a.tsv --run r", "adapt a b --how fast"),
    ],
)
def test_a_command_with_a_mistake_is_not_taken(words):
    with pytest.raises((SystemExit, UserError)):
        test_a_documented_command_is_taken(Command("here", words))
