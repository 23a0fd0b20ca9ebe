"""Low-rank factors are what is trained, and all that is computed for."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from small_bert import (
    SIZES,
    WITHOUT_DROPOUT,
    Training,
    classification_batch,
    make_training,
)

from jaxbert.adapt.lora import with_factors
from jaxbert.families import preset
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.nn.lora import LoRA, is_factor
from jaxbert.optim.groups import group_labels
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.training.flops import share_computed
from jaxbert.training.step import StepConfig
from jaxbert.tree import flat

STILL = SIZES | WITHOUT_DROPOUT
"""What drops out are the inputs of factors alone."""
BERT = EncoderConfig(**STILL | {"num_hidden_layers": 1})
TASK = SequenceClassification(SingleLabel(("a", "b", "c")))
EVERYWHERE = LoRA(rank=4, dropout=0.3, targets=("attention/.*", "mlp/.*"))


def training(
    encoder: EncoderConfig, lora: LoRA | None, mesh: Any = None, remat: Any = "none", parts: int = 1
) -> Training:
    params = init_params(encoder, TASK.head, 0)
    return make_training(
        make_apply(encoder, TASK.head, execution=Execution(remat), lora=lora),
        TASK,
        params if lora is None else with_factors(params, lora, 1),
        4,
        optimizer=AdamW(1e-2),
        schedule=ScheduleConfig("constant"),
        step=StepConfig(dropout_rng="threefry2x32", accumulation_steps=parts),
        mesh=mesh,
    )


def batch(number: int) -> dict[str, np.ndarray]:
    made = classification_batch(number, 3)
    rows = len(made["labels"])
    return made | {
        "row_ids": np.arange(rows, dtype=np.int32),
        "weights": np.ones(rows, np.float32),
    }


def losses_and_norms(made: Training, parts: int = 1) -> np.ndarray:
    metrics = [m for _, m in made.run([*map(batch, range(3))], parts)]
    return np.array([[m["loss"], m["grad_norm"]] for m in metrics])


def test_the_encoder_stays_as_it_is_bit_for_bit_and_has_no_moments():
    made = training(BERT, EVERYWHERE)
    before = flat(jax.device_get(made.state.params))
    *_, (state, _) = made.run([*map(batch, range(3))])
    after = flat(state.params)
    trained = {p for p in before if is_factor(p) or not p.startswith("encoder/")}
    assert {p for p in before if not np.array_equal(before[p], after[p])} == trained
    assert len([*filter(is_factor, trained)]) == 2 * 6 * BERT.num_hidden_layers
    moments = [path for path, leaf in flat(state.opt_state).items() if leaf.ndim]
    assert len(moments) == 2 * len(trained)
    assert all(any(path.endswith(f"/{name}") for name in trained) for path in moments)


@pytest.mark.parametrize("name", ["bert-base-uncased", "deberta-v3-base", "albert-base-v2"])
def test_steps_are_the_same_on_devices_that_split_rows_parameters_and_heads(name: str):
    # ALBERT's one layer is applied twice.
    special = {"embedding_size": 12} if name.startswith("albert") else {"num_hidden_layers": 1}
    encoder = replace(preset(name), **STILL | special)
    expected = losses_and_norms(training(encoder, EVERYWHERE))
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    found = losses_and_norms(training(encoder, EVERYWHERE, mesh))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("remat", ["products", "full"])
def test_what_is_computed_again_drops_out_alike(remat: Any):
    expected = losses_and_norms(training(BERT, EVERYWHERE))
    found = losses_and_norms(training(BERT, EVERYWHERE, remat=remat))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_microbatches_add_up():
    lora = replace(EVERYWHERE, dropout=0.0)
    expected = losses_and_norms(training(BERT, lora))
    found = losses_and_norms(training(BERT, lora, parts=4), parts=4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_gradients_of_the_kernels_are_not_computed():
    large = replace(BERT, hidden_size=128, intermediate_size=512, num_hidden_layers=2)

    def flops(lora: LoRA | None) -> float:
        made = training(large, lora)
        step: Any = made.step
        compiled = step.lower(made.state, made.put(batch(0))).compile()
        return float(compiled.cost_analysis()["flops"])

    # Of three thirds the third is that of the kernels' gradients, and the first layer hands
    # nothing down to embeddings.
    share = flops(LoRA(rank=2)) / flops(None)
    assert 0.6 < share < 0.72
    params = with_factors(init_params(large, TASK.head, 0), LoRA(rank=2), 0)
    assert share_computed(group_labels(params)) == pytest.approx(2 / 3)
    below = group_labels(params, freeze_layers=1)
    assert share_computed(below) == pytest.approx((1 + 2) / 6)


def test_with_factors_alone_a_step_learns():
    made = training(BERT, replace(EVERYWHERE, dropout=0.0))
    losses = [float(m["loss"]) for _, m in made.run([batch(0)] * 60)]
    assert losses[-1] < losses[0] / 4
