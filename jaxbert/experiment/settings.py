"""What every training run has, whatever it trains."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt

from jaxbert.checkpoint.preservation import CheckpointConfig
from jaxbert.nn.execution import Execution
from jaxbert.optim.averaging import AveragingConfig
from jaxbert.optim.kinds import AdamW, OptimizerConfig
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.optim.unfreezing import UnfreezingConfig
from jaxbert.parallel.mesh import MeshConfig
from jaxbert.tasks.distillation import DistillationConfig
from jaxbert.training.loop import LoopConfig
from jaxbert.training.step import StepConfig


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The sections that pretraining and fine-tuning share."""

    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    """Of initialisation, data order, masks and dropout."""
    batch_size: Annotated[int, Ge(1)] = 32
    """Rows per update, over all devices and microbatches."""
    evaluation_batch_size: Annotated[int, Ge(1)] | None = None
    """null: `batch_size`."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute dtype; auto: bfloat16 on TPU and GPU, float32 on CPU. Parameters are float32.

    On a CPU bfloat16 pays if it has a matrix unit (`lscpu` names amx_bf16).

    float32: what is kept and added is float32. Products of matrices are as exact as the platform
    makes them by default, which rounds operands: on TPUs to bfloat16, on newer GPUs to TF32; on
    CPUs to nothing. JAX_DEFAULT_MATMUL_PRECISION=highest in the environment, or in Python
    `jax.config.update("jax_default_matmul_precision", "highest")`, asks for float32 there too, at a
    fraction of the speed.
    """
    execution: Execution = field(default_factory=Execution)
    optimizer: OptimizerConfig = field(default_factory=AdamW)
    """How gradients become updates, by `kind`."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    unfreezing: UnfreezingConfig | None = None
    """null: what `optimizer` does not freeze is trained from the start."""
    averaging: AveragingConfig | None = None
    """null: the parameters of a step are those that are evaluated and exported."""
    distillation: DistillationConfig | None = None
    """Learning from another model, a teacher; null: from the data alone."""
    step: StepConfig = field(default_factory=StepConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)

    def rows_per_evaluation(self) -> int:
        """Rows of an evaluation batch."""
        return self.evaluation_batch_size or self.batch_size

    def compute_dtype(self) -> jnp.dtype:
        """The dtype that `dtype` means on this backend."""
        if self.dtype == "auto":
            return jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)
        return jnp.dtype(self.dtype)


def named_sets(validation: str | dict[str, str] | None) -> dict[str, str]:
    """What is named to be evaluated, by name; a single one is called ""."""
    if isinstance(validation, dict):
        return validation
    return {} if validation is None else {"": validation}
