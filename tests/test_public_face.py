import ast
import re
import tomllib
from pathlib import Path

import pytest

import jaxbert

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there():
    for name in jaxbert.__all__:
        assert getattr(jaxbert, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'from_pretraind'"):
        jaxbert.from_pretraind  # noqa: B018


def test_what_type_checkers_see_is_what_is_imported():
    statements = ast.parse(Path(jaxbert.__file__).read_text("utf-8")).body
    [block] = [statement for statement in statements if isinstance(statement, ast.If)]
    seen = {name.name: node.module for node in block.body for name in node.names}
    assert seen == jaxbert._HOMES
    assert jaxbert.__all__ == sorted(seen)


def test_the_readme_says_what_every_extra_is_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [table] = re.findall(
        r"^\| extra \|.*\n\|---.*\n((?:\|.*\n)+)", (ROOT / "README.md").read_text("utf-8"), re.M
    )
    named = [
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert sorted(named) == sorted(project["optional-dependencies"])


def test_files_that_the_documentation_names_are_there():
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]
    sources = [*ROOT.glob("jaxbert/**/*.py"), *ROOT.glob("configs/*/*.yaml")]
    missing = []
    for file in [*pages, *sources]:
        text = file.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([\w./-]+)\)", text) if file in pages else []
        named = re.findall(r"\bdocs/\w+\.md\b", text)
        missing += [(file.name, link) for link in links if not (file.parent / link).exists()]
        missing += [(file.name, page) for page in named if not (ROOT / page).exists()]
    assert missing == []
