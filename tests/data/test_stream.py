"""Batches of several phases: every row in its place, whatever the step."""

from dataclasses import dataclass

import numpy as np
import pytest

from jaxbert.data.stream import Phase, Stream, evaluation_batches


@dataclass(frozen=True)
class Numbered:
    """Rows that say where in the stream they stand."""

    num_rows: int
    name: int = 0

    @property
    def num_evaluation_rows(self):
        return self.num_rows

    def rows(self, positions, step):
        return {
            "position": np.asarray(positions),
            "step": np.full(len(positions), step),
            "name": np.full(len(positions), self.name),
        }

    def evaluation_rows(self, numbers):
        return {"number": np.asarray(numbers)}


def test_batches_follow_one_another():
    stream = Stream([Phase(Numbered(10), 4)])
    positions = [stream.batch(step)["position"].tolist() for step in range(3)]
    assert positions == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert stream.batch(2)["step"].tolist() == [2] * 4


def test_phases_have_their_rows_and_batch_sizes():
    stream = Stream(
        [Phase(Numbered(10), 2), Phase(Numbered(10), 3, 2, 4), Phase(Numbered(7, 1), 1, 4)]
    )
    found = [stream.batch(step) for step in range(6)]
    assert [batch["position"].tolist() for batch in found] == [
        [0, 1],
        [2, 3],
        [4, 5, 6],
        [7, 8, 9],
        [0],
        [1],
    ]
    assert [batch["name"][0] for batch in found] == [0, 0, 0, 0, 1, 1]


def test_the_digest_is_of_the_first_rows_and_nothing_else():
    def digest(*phases: Phase) -> str:
        return Stream(phases).digest()

    found = digest(Phase(Numbered(10), 4))
    assert found == digest(Phase(Numbered(10), 4), Phase(Numbered(7, 1), 2, 1))
    assert found != digest(Phase(Numbered(10, 1), 4))
    assert found != digest(Phase(Numbered(10), 4, first_row=1))
    assert digest(Phase(Numbered(90), 8)) == digest(Phase(Numbered(90), 16))


class Measured(Numbered):
    """With a column of numbers that are others on every device."""

    noise = 0.0

    def rows(self, positions, step):
        return super().rows(positions, step) | {"features": np.full(len(positions), self.noise)}


def test_the_digest_is_of_whole_numbers_alone(monkeypatch):
    found = Stream([Phase(Measured(10), 4)]).digest()
    monkeypatch.setattr(Measured, "noise", 3.0)
    assert Stream([Phase(Measured(10), 4)]).digest() == found


@pytest.mark.parametrize("step", [0, 3, 7])
def test_parts_make_the_batch(step):
    stream = Stream([Phase(Numbered(10), 6), Phase(Numbered(10, 1), 4, 5)])
    whole = stream.batch(step)
    parts = [stream.some(step, np.arange(*bounds)) for bounds in [(0, 1), (1, 1), (1, 4)]]
    joined = np.concatenate([part["position"] for part in parts])
    np.testing.assert_array_equal(joined, whole["position"][:4])


@pytest.mark.parametrize(("num_rows", "batch_size"), [(10, 3), (10, 10), (3, 10), (7, 1)])
def test_an_epoch_ends_where_its_last_row_is_seen(num_rows, batch_size):
    stream = Stream([Phase(Numbered(num_rows), batch_size)])
    seen = 0
    for step in range(1, 50):
        before, seen = seen // num_rows, seen + batch_size
        assert stream.ends_epoch(step) == (seen // num_rows > before)


def test_an_epoch_ends_likewise_where_a_phase_does():
    """Of the same rows in larger batches, and of others from their beginning."""
    phases = [Phase(Numbered(10), 2), Phase(Numbered(10), 8, 3, 6), Phase(Numbered(7, 1), 3, 7)]
    stream, batch_sizes = Stream(phases), [2] * 3 + [8] * 4 + [3] * 9
    seen, num_rows = 0, 10
    for step, batch_size in enumerate(batch_sizes, 1):
        if step == 8:
            seen, num_rows = 0, 7
        before, seen = seen // num_rows, seen + batch_size
        assert stream.ends_epoch(step) == (seen // num_rows > before), step


def test_epochs_of_phases_add_up():
    stream = Stream([Phase(Numbered(10), 5), Phase(Numbered(20), 4, 6)])
    assert stream.epochs(4) == 2.0
    assert stream.epochs(6) == 3.0
    assert stream.epochs(11) == 4.0


def test_evaluation_fills_the_last_batch():
    found = [batch["number"].tolist() for batch in evaluation_batches(Numbered(5), 2)]
    assert found == [[0, 1], [2, 3], [4, -1]]
