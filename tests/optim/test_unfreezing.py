"""Which parameters join when, from the names alone."""

from typing import Any

import pytest

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params
from jaxbert.nn.head import Head
from jaxbert.optim.groups import FROZEN, TRAINED, group_labels
from jaxbert.optim.unfreezing import UnfreezingConfig, stages
from jaxbert.tree import flat

ENCODER = EncoderConfig(
    vocab_size=20,
    hidden_size=4,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=8,
    max_position_embeddings=8,
)
PARAMS = abstract_params(ENCODER, Head("sequence_classification", labels=("a", "b")))
NUM_STEPS = 100

EMBEDDINGS, HEAD = "encoder/embeddings", ("pooler", "classifier")
FIRST, SECOND, THIRD = (f"encoder/layers/{layer}" for layer in range(3))


def found(config: UnfreezingConfig | None, *freeze: str, num_steps: int = NUM_STEPS) -> list[Any]:
    """(first step, the prefixes of what is trained) of every stage."""
    labels = group_labels(PARAMS, freeze)
    made = stages(config, labels, num_steps, lambda step: step % 30 == 0)
    prefixes = (EMBEDDINGS, FIRST, SECOND, THIRD, *HEAD)
    result = []
    for stage in made:
        by_path = flat(stage.labels)
        trained = set()
        for prefix in prefixes:
            mine = {label != FROZEN for path, label in by_path.items() if path.startswith(prefix)}
            assert len(mine) == 1, prefix
            trained |= {prefix} if mine == {True} else set()
        result.append((stage.first_step, trained))
    return result


def test_without_unfreezing_all_that_is_not_frozen_is_trained_from_the_start():
    everything = {EMBEDDINGS, FIRST, SECOND, THIRD, *HEAD}
    assert found(None) == [(0, everything)]
    assert found(None, FIRST) == [(0, everything - {FIRST})]


def test_from_the_top_a_layer_joins_at_a_time_and_the_embeddings_last():
    top_down = [
        (0, {*HEAD}),
        (10, {*HEAD, THIRD}),
        (20, {*HEAD, THIRD, SECOND}),
        (30, {*HEAD, THIRD, SECOND, FIRST}),
        (40, {*HEAD, THIRD, SECOND, FIRST, EMBEDDINGS}),
    ]
    assert found(UnfreezingConfig(every=10)) == top_down
    assert found(UnfreezingConfig(every=10), num_steps=40) == top_down[:4]
    assert found(UnfreezingConfig(every=10), num_steps=41) == top_down


def test_from_the_bottom_the_embeddings_come_first():
    steps = found(UnfreezingConfig(at=(3, 7, 8), order="bottom_up"))
    assert steps == [
        (0, {*HEAD}),
        (3, {*HEAD, EMBEDDINGS}),
        (7, {*HEAD, EMBEDDINGS, FIRST}),
        (8, {*HEAD, EMBEDDINGS, FIRST, SECOND}),
    ]


def test_an_order_of_ones_own_trains_what_it_does_not_name_from_the_start():
    order = ("encoder/layers/(0|2)", "embeddings")
    assert found(UnfreezingConfig(at=(5, 50), order=order)) == [
        (0, {*HEAD, SECOND}),
        (5, {*HEAD, SECOND, FIRST, THIRD}),
        (50, {*HEAD, SECOND, FIRST, THIRD, EMBEDDINGS}),
    ]


def test_an_epoch_is_a_step_of_the_schedule():
    starts = [begin for begin, _ in found(UnfreezingConfig(every="epoch"))]
    assert starts == [0, 30, 60, 90]


def test_what_is_frozen_all_the_way_takes_no_turn():
    steps = found(UnfreezingConfig(every=10), SECOND, EMBEDDINGS)
    assert steps == [(0, {*HEAD}), (10, {*HEAD, THIRD}), (20, {*HEAD, THIRD, FIRST})]


def test_what_joins_together_has_a_name_of_its_own():
    last = stages(UnfreezingConfig(every=1), group_labels(PARAMS), NUM_STEPS, bool)[-1]
    by_prefix = {
        prefix: {label for path, label in flat(last.labels).items() if path.startswith(prefix)}
        for prefix in ("pooler", "classifier", THIRD, SECOND, FIRST, EMBEDDINGS)
    }
    names = [by_prefix[prefix].pop() for prefix in by_prefix]
    assert not any(by_prefix.values())
    assert names[:2] == [TRAINED, TRAINED]
    assert names[2:] == sorted(set(names[2:]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give either every or at"),
        ({"every": 3, "at": [4]}, "give either every or at"),
        ({"at": [4, 3]}, "expected ascending steps"),
        ({"at": [4, 4]}, "expected ascending steps"),
        ({"at": [0]}, "greater than or equal to 1"),
        ({"every": 0}, "greater than or equal to 1"),
        ({"at": [1, 2, 3, 4, 5]}, "5 steps for 4 parts"),
        ({"every": 3, "order": ["encoder/layer/2"]}, "did you mean 'encoder/layers/2'"),
        ({"every": 3, "order": ["encoder", "pooler|classifier"]}, "nothing is trained at the"),
        (
            {"every": 3, "order": ["encoder", "encoder/layers/2"]},
            "'encoder/layers/2' matches is in",
        ),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_in_one_line(values: Any, message: str):
    with pytest.raises(UserError, match=message) as caught:
        found(parse_config(UnfreezingConfig, values))
    assert "\n" not in str(caught.value)


def test_nothing_is_trained_at_the_start_where_the_head_is_frozen_too():
    with pytest.raises(UserError, match="nothing is trained at the start"):
        found(UnfreezingConfig(every=10), *HEAD)


def test_unfreezing_what_is_frozen_to_the_end_is_refused():
    with pytest.raises(UserError, match="nothing is left to be unfrozen"):
        found(UnfreezingConfig(every=10), "encoder")
