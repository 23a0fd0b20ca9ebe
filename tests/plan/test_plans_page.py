"""The page of plans says what was compiled, and nothing else."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plans():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module("plans")


def test_the_table_is_that_of_the_results(plans):
    page = plans.PAGE.read_text(encoding="utf-8")
    known = json.loads(plans.RESULTS.read_text(encoding="utf-8"))
    assert plans.with_table(page, plans.table(known)) == page
    cases = {(name, each) for name, case in plans.CASES.items() for each in case.topologies}
    assert {(name, each) for name, by_topology in known.items() for each in by_topology} <= cases
    assert len(plans.table(known)) == 2 + len(cases)


def test_the_table_takes_the_place_of_the_old_one(plans):
    page = "above\n\n| old |\n|---|\n| row |\n\nbelow\n\n| another |\n"
    assert plans.with_table(page, ["| new |"]) == "above\n\n| new |\n\nbelow\n\n| another |\n"


def test_what_does_not_fit_is_refused_or_unknown_is_told(plans):
    figures = {"temporaries": 20.0 * 2**30, "memory": 15.75 * 2**30}
    phase = {"rows": 32, "tokens": 512, "fits": False, "figures": figures}
    found = {"settings": ["a=1"], "commit": "abc", "phases": [phase]}
    known = {
        "BERT-large, phase 1": {"v5e:2x4": found},
        "BERT-large, phase 2": {
            "v6e:2x4": {"settings": [], "commit": "abc", "refused": "mesh: no"}
        },
    }
    rows = sorted(plans.table(known)[2:], key=lambda row: "not compiled" in row)
    assert rows[0].startswith(
        "| BERT-large, phase 1 | v5e:2x4 | 32 x 512 | **no** | 20.0 of 15.8 |"
    )
    assert rows[0].endswith("| a=1 | abc |")
    assert "| refused: mesh: no |" in rows[1]
    assert all("| not compiled yet |" in row for row in rows[2:])
    assert len({row.count("|") for row in rows}) == 1
