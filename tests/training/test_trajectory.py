"""Whole optimisation trajectories against PyTorch's: model, loss, clipping, AdamW, schedule."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from small_bert import (
    IGNORED,
    SIZES,
    WITHOUT_DROPOUT,
    classification_batch,
    make_training,
    pretraining_batch,
)

from jaxbert.hub.load import from_pretrained
from jaxbert.hub.save import file_tensors
from jaxbert.nn.functional import functional
from jaxbert.nn.model import Model
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.task import Task

PEAK, WEIGHT_DECAY, WARMUP = 2e-3, 0.1, 4
LAYERS, LAYER_DECAY, LABELS = 3, 0.75, ("no", "yes", "maybe")


class Recipe(NamedTuple):
    """One thing to train, named on both sides."""

    architecture: str
    task: Task
    groups: Callable[[Any], list[dict[str, Any]]]
    """torch.optim parameter groups of the PyTorch model."""
    batches: list[dict[str, np.ndarray]]
    max_norm: float
    """In the middle of the norms that occur, so that some gradients are clipped and some not."""
    options: dict[str, Any]
    """Of our optimiser, besides the common ones."""


class Trajectory(NamedTuple):
    """What one side saw: three figures a step, and the parameters before and after."""

    loss: np.ndarray
    grad_norm: np.ndarray
    learning_rate: np.ndarray
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]


class Both(NamedTuple):
    ours: Trajectory
    theirs: Trajectory
    recipe: Recipe


def decay_and_no_decay(named: Iterable[tuple[str, Any]], rate: float) -> list[dict[str, Any]]:
    """Two groups of one learning rate, as every BERT recipe has them."""
    named = list(named)
    exempt = [name for name, _ in named if name.endswith("bias") or "LayerNorm" in name]
    return [
        {"params": [p for name, p in named if name not in exempt], "lr": rate},
        {"params": [p for name, p in named if name in exempt], "lr": rate, "weight_decay": 0.0},
    ]


def all_at_the_same_rate(model: Any) -> list[dict[str, Any]]:
    return decay_and_no_decay(model.named_parameters(), PEAK)


def layer_wise_rates(model: Any) -> list[dict[str, Any]]:
    """Embeddings frozen; layers 0, 1, 2 at 0.75^3, 0.75^2, 0.75 of the head's rate."""
    model.bert.embeddings.requires_grad_(False)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    head = [(name, p) for name, p in trained if "encoder.layer" not in name]
    groups = decay_and_no_decay(head, PEAK)
    for layer, factor in ((0, 0.421875), (1, 0.5625), (2, 0.75)):
        named = [(name, p) for name, p in trained if f"encoder.layer.{layer}." in name]
        groups += decay_and_no_decay(named, PEAK * factor)
    return groups


PRETRAINING = Recipe(
    "BertForPreTraining",
    MaskedLanguageModelling(),
    all_at_the_same_rate,
    [pretraining_batch(step) for step in range(20)],
    max_norm=2.0,
    options={},
)
FINETUNING = Recipe(
    "BertForSequenceClassification",
    SequenceClassification(SingleLabel(LABELS)),
    layer_wise_rates,
    [classification_batch(step, len(LABELS)) for step in range(8)],
    max_norm=1.3,
    options={"layer_decay": LAYER_DECAY, "freeze": ("encoder/embeddings",)},
)


def make_torch_model(architecture: str) -> Any:
    """Every parameter random, so that none is zero or one by accident."""
    options = {**SIZES, **WITHOUT_DROPOUT, "num_hidden_layers": LAYERS}
    if architecture == "BertForSequenceClassification":
        options["id2label"] = dict(enumerate(LABELS))
        options["label2id"] = {label: index for index, label in enumerate(LABELS)}
    model = getattr(transformers, architecture)(transformers.BertConfig(**options))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + noise if "LayerNorm.weight" in name else noise)
    return model.train()


def as_torch(batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """Labels of gathered positions go back to their place in the whole sequence."""
    batch = dict(batch)
    if "masked_lm_positions" in batch:
        positions, gathered = batch.pop("masked_lm_positions"), batch["labels"]
        whole = np.full(batch["input_ids"].shape, IGNORED)
        row, prediction = np.nonzero(gathered != IGNORED)
        whole[row, positions[row, prediction]] = gathered[row, prediction]
        batch["labels"] = whole
    return {name: torch.from_numpy(x).long() for name, x in batch.items()}


def their_trajectory(recipe: Recipe, model: Any) -> Trajectory:
    before = named_arrays(model)
    groups = recipe.groups(model)
    optimizer = torch.optim.AdamW(groups, eps=1e-6, weight_decay=WEIGHT_DECAY)
    steps = len(recipe.batches)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, WARMUP, steps)
    figures = []
    for batch in recipe.batches:
        optimizer.zero_grad()
        loss = model(**as_torch(batch)).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_norm)
        figures.append((float(loss.detach()), float(norm), schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
    return Trajectory(*np.array(figures).T, before, named_arrays(model))


def named_arrays(model: Any) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def our_trajectory(recipe: Recipe, model: Model) -> Trajectory:
    params = functional(model)[1]
    config = AdamW(PEAK, weight_decay=WEIGHT_DECAY, max_grad_norm=recipe.max_norm, **recipe.options)
    training = make_training(
        model.config,
        recipe.task,
        params,
        len(recipe.batches),
        optimizer=config,
        schedule=ScheduleConfig("linear", warmup_steps=WARMUP),
    )
    states, metrics = zip(*training.run(recipe.batches), strict=True)
    figures = {name: np.array([row[name] for row in metrics]) for name in metrics[0]}
    before, after = (
        file_tensors(tree, model.config, model.head) for tree in (params, states[-1].params)
    )
    return Trajectory(*(figures[name] for name in Trajectory._fields[:3]), before, after)


@pytest.fixture(scope="module", params=[PRETRAINING, FINETUNING], ids=["pretrain", "finetune"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    transformers.utils.logging.disable_progress_bar()
    recipe, directory = request.param, tmp_path_factory.mktemp("model")
    reference = make_torch_model(recipe.architecture)
    reference.save_pretrained(directory)
    ours = our_trajectory(recipe, from_pretrained(directory))
    return Both(ours, their_trajectory(recipe, reference), recipe)


def test_the_loss_follows_pytorch_at_every_step(both: Both):
    assert np.abs(both.ours.loss - both.theirs.loss).max() <= 1e-4


def test_the_gradient_norm_and_the_learning_rate_follow_pytorch(both: Both):
    np.testing.assert_allclose(both.ours.grad_norm, both.theirs.grad_norm, rtol=1e-4)
    np.testing.assert_allclose(both.ours.learning_rate, both.theirs.learning_rate, rtol=1e-6)
    is_clipped = both.theirs.grad_norm > both.recipe.max_norm
    assert is_clipped.any()
    assert not is_clipped.all()


def test_the_final_parameters_are_pytorchs(both: Both):
    """Within a thousandth of the largest change that training made to each tensor."""
    assert set(both.ours.after) == set(both.theirs.after)
    for name, expected in both.theirs.after.items():
        difference = np.abs(both.ours.after[name] - expected).max()
        moved = np.abs(expected - both.theirs.before[name]).max()
        if name.endswith("self.key.bias"):
            # Its gradient is zero in exact arithmetic; Adam makes steps of the rounding noise.
            assert difference <= 5e-5
        else:
            assert difference <= 1e-3 * moved, name


def test_frozen_parameters_stay_bit_identical_and_all_others_move(both: Both):
    is_finetuning = "freeze" in both.recipe.options
    for name, before in both.ours.before.items():
        is_frozen = is_finetuning and name.startswith("bert.embeddings.")
        assert np.array_equal(both.ours.after[name], before) == is_frozen, name
