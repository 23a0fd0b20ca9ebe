import re
import tomllib
from pathlib import Path

import jaxbert

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there():
    for name in jaxbert.__all__:
        assert getattr(jaxbert, name).__name__ == name
    assert set(jaxbert.__all__) < set(dir(jaxbert))


def test_the_readme_says_what_every_extra_is_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [table] = re.findall(
        r"^\| extra \|.*\n\|---.*\n((?:\|.*\n)+)", (ROOT / "README.md").read_text("utf-8"), re.M
    )
    named = [
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert sorted(named) == sorted(project["optional-dependencies"])
