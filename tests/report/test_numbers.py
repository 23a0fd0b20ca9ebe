from jaxbert.report.numbers import duration, option, shown


def test_numbers_have_as_many_digits_as_people_read():
    found = [*map(shown, (1234567, 0.5, 93.2397, 4.53517, 51490.7, 3.2e-6, float("nan"), 0.0))]
    assert found == ["1,234,567", "0.5000", "93.24", "4.535", "51,491", "3.2e-6", "nan", "0.0000"]
    assert [*map(option, (3e-5, 0.1, 1000, None, True, "adamw", 0.12345678))] == [
        *("3e-5", "0.1", "1000", "null", "true", "adamw", "0.12345678")
    ]
    assert [*map(duration, (41.72, 725, 12000, 187200))] == [
        *("41.7 s", "12 min 05 s", "3 h 20 min", "2 d 04 h")
    ]
