"""Phases that mix the stores by other weights, such as annealing on better data at the end."""

import json
from pathlib import Path

import numpy as np
import pytest
from experiment.small_runs import (
    WITHOUT_VALIDATION,
    after_polls,
    pretraining,
    sentences,
    trajectory,
    weights,
)

from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.data.pretraining import PretrainingData
from jaxbert.data.stream import Stream
from jaxbert.errors import UserError
from jaxbert.experiment.pretrain import Pretrain, pretrain
from jaxbert.experiment.pretraining_data import data_phases, open_stores, training_stream

ANNEALED = (
    "data.max_seq_length=16",
    "phases=[{first_step: 3, weights: [1, 3]}, {first_step: 5, batch_size: 16},"
    " {first_step: 7, weights: [0, 1]}, {first_step: 9, weights: [2, 1]}]",
)


@pytest.fixture(scope="module")
def two(store: Path, tmp_path_factory) -> str:
    """A store to train on, and another one that is not trained on until a phase says so."""
    directory = tmp_path_factory.mktemp("better")
    texts = [" ".join(sentences(7, seed)) for seed in range(200, 212)]
    (directory / "better.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    options = PrepareOptions(tokenizer=str(store), processes=1)
    prepare([str(directory / "better.txt")], directory / "better", options)
    stores = [{"path": str(store), "weight": 1}, {"path": str(directory / "better"), "weight": 0}]
    return f"store={json.dumps(stores)}"


def stream_of(config: Pretrain) -> Stream:
    phases = data_phases(config.data, config.batch_size, config.phases, config.num_steps)
    return training_stream(open_stores(config.store), phases, config.seed)


def flat(batch: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([x.reshape(len(x), -1) for _, x in sorted(batch.items())], axis=1)


def owners_of(rows: np.ndarray, sources: list[np.ndarray]) -> list[int]:
    """Of every row the source whose next row it is; each source is gone through in its order."""
    places, owners = [0] * len(sources), []
    for row in rows:
        fitting = [
            source
            for source, place in enumerate(places)
            if np.array_equal(row, sources[source][place])
        ]
        assert len(fitting) == 1, (fitting, places)
        owners += fitting
        places[fitting[0]] += 1
    return owners


@pytest.mark.parametrize("is_packed", [False, True])
def test_no_row_of_a_store_is_repeated_or_left_out_where_the_weights_change(store, two, is_packed):
    config = pretraining(store, two, *ANNEALED, f"data.packing={is_packed}".lower())
    stream, numbers = stream_of(config), np.arange(200)
    batches = [flat(stream.batch(step)) for step in range(12)]
    sources = [
        PretrainingData(opened, config.data, config.seed)
        for opened in open_stores(config.store).stores
    ]
    # More than an epoch of the smaller one.
    assert sources[1].num_rows < 60
    expected = [flat(source.rows(numbers, 0)) for source in sources]
    owners = np.array(owners_of(np.concatenate(batches), expected))
    first_rows = np.cumsum([0, *map(len, batches)])
    counts = [
        np.bincount(owners[first_rows[a] : first_rows[b]], minlength=2).tolist()
        for a, b in [(0, 3), (3, 7), (7, 9), (9, 12)]
    ]
    assert counts[0] == [24, 0]
    assert counts[2] == [0, 32]
    assert counts[1][1] > counts[1][0] > 0
    assert counts[3][0] > counts[3][1] > 0
    assert sum(of_second for _, of_second in counts) > sources[1].num_rows


def test_the_rows_of_a_phase_are_those_of_any_process_and_any_start(store, two):
    config = pretraining(store, two, *ANNEALED)
    whole = stream_of(config)
    batches = [whole.batch(step) for step in range(12)]
    for step in (11, 3, 8):
        stream, size = stream_of(config), len(batches[step]["labels"])
        parts = [stream.some(step, np.arange(first, size, 4)) for first in range(4)]
        for name, values in batches[step].items():
            for first, part in enumerate(parts):
                np.testing.assert_array_equal(part[name], values[first::4])


def test_another_length_begins_every_store_anew_and_the_old_one_goes_on_later(store, two):
    there_and_back = (
        "phases=[{first_step: 3, max_seq_length: 24, weights: [1, 1]},"
        " {first_step: 6, max_seq_length: 16}]"
    )
    config = pretraining(store, two, "data.max_seq_length=16", there_and_back)
    stream = stream_of(config)
    assert [phase.rows.begun.tolist() for phase in stream.phases] == [[0, 0], [0, 0], [24, 0]]
    assert [phase.first_row for phase in stream.phases] == [0, 0, 0]


def test_a_run_that_is_given_its_annealing_late_and_interrupted_is_the_whole_run(
    store, two, tmp_path
):
    plan = (two, "schedule.kind=constant", WITHOUT_VALIDATION, "data.max_seq_length=16")
    annealed = pretraining(store, *plan, "num_steps=9", "phases=[{first_step: 5, weights: [1, 3]}]")
    whole, run = tmp_path / "whole", tmp_path / "run"
    pretrain(annealed, whole, quiet=True)
    pretrain(pretraining(store, *plan, "num_steps=4"), run, quiet=True)
    fitted = pretrain(annealed, run, interrupted=after_polls(3), quiet=True)
    assert 5 < fitted.step < 9
    # What it has been annealed on is past.
    other = pretraining(store, *plan, "num_steps=9", "phases=[{first_step: 5, weights: [1, 1]}]")
    with pytest.raises(UserError, match="only later ones can be of other phases"):
        pretrain(other, run, quiet=True)
    pretrain(annealed, run, quiet=True)
    assert weights(run) == weights(whole)
    assert trajectory(run) == trajectory(whole)
    assert [row["step"] for row in trajectory(run)] == [*range(1, 10)]
