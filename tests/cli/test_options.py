"""What --schema prints: every option of a configuration, described."""

import json
from pathlib import Path
from typing import Any

import pytest

from jaxbert.cli import main
from jaxbert.config import json_schema
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain

PAGE = Path(__file__).parents[2] / "docs" / "options.md"


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_the_page_of_options_is_what_either_verb_prints(verb, capsys):
    assert main([verb, "--schema=markdown"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), (
        "run: jaxbert pretrain --schema=markdown > docs/options.md"
    )


@pytest.mark.parametrize("config", [Pretrain, Finetune])
def test_every_option_has_a_description_in_the_schema(config):
    schema = json_schema(config)
    without = [
        f"{section}.{key}"
        for section, described in [("", schema), *schema["$defs"].items()]
        for key, option in described["properties"].items()
        if not says_something(option, schema["$defs"])
    ]
    assert without == []


def says_something(option: dict[str, Any], sections: dict[str, Any]) -> bool:
    """A section may be described by its own text, and a `kind` says which section it is of."""
    if "$ref" in option:
        return bool(sections[option["$ref"].rpartition("/")[2]].get("description"))
    return bool(option.get("description")) or "const" in option


def test_the_schema_is_printed_as_json(capsys):
    assert main(["pretrain", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["seed"]["description"].startswith("Of initialisation")
    mesh = schema["$defs"]["MeshConfig"]["properties"]
    assert mesh["tensor"]["description"] == "Splits heads, feed-forward and vocabulary."


@pytest.mark.parametrize(
    ("verb", "text", "other"),
    [("pretrain", "train: a.tsv", "finetune"), ("finetune", "store: s", "pretrain")],
)
def test_a_configuration_of_the_other_verb_is_called_that(
    verb: str, text: str, other: str, tmp_path: Path, capsys: Any
):
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    assert main([verb, str(file), "--run", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"which makes it a configuration of jaxbert {other}" in " ".join(said.split())


def test_the_page_has_options_of_every_kind_of_section():
    page = PAGE.read_text(encoding="utf-8")
    for line in (
        "| `learning_rate` | number > 0 | `0.001` | The schedule's peak, for the head. |",
        "| `freeze_layers` | whole number ≥ 0 or `all` or `null` | `null` |",
        "## `task.columns` of `multiple_choice`",
        "### `kind: ngrams`",
        # A bar would end the cell.
        r"`encoder/layers/(10\|11)`",
    ):
        assert line in page
    assert page.count("## `task.mixture`") == 1
