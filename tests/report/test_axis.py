import pytest

from jaxbert.report.axis import axis, step_axis
from jaxbert.report.numbers import duration, option, shown


@pytest.mark.parametrize(
    ("values", "options", "ticks"),
    [
        ([0.31, 0.44], {}, ["0.35", "0.40"]),
        ([0, 0.001], {}, ["0", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]),
        ([0, 1e-4], {}, ["0", "2e-5", "4e-5", "6e-5", "8e-5", "1e-4"]),
        ([0.02, 0.2], {"is_share": True}, ["5%", "10%", "15%", "20%"]),
        ([2e5, 1e6], {}, ["0.2M", "0.4M", "0.6M", "0.8M", "1.0M"]),
        ([0.02, 50], {"is_log": True}, ["0.1", "1", "10"]),
        ([7, 7], {}, ["4", "6", "8", "10"]),
    ],
)
def test_ticks_are_round_numbers_within_the_axis(values, options, ticks):
    found = axis(values, **options)
    assert [text for _, text in found.ticks] == ticks
    assert 0 <= found.share(min(values)) <= found.share(max(values)) <= 1
    assert all(-1e-9 <= found.share(value) <= 1 + 1e-9 for value, _ in found.ticks)


def test_steps_are_counted_from_nothing_in_whole_ones():
    assert [text for _, text in step_axis(2).ticks] == ["0", "1", "2"]
    assert [text for _, text in step_axis(900).ticks] == ["0", "200", "400", "600", "800"]
    assert len(step_axis(0).ticks) == 2


def test_numbers_have_as_many_digits_as_people_read():
    found = [*map(shown, (1234567, 0.5, 93.2397, 4.53517, 51490.7, 3.2e-6, float("nan"), 0.0))]
    assert found == ["1,234,567", "0.5000", "93.24", "4.535", "51,491", "3.2e-6", "nan", "0.0000"]
    assert [*map(option, (3e-5, 0.1, 1000, None, True, "adamw", 0.12345678))] == [
        *("3e-5", "0.1", "1000", "null", "true", "adamw", "0.12345678")
    ]
    assert [*map(duration, (41.72, 725, 12000, 187200))] == [
        *("41.7 s", "12 min 05 s", "3 h 20 min", "2 d 04 h")
    ]
