import random

import pytest

from jaxbert.errors import UserError
from jaxbert.report.curves import Curve, Point, curves_of


def curve_of(values, limit=400, every=1) -> Curve:
    curve = Curve(limit=limit)
    for place, value in enumerate(values, 1):
        curve.add(place * every, value)
    return curve


def test_few_values_are_kept_as_they_are():
    curve = curve_of([3.0, 1.0, 2.0], limit=3, every=10)
    assert [(bucket.step, bucket.mean) for bucket in curve.buckets] == [(10, 3), (20, 1), (30, 2)]
    assert curve.largest_bucket == 1


@pytest.mark.parametrize("every", [1, 50])
def test_a_long_curve_keeps_its_extremes_its_sum_and_its_place_in_few_points(every):
    generator = random.Random(0)
    values = [generator.random() for _ in range(5000)]
    values[1234], values[4321] = 77.0, -55.0
    curve = curve_of(values, limit=40, every=every)
    assert 20 <= len(curve.buckets) <= 40
    assert sum(bucket.number for bucket in curve.buckets) == 5000
    assert sum(bucket.total for bucket in curve.buckets) == pytest.approx(sum(values))
    at = 0
    for bucket in curve.buckets:
        within = values[at : at + bucket.number]
        assert (bucket.first, bucket.last) == ((at + 1) * every, (at + bucket.number) * every)
        assert (bucket.lowest, bucket.highest) == (min(within), max(within))
        assert bucket.mean == pytest.approx(sum(within) / len(within))
        at += bucket.number
    assert curve.highest == Point(1235 * every, 77.0)
    assert curve.lowest == Point(4322 * every, -55.0)
    assert curve.last == Point(5000 * every, values[-1])


def test_a_curve_can_be_thinned_further_and_stays_as_it_was():
    curve = curve_of(range(100))
    fewer = curve.within(10)
    assert len(fewer.buckets) <= 10
    assert fewer.buckets[0].lowest == 0
    assert fewer.buckets[-1].highest == 99
    assert len(curve.buckets) == 100
    assert curve.buckets[0].number == 1


def test_what_is_not_finite_is_no_point_but_is_known():
    curve = curve_of([1.0, float("nan"), 2.0, float("inf"), -3.0, float("nan")])
    assert [bucket.mean for bucket in curve.buckets] == [1, 2, -3]
    assert curve.not_finite == [2, 6]
    assert (curve.lowest, curve.highest) == (Point(5, -3.0), Point(3, 2.0))
    assert curve.last is not None
    assert curve.last.step == 6


def test_a_value_that_is_no_number_is_named():
    with pytest.raises(UserError, match=r"m.jsonl: 'note' of step 2 is 'x', expected a number"):
        curves_of([{"step": 1, "loss": 1.0}, {"step": 2, "note": "x"}], "m.jsonl")
