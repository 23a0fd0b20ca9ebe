import pytest

from jaxbert.checkpoint.preservation import CheckpointConfig


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("accuracy", "max"),
        ("spearman", "max"),
        ("loss", "min"),
        ("masked_lm_loss", "min"),
        ("perplexity", "min"),
        ("rmse", "min"),
        (None, "max"),
    ],
)
def test_less_of_a_loss_is_better_and_more_of_the_rest(metric, better):
    assert CheckpointConfig(metric=metric).better == better
    for mode in ("max", "min"):
        assert CheckpointConfig(metric=metric, mode=mode).better == mode
