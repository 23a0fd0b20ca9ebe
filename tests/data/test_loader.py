import threading
import time

import numpy as np
import pytest

from jaxbert.data.loader import iterate


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name.startswith("grain-prefetch")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    deadline = time.monotonic() + 5
    while prefetch_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not prefetch_threads()


@pytest.mark.parametrize(("prefetch", "threads"), [(2, 1), (4, 4), (1, 3), (0, 1), (2, 0)])
def test_batches_come_in_order_with_any_number_of_threads(prefetch, threads):
    def batch(step):
        time.sleep(0.001 * (step % 3))
        return {"step": np.array([step])}

    steps = [int(b["step"][0]) for b in iterate(batch, 3, 40, prefetch=prefetch, threads=threads)]
    assert steps == list(range(3, 40))


def test_batches_are_made_ahead_of_their_use_but_not_without_bound():
    made = []
    batches = iterate(lambda step: made.append(step) or step, 0, 1_000, prefetch=2)
    assert next(batches) == 0
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2]
    batches.close()


def test_nothing_is_made_before_the_first_batch_is_asked_for():
    made = []
    iterate(made.append, 0, 10)
    assert made == []


def test_an_exception_is_raised_in_the_caller_when_its_step_is_due():
    def batch(step):
        if step == 3:
            raise OSError("disk on fire")
        return step

    batches = iterate(batch, 0, 10, prefetch=5, threads=2)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="disk on fire"):
        next(batches)


def test_closing_early_ends_the_threads():
    batches = iterate(lambda step: step, 0, 10**12, prefetch=8, threads=4)
    assert next(batches) == 0
    assert prefetch_threads()
    batches.close()


def test_there_is_nothing_to_do_from_the_end_on():
    assert list(iterate(lambda step: step, 5, 5)) == []
    assert list(iterate(lambda step: step, 6, 5)) == []
