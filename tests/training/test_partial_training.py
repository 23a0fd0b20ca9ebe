"""Below the lowest trained layer nothing is computed backwards and nothing is remembered."""

import re
from typing import Any

import jax
import numpy as np
import pytest
from small_bert import (
    LENGTH,
    ROWS,
    SIZES,
    WITHOUT_DROPOUT,
    Training,
    classification_batch,
    make_training,
)

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tree import flat

ENCODER = EncoderConfig(**SIZES, **WITHOUT_DROPOUT)
TASK = SequenceClassification(SingleLabel(("a", "b", "c")))
LAYERS = 2

# Of a layer: query, key, value, scores, context, output, up, down; of the head: pooler, classifier.
FORWARD = 8 * LAYERS + 2
HEAD_BACKWARD = 3
"""Both kernels, and what the classifier hands down to the pooler."""
LAYER_BACKWARD = 17
"""Two for each product, and the sums of slope times output in attention."""
INTO_LOWEST = 3
"""What query, key and value hand down, which nobody asks for below the lowest trained layer."""


@pytest.fixture(scope="module")
def params() -> Any:
    shapes = abstract_params(ENCODER, TASK.head)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def training(params: Any, freeze_layers: Any) -> Training:
    optimizer = AdamW(freeze_layers=freeze_layers)
    return make_training(ENCODER, TASK, params, 10, optimizer=optimizer, schedule=ScheduleConfig())


def lowered(made: Training) -> Any:
    rows = {"row_ids": np.arange(ROWS, dtype=np.int32), "weights": np.ones(ROWS, np.float32)}
    batch = made.put(classification_batch(0, 3) | rows)
    return made.step.lower(made.state, batch)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("freeze_layers", "backward", "frozen"),
    [
        (None, HEAD_BACKWARD + 1 + LAYERS * LAYER_BACKWARD, []),
        (0, HEAD_BACKWARD + 1 + LAYERS * LAYER_BACKWARD - INTO_LOWEST, ["embeddings"]),
        (1, HEAD_BACKWARD + 1 + LAYER_BACKWARD - INTO_LOWEST, ["embeddings", "layers/0"]),
    ],
)
def test_only_trained_layers_have_products_of_the_backward_pass_and_moments(
    params: Any, freeze_layers: Any, backward: int, frozen: list[str]
):
    made = training(params, freeze_layers)
    text = lowered(made).as_text()
    assert len(re.findall(r"stablehlo\.dot_general", text)) == FORWARD + backward
    held = [path for path, leaf in flat(made.state.opt_state).items() if leaf.ndim]
    for prefix in ("embeddings", "layers/0", "layers/1"):
        assert any(f"/{prefix}/" in path for path in held) == (prefix not in frozen)


def test_the_compiled_step_of_feature_extraction_is_a_forward_pass_and_a_head(params: Any):
    made = training(params, "all")
    compiled = lowered(made).compile(compiler_options={"xla_backend_optimization_level": 0})
    assert len(re.findall(r" dot\(", compiled.as_text())) == FORWARD + HEAD_BACKWARD
    # Of two products a weight, forward and backward, and attention's two of every layer.
    tokens, hidden = ROWS * LENGTH, SIZES["hidden_size"]
    layer = 4 * hidden**2 + 2 * hidden * SIZES["intermediate_size"] + 2 * LENGTH * hidden
    products = 2 * (LAYERS * tokens * layer + ROWS * 2 * hidden * (hidden + 3))
    assert products < compiled.cost_analysis()["flops"] < 2 * products
    moments = [leaf for leaf in jax.tree.leaves(made.state.opt_state) if leaf.ndim]
    head = params["pooler"], params["classifier"]
    assert sum(m.size for m in moments) == 2 * sum(leaf.size for leaf in jax.tree.leaves(head))
