import math

import numpy as np
import pytest

from jaxbert.metrics.sums import Sums


def test_the_mean_is_over_labels_and_not_over_batches():
    generator = np.random.default_rng(0)
    batches = [generator.normal(size=size) for size in (1, 50, 7)]
    sums = Sums()
    for values in batches:
        sums.add({"loss": (values.sum(), len(values))})
    assert sums.means()["loss"] == pytest.approx(np.concatenate(batches).mean())


def test_small_batches_are_not_lost_in_a_large_float32_sum():
    sums = Sums()
    sums.add({"loss": (np.float32(2.0**24), np.float32(1.0))})
    for _ in range(1_000):
        sums.add({"loss": (np.float32(0.25), np.float32(0.0))})
    assert sums.means()["loss"] == 2.0**24 + 250.0


def test_names_may_be_missing_from_some_batches():
    sums = Sums()
    sums.add({"loss": (3.0, 1.0), "accuracy": (1.0, 2.0)})
    sums.add({"loss": (5.0, 3.0)})
    assert sums.means() == {"loss": 2.0, "accuracy": 0.5}


def test_the_mean_of_nothing_is_not_a_number():
    sums = Sums()
    assert sums.means() == {}
    sums.add({"loss": (0.0, 0.0)})
    assert math.isnan(sums.means()["loss"])
