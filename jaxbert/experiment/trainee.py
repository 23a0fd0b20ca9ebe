"""What is trained, and on which data, in the form that every kind of run brings it in."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp

from jaxbert.data.stream import Stream
from jaxbert.experiment.held_out import Evaluation
from jaxbert.experiment.parameters import MakeParams
from jaxbert.experiment.regularisation import RegularisationConfig
from jaxbert.experiment.teacher import Teacher
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.nn.functional import abstract_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA
from jaxbert.optim.towards_start import Pull
from jaxbert.training.flops import train_flops
from jaxbert.typing import HostBatch, Params


@dataclass(frozen=True)
class Data:
    """What a run trains and is evaluated on."""

    train: Stream
    held_out: Mapping[str, Evaluation]
    """By the name that goes before their metrics; a single one is called ""."""
    fingerprints: Mapping[str, str]
    """Of each part of the data, by what messages call it: a run never continues on other data."""
    notes: tuple[str, ...] = ()
    """What the one who starts the run should know of it."""

    @property
    def batch_sizes(self) -> list[int]:
        """Those of all phases."""
        return [phase.batch_size for phase in self.train.phases]

    @property
    def fingerprint(self) -> str:
        """Those of all parts."""
        return " ".join(self.fingerprints.values())


@dataclass(frozen=True)
class Trainee:
    """What is trained: a model, or several that are trained together, as functions."""

    encoders: tuple[EncoderConfig, ...]
    make_apply: Callable[[jnp.dtype, Execution], Callable[..., Any]]
    """Compute dtype and execution -> the pure function that the task calls."""
    shapes: Params
    """Of the parameters, abstract."""
    make_params: MakeParams
    flops: Callable[[HostBatch], float]
    """Model FLOPs of a training step that reads its batch once, without those of a teacher."""
    teacher: Teacher | None = None
    """Whom it learns from."""
    regularisation: RegularisationConfig | None = None
    """What is added to its loss or its updates."""
    begun: tuple[str, ...] = ()
    """The beginnings of the paths of those layers that are drawn anew."""

    @property
    def architecture(self) -> list[dict[str, Any]]:
        """Of every encoder that is trained, as JSON gives it back."""
        return described(self.encoders)

    @property
    def all_encoders(self) -> tuple[EncoderConfig, ...]:
        """The teacher's too."""
        return self.encoders if self.teacher is None else (*self.encoders, self.teacher.encoder)

    @property
    def passes(self) -> float:
        """How many times the FLOPs of a step that reads its batch once one needs."""
        return 1.0 if self.regularisation is None else self.regularisation.passes

    @property
    def pull(self) -> Pull | None:
        """How strongly a parameter is drawn to where it began."""
        return None if self.regularisation is None else self.regularisation.pull(self.begun)

    def step_flops(self, batch: HostBatch, share: float = 1.0) -> float:
        """Model FLOPs of a step: `share` of those of training everything, and the teacher's."""
        taught = 0.0 if self.teacher is None else train_flops(self.teacher.encoder, batch) / 3
        return self.passes * share * self.flops(batch) + taught

    @classmethod
    def of(
        cls,
        encoder: EncoderConfig,
        head: Head,
        make_params: MakeParams,
        lora: LoRA | None = None,
    ) -> "Trainee":
        """One encoder with its head; `make_params` gives the factors of `lora` as well."""
        return cls(
            (encoder,),
            lambda dtype, execution: make_apply(encoder, head, dtype, execution, lora),
            abstract_params(encoder, head, lora),
            make_params,
            partial(train_flops, encoder, reads_vocabulary=head.splade is not None),
        )


def described(encoders: Sequence[EncoderConfig]) -> list[dict[str, Any]]:
    """Every option of some encoders, as JSON gives it back."""
    values: list[dict[str, Any]] = json.loads(json.dumps([*map(asdict, encoders)]))
    return values
