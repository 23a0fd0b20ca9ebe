"""Encoders of every kind, and fine-tuning tasks, on one device and split every way at once."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike
from small_bert import SIZES, WITHOUT_DROPOUT, make_training, one_device, pretraining_batch

from jaxbert.families import preset
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.optim.kinds import AdamW
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.question_answering import QuestionAnswering
from jaxbert.tasks.replaced_token_pair import ReplacedTokenPair
from jaxbert.tasks.replaced_tokens import ReplacedTokenDetection
from jaxbert.tasks.sentence_embedding import SentenceEmbedding
from jaxbert.tasks.task import Task
from jaxbert.tasks.token_classification import TokenClassification
from jaxbert.training.step import StepConfig

SPECIAL: dict[str, dict[str, Any]] = {
    "albert-base-v2": {"embedding_size": 12},
    "mpnet-base": {"num_hidden_layers": 1},
    "deberta-v2-xlarge": {"num_hidden_layers": 1},
    "modernbert-base": {"layer_types": ("full_attention", "sliding_attention")},
    "eurobert-610m": {"num_hidden_layers": 1, "layer_types": None, "num_key_value_heads": 2},
    "nomic-bert-2048": {"num_hidden_layers": 1},
    "gte-multilingual-base": {"num_hidden_layers": 1},
    "esm2_t6_8M": {"num_hidden_layers": 1},
}
"""What differs of the small model."""
DROPPING = ("albert-base-v2", "deberta-v2-xlarge")
"""Families whose rows are to drop alike on every mesh; BERT's are in `test_sharding.py`."""
SMALL = EncoderConfig(**SIZES | WITHOUT_DROPOUT | {"num_hidden_layers": 1})
SPLIT = MeshConfig(data=2, fsdp=2, tensor=2)
MASKED_LM = MaskedLanguageModelling()


def losses_and_norms(
    mesh: Any, model: EncoderConfig | ReplacedTokenPair, task: Task, dtype: DTypeLike
) -> np.ndarray:
    """Of two steps."""
    is_pair = isinstance(model, ReplacedTokenPair)
    training = make_training(
        model.make_apply() if is_pair else make_apply(model, task.head, dtype),
        task,
        model.init(0) if is_pair else init_params(model, task.head, 0),
        2,
        optimizer=AdamW(1e-3),
        schedule=ScheduleConfig("constant"),
        step=StepConfig(dropout_rng="threefry2x32"),
        mesh=mesh,
    )
    batches = [batch_of(number, task) for number in range(2)]
    return np.array([[m["loss"], m["grad_norm"]] for _, m in training.run(batches)])


def batch_of(number: int, task: Task) -> dict[str, np.ndarray]:
    batch = pretraining_batch(number)
    if task is MASKED_LM or isinstance(task, ReplacedTokenDetection):
        return batch
    draws = np.random.default_rng(number)
    texts = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    rows, length = batch["input_ids"].shape
    numbers = np.arange(rows, dtype=np.int32)
    texts["row_ids"] = np.where(numbers == 3, -1, numbers).astype(np.int32)
    if isinstance(task, SentenceEmbedding):
        pairs = {name: texts[name].reshape(rows, 2, length // 2) for name in [*texts][:3]}
        return texts | pairs | {"text_ids": np.arange(2 * rows, dtype=np.int32).reshape(rows, 2)}
    if isinstance(task, MultipleChoice):
        questions, choices = rows // 2, 2
        texts |= {name: texts[name].reshape(questions, choices, length) for name in [*texts][:3]}
        numbers = np.arange(rows, dtype=np.int32).reshape(questions, choices)
        # One question has a choice less, one has no label.
        numbers[0, 1] = -1
        labels = np.where(np.arange(questions) == 2, -100, draws.integers(0, 2, questions))
        labels[0] = 0
        texts["row_ids"] = texts["row_ids"][:questions]
        return texts | {"text_ids": numbers, "labels": labels.astype(np.int32)}
    if isinstance(task, TokenClassification):
        tags = draws.integers(0, len(task.labels), (rows, length))
        is_counted = draws.random((rows, length)) < 0.3
        return texts | {"labels": np.where(is_counted, tags, -100).astype(np.int32)}
    answers = np.sort(draws.integers(0, 5, (2, rows)).astype(np.int32), axis=0)
    return texts | {"start_positions": answers[0], "end_positions": answers[1]}


def assert_equal_on_all_meshes(
    model: EncoderConfig | ReplacedTokenPair,
    task: Task,
    dtype: DTypeLike = jnp.float32,
    *,
    split: MeshConfig = SPLIT,
    rtol: float = 2e-5,
) -> None:
    assert jax.device_count() >= 8
    expected = losses_and_norms(one_device(), model, task, dtype)
    found = losses_and_norms(make_mesh(split), model, task, dtype)
    np.testing.assert_allclose(found, expected, rtol=rtol)


@pytest.mark.parametrize("name", SPECIAL)
def test_every_kind_of_encoder_trains_split_as_on_one_device(name: str):
    rates = {} if name in DROPPING else WITHOUT_DROPOUT
    encoder = replace(preset(name), pad_token_id=0, **(SIZES | rates | SPECIAL[name]))
    assert_equal_on_all_meshes(encoder, MASKED_LM)


@pytest.mark.parametrize("split", [SPLIT, MeshConfig(data=8)], ids=["all axes", "data"])
def test_bfloat16_trains_split_as_on_one_device_but_for_rounding(split: MeshConfig):
    assert_equal_on_all_meshes(SMALL, MASKED_LM, jnp.bfloat16, split=split, rtol=5e-3)


@pytest.mark.parametrize(
    "task",
    [
        QuestionAnswering(),
        TokenClassification(("O", "B-X", "I-X")),
        SentenceEmbedding(),
        MultipleChoice(),
    ],
    ids=lambda task: type(task).__name__,
)
def test_a_fine_tuning_task_trains_split_as_on_one_device(task: Task):
    assert_equal_on_all_meshes(SMALL, task)


def test_a_generator_and_a_discriminator_train_split_as_on_one_device():
    """The same tokens are sampled: each row's noise is its own."""
    pair = ReplacedTokenPair(SMALL, SMALL)
    assert_equal_on_all_meshes(pair, ReplacedTokenDetection(special_ids=(0,)))
