"""What a configuration would train, without its data: model, task, and the shapes of batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxbert.adapt.reinitialize import begins_anew
from jaxbert.data.masking import IGNORED
from jaxbert.data.pretraining import PretrainingDataConfig
from jaxbert.data.store import METADATA
from jaxbert.experiment.architecture import architecture_of
from jaxbert.experiment.checks import (
    check_begun_are_trained,
    check_checkpoints,
    check_is_metric,
    check_length,
    check_regularisation,
)
from jaxbert.experiment.feature_cache import check_cacheable
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.held_out import of_set
from jaxbert.experiment.objectives import (
    ReplacedTokenConfig,
    masked_lm_of,
    pair_of,
    trainee_of,
)
from jaxbert.experiment.parameters import drawn, with_lora
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.pretraining_data import data_phases, open_stores
from jaxbert.experiment.pretraining_model import Vocabulary, check_encoders, encoder_of
from jaxbert.experiment.teacher import Teacher, check_teacher, head_of_teacher
from jaxbert.experiment.trainee import Trainee
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout_rates import with_dropout
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA
from jaxbert.optim.groups import group_labels
from jaxbert.optim.unfreezing import stages
from jaxbert.tasks.finetuning import Column
from jaxbert.tasks.pretraining import MaskedLanguageModelling
from jaxbert.tasks.replaced_token_pair import ReplacedTokenPair
from jaxbert.tasks.replaced_tokens import ReplacedTokenDetection
from jaxbert.tasks.task import Task
from jaxbert.text.tokenizer import load_tokenizer
from jaxbert.training.flops import share_computed
from jaxbert.training.step import make_evaluation_step
from jaxbert.typing import HostBatch

_TOKENS_PER_EXAMPLE = 16
_STEPS = 1000
_Pretraining = MaskedLanguageModelling | ReplacedTokenDetection


@dataclass(frozen=True)
class Phase:
    """Steps whose batches have the same shapes."""

    first_step: int
    num_steps: int | None
    """None: the configuration does not say."""
    batch_size: int
    make_batch: Callable[[int], HostBatch]
    """Rows -> a batch of full rows, with as many predictions as a row's length asks for."""


@dataclass(frozen=True)
class Subject:
    """What is compiled."""

    settings: Pretrain | Finetune
    trainee: Trainee
    task: Task
    phases: tuple[Phase, ...]
    num_steps: int
    assumptions: tuple[str, ...]
    """What the configuration leaves open, and how it was taken."""

    @property
    def flops_share(self) -> float:
        """Of the FLOPs that training everything would need those that training needs at last."""
        options = self.settings.optimizer
        frozen = group_labels(self.trainee.shapes, options.freeze, options.freeze_layers)
        last = stages(self.settings.unfreezing, frozen, self.num_steps, lambda step: True)[-1]
        return share_computed(last.labels)


def subject_of(config: Pretrain | Finetune) -> Subject:
    """Raises UserError where the configuration could not be trained with any data."""
    return _pretraining(config) if isinstance(config, Pretrain) else _fine_tuning(config)


def _pretraining(config: Pretrain) -> Subject:
    encoder, assumptions = _pretrained_encoder(config)
    described = data_phases(config.data, config.batch_size, config.phases, config.num_steps)
    ends = [*(phase.first_step for phase in described[1:]), config.num_steps]
    check_checkpoints(config, has_validation=bool(config.validation_names))
    phases = tuple(
        Phase(
            phase.first_step,
            end - phase.first_step,
            phase.batch_size,
            partial(_pretraining_batch, phase.data),
        )
        for phase, end in zip(described, ends, strict=True)
    )
    if isinstance(config.objective, ReplacedTokenConfig):
        pair = pair_of(config.objective, encoder)
        trainee = trainee_of(pair, drawn(ReplacedTokenPair.init, pair, seed=config.seed))
        # Which ids are special changes no shape.
        special_ids = (encoder.pad_token_id, 1, 2)
        weight = config.objective.discriminator_weight
        task: _Pretraining = ReplacedTokenDetection(special_ids, weight)
    else:
        task = masked_lm_of(encoder, config.data.sentence_pairs)
        trainee = _trainee(encoder, task.head, config.seed)
    check_encoders(trainee.encoders, [phase.data for phase in described])
    lengths = [phase.data.max_seq_length for phase in described]
    trainee = _taught(trainee, task.head, config, lengths, assumptions)
    if (metric := config.checkpoint.metric) is not None:
        names = _metric_names(trainee, task, phases[-1].make_batch(1))
        check_is_metric(
            metric, [of_set(each, name) for each in config.validation_names for name in names]
        )
    return Subject(config, trainee, task, phases, config.num_steps, tuple(assumptions))


def _metric_names(trainee: Trainee, task: _Pretraining, batch: HostBatch) -> list[str]:
    """What evaluation gives, by shapes alone."""
    step = make_evaluation_step(trainee.make_apply(jnp.dtype(jnp.float32), Execution()), task)
    sums, _ = jax.eval_shape(step, trainee.shapes, batch)
    return [*task.metrics(dict.fromkeys(sums, 1.0), {})]


def _fine_tuning(config: Finetune) -> Subject:
    check_checkpoints(config, has_validation=bool(config.validation_names))
    encoder, assumptions = architecture_of(config.model)
    task, taken = config.task.assumed()
    assumptions.extend(taken)
    longest = longest_input(encoder)
    length = longest if config.max_seq_length == "auto" else config.max_seq_length
    check_length("max_seq_length", length, encoder)
    assumptions.append(f"rows of {length} tokens; shorter data make shorter rows")
    if config.packing:
        assumptions.append(f"packed rows of at most {length // _TOKENS_PER_EXAMPLE} examples")
    if config.reinitialize_layers:
        check_begun_are_trained(config.reinitialize_layers, config, encoder, task.head)
    if config.cache_features:
        check_cacheable(config, task.head, packing=config.packing)
        assumptions.append("cache_features: the frozen encoder as part of every step, as without")
    if config.num_steps is None:
        assumptions.append("num_steps: epochs depend on the data, so there are no hours")
    student = with_dropout(encoder, config.dropout)
    check_regularisation(config, task, student)
    trainee = replace(
        _trainee(student, task.head, config.seed, config.lora),
        regularisation=config.regularisation,
        begun=begins_anew(encoder, config.reinitialize_layers),
    )
    trainee = _taught(trainee, task.head, config, (length,), assumptions)
    make_batch = partial(_labelled_batch, config, task.columns, length)
    phase = Phase(0, config.num_steps, config.batch_size, make_batch)
    return Subject(
        config,
        trainee,
        task,
        (phase,),
        config.num_steps or _STEPS,
        tuple(assumptions),
    )


def _trainee(encoder: EncoderConfig, head: Head, seed: int, lora: LoRA | None = None) -> Trainee:
    make = drawn(init_params, encoder, head, seed=seed)
    return Trainee.of(encoder, head, make if lora is None else with_lora(make, lora, seed), lora)


def _taught(
    trainee: Trainee,
    head: Head,
    config: Pretrain | Finetune,
    lengths: Sequence[int],
    assumptions: list[str],
) -> Trainee:
    """With the teacher that the configuration names, whose weights are not read."""
    given = config.distillation
    if given is None:
        return trainee
    encoder, assumed = architecture_of(given.teacher)
    [student] = trainee.encoders
    answering = head_of_teacher(given, head)
    check_teacher(given, encoder, answering, student, head, lengths)
    assumptions.extend(assumed)
    return replace(trainee, teacher=Teacher(given, encoder, answering))


def _pretrained_encoder(config: Pretrain) -> tuple[EncoderConfig, list[str]]:
    name, vocabulary = config.model.from_pretrained, _vocabulary_here(config)
    given, assumptions = (None, []) if name is None else architecture_of(name)
    encoder = encoder_of(config.model, given, vocabulary)
    if given is None and vocabulary is None and "vocab_size" not in config.model.overrides:
        first = _store_paths(config)[0]
        assumptions = [f"{first} is not here: a vocabulary of {encoder.vocab_size:,}"]
    return encoder, assumptions


def _vocabulary_here(config: Pretrain) -> Vocabulary | None:
    if not all((Path(path) / METADATA).is_file() for path in _store_paths(config)):
        return None
    store = open_stores(config.store).first
    return Vocabulary(store, load_tokenizer(store.tokenizer_directory))


def _store_paths(config: Pretrain) -> list[str]:
    if isinstance(config.store, str):
        return [config.store]
    return [entry.path for entry in config.store]


def _pretraining_batch(data: PretrainingDataConfig, rows: int) -> HostBatch:
    """As `data/pretraining.py` makes them."""
    limits, made = data.limits, data.masking.most_predictions(data.max_seq_length)
    width = made if limits.predictions is None or not data.packing else limits.predictions
    labels = np.full((rows, width), IGNORED, np.int32)
    # The places beyond these are room for rows of many short examples.
    labels[:, :made] = 0
    examples = limits.examples if data.packing else None
    per_example = (rows,) if examples is None else (rows, examples)
    return _tokens(rows, data.max_seq_length, examples) | {
        "masked_lm_positions": np.zeros((rows, width), np.int32),
        "labels": labels,
        "next_sentence_label": np.zeros(per_example, np.int32),
    }


def _labelled_batch(
    config: Finetune, columns: Mapping[str, Column], length: int, rows: int
) -> HostBatch:
    """As `data/encoded.py` and `data/packed_rows.py` make them."""
    examples = max(1, length // _TOKENS_PER_EXAMPLE) if config.packing else None
    per_example = (rows,) if examples is None else (rows, examples)
    texts = max((column.texts for column in columns.values()), default=0)
    batch = _tokens(rows, length, examples, (texts,) if texts else ()) | {
        "row_ids": np.zeros(per_example, np.int32),
        "weights": np.ones(per_example, np.float32),
    }
    for name, column in columns.items():
        size = column.texts or column.width
        shape = (*per_example, size) if size else per_example
        shape = batch["input_ids"].shape if column.per_token else shape
        batch.setdefault(name, np.zeros(shape, column.dtype))
    if config.windows is not None:
        batch["document_ids"] = np.zeros(per_example, np.int32)
    return batch


def _tokens(
    rows: int, length: int, examples: int | None, texts: tuple[int, ...] = ()
) -> dict[str, NDArray[Any]]:
    """Full rows, packed ones of a single example: the most that a row can ask for."""
    shape = (rows, *texts, length) if examples is None else (rows, length)
    batch: dict[str, NDArray[Any]] = {
        name: np.zeros(shape, np.int32) for name in ("input_ids", "token_type_ids")
    }
    if examples is None:
        return batch | {"attention_mask": np.ones(shape, np.int32)}
    return batch | {
        "sequence_ids": np.ones(shape, np.int32),
        "sequence_starts": np.zeros((rows, examples, *texts), np.int32),
    }


def for_tpu(config: Pretrain | Finetune) -> Pretrain | Finetune:
    """With what `auto` means on a TPU; the machine that plans has none."""
    dtype = "bfloat16" if config.dtype == "auto" else config.dtype
    rng = "rbg" if config.step.dropout_rng == "auto" else config.step.dropout_rng
    return replace(config, dtype=dtype, step=replace(config.step, dropout_rng=rng))
