"""What all processes have to have alike; of other processes only the answers are played here."""

from pathlib import Path

import pytest

from jaxbert.errors import UnreachableError
from jaxbert.experiment import alike


@pytest.mark.parametrize("theirs", [4, None])
def test_processes_that_see_other_checkpoints_do_not_go_on(monkeypatch, theirs):
    monkeypatch.setattr(alike, "of_all", lambda value: [value, theirs])
    with pytest.raises(UnreachableError, match=r"process 1 sees there is (4|None), and process 0"):
        alike.check_same_step(6, Path("run/checkpoints"))


@pytest.mark.parametrize("latest", [6, None])
def test_processes_that_see_the_same_checkpoints_go_on(latest):
    alike.check_same_step(latest, Path("run/checkpoints"))
