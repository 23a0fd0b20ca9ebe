import numpy as np
import pytest
import yaml

from jaxbert.config import parse_config, to_yaml
from jaxbert.data.masking_config import (
    MaskingConfig,
    NgramUnits,
    PhraseUnits,
    SpanUnits,
    TokenUnits,
    WordUnits,
)
from jaxbert.data.masking_rates import RatePoint, Rates
from jaxbert.data.pretraining import PretrainingDataConfig
from jaxbert.errors import UserError

DECAY = (RatePoint(100, probability=0.4), RatePoint(200, probability=0.2, mask_replace_prob=0.6))


def test_without_a_schedule_every_step_has_the_rates_of_bert():
    for step in (None, 0, 10**9):
        assert MaskingConfig().rates(step) == Rates(0.15, 0.8, 0.1)


def test_constant_rates_change_at_their_points_and_not_before():
    config = MaskingConfig(schedule=DECAY)
    probability = [config.rates(step).probability for step in (0, 99, 100, 199, 200, 10**6)]
    assert probability == [0.15, 0.15, 0.4, 0.4, 0.2, 0.2]
    # What a point leaves out stays as it was.
    assert config.rates(100).mask_replace_prob == 0.8
    assert config.rates(200) == Rates(0.2, 0.6, 0.1)


def test_linear_rates_lie_on_the_lines_between_their_points():
    config = MaskingConfig(schedule=DECAY, interpolation="linear")
    probability = [config.rates(step).probability for step in (0, 50, 100, 175, 200, 10**6)]
    np.testing.assert_allclose(probability, [0.15, 0.275, 0.4, 0.25, 0.2, 0.2])
    replaced = [config.rates(step).mask_replace_prob for step in (50, 150, 200)]
    np.testing.assert_allclose(replaced, [0.8, 0.7, 0.6])


@pytest.mark.parametrize("interpolation", ["constant", "linear"])
def test_training_may_begin_elsewhere_than_evaluation_stays(interpolation):
    schedule = (RatePoint(0, probability=0.4), RatePoint(10, probability=0.2))
    config = MaskingConfig(schedule=schedule, interpolation=interpolation)
    assert config.rates(None).probability == 0.15
    assert config.rates(0).probability == 0.4
    assert config.rates(10).probability == 0.2
    halfway = 0.4 if interpolation == "constant" else 0.3
    assert config.rates(5).probability == pytest.approx(halfway)


def test_shares_that_add_up_to_one_may_be_interpolated():
    schedule = (RatePoint(7, mask_replace_prob=0.7, random_replace_prob=0.3),)
    config = MaskingConfig(
        schedule=schedule, interpolation="linear", mask_replace_prob=0.9, random_replace_prob=0.1
    )
    for step in range(8):
        rates = config.rates(step)
        assert rates.mask_replace_prob + rates.random_replace_prob == pytest.approx(1.0)


def test_the_most_predictions_are_those_of_the_highest_rate():
    lengths = np.array([2, 3, 10, 128])
    assert MaskingConfig().most_predictions(lengths).tolist() == [1, 1, 2, 19]
    assert MaskingConfig(schedule=DECAY).most_predictions(lengths).tolist() == [1, 1, 4, 51]
    assert MaskingConfig(max_predictions=7).most_predictions(128) == 7
    assert MaskingConfig(probability=1.0).most_predictions(128) == 128


def test_the_slots_of_a_row_must_hold_the_highest_rate():
    MaskingConfig(max_predictions=76).check_length(512)
    with pytest.raises(UserError, match=r"must be from 204 \(probability=0.4\) to max_seq_length"):
        PretrainingDataConfig(
            max_seq_length=512, masking=MaskingConfig(max_predictions=76, schedule=DECAY)
        )


@pytest.mark.parametrize(
    "units",
    [
        *(
            TokenUnits(),
            WordUnits(),
            SpanUnits(geometric_p=0.3, max_words=5),
            NgramUnits(max_words=2),
        ),
        PhraseUnits(file="phrases.txt"),
    ],
)
def test_what_is_written_is_read_back(units):
    config = MaskingConfig(units=units, schedule=DECAY, interpolation="linear", num_duplicates=3)
    assert parse_config(MaskingConfig, yaml.safe_load(to_yaml(config))) == config


def test_units_and_schedule_may_be_given_on_the_command_line():
    overrides = [
        *("masking.units.kind=spans", "masking.units.max_words=4"),
        "masking.schedule=[{step: 100, probability: 0.3}]",
    ]
    masking = parse_config(PretrainingDataConfig, {}, overrides).masking
    assert masking.units == SpanUnits(max_words=4)
    assert masking.rates(100).probability == 0.3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"probability": 1.5}, "probability=1.5: must be above 0, at most 1"),
        ({"probability": 0.0}, "probability=0.0: must be above 0"),
        ({"mask_replace_prob": -0.1}, "mask_replace_prob=-0.1: must be from 0 to 1"),
        ({"mask_replace_prob": 0.95}, "random_replace_prob=0.1 add up to more than 1"),
        ({"max_predictions": 0}, "max_predictions=0: must be at least 1, or null"),
        ({"num_duplicates": 0}, "num_duplicates=0: must be at least 1, or null"),
        ({"interpolation": "cubic"}, "'interpolation': Input should be 'constant' or 'linear'"),
        ({"schedule": [{"step": 5}, {"step": 5}]}, r"steps \[5, 5\] must ascend, from 0"),
        ({"schedule": [{"step": -1}]}, "must ascend, from 0 or later"),
        ({"schedule": [{"step": 5, "probability": 2}]}, "probability=2.0: must be above 0"),
        ({"schedule": [{"step": 5, "probabilty": 0.2}]}, "'schedule.0.probabilty': did you mean"),
        ({"units": {"max_words": 3}}, "'units.kind' is missing: valid: ngrams"),
        ({"units": {"kind": "word"}}, "'units.kind': no 'word': did you mean 'words'"),
        ({"units": {"kind": ["words"]}}, "'units.kind': no"),
        ({"units": {"kind": "words", "max_words": 3}}, "unknown key 'units.max_words'"),
        ({"units": {"kind": "spans", "geometric_p": 0}}, "should be greater than 0"),
        ({"units": {"kind": "ngrams", "max_words": 0}}, "should be greater than or equal to 1"),
        ({"units": {"kind": "phrases"}}, "needs file=PATH"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_config(MaskingConfig, values)
    assert str(caught.value).count(";") == 0
