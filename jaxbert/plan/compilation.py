"""The train step of a configuration, compiled for a TPU that is not here.

Runs in a process of its own (`worker.py`): the compiler is a C++ library that reads its settings
once, and that ends the process where it finds a fault of its own.
"""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from jaxbert.errors import UserError
from jaxbert.experiment.checks import check_training
from jaxbert.experiment.lesson import lesson
from jaxbert.experiment.training_phases import training_phases
from jaxbert.parallel.mesh import make_mesh
from jaxbert.plan.chips import Topology, no_such_topology
from jaxbert.plan.subject import Subject
from jaxbert.training.state import TrainState
from jaxbert.training.step import gathering
from jaxbert.typing import Params

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    # Several processes may compile at once; the library would keep all but one out.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # Outside Google's cloud nobody answers these questions, and asking takes long.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
"""What the compiler needs to find in its environment before it is loaded."""

STEP_NAME = "jit_train_step"
"""What XLA calls the program."""

_OUT_OF_MEMORY = re.compile(r"required for (.*?) \(([\d.]+)([KMGT])\)")


class DoesNotFit(Exception):
    """The compiler found no way to run the step in the chip's memory."""

    def __init__(self, message: str):
        super().__init__(message)
        found = _OUT_OF_MEMORY.search(message)
        scale = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
        self.needed = float(found.group(2)) * scale[found.group(3)] if found else None
        """Bytes that it could not do without."""


@dataclass(frozen=True)
class Step:
    """The compiled step, and what went into it."""

    compiled: jax.stages.Compiled
    mesh: Mesh
    state: TrainState
    """Abstract, with shardings."""
    fixed: tuple[Params, ...] = ()
    """Likewise, of a teacher."""


def check_libtpu() -> None:
    """Raises UserError where the compiler is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("the TPU compiler is not installed: pip install 'jaxbert[plan]'")


def tpu_mesh(subject: Subject, topology: Topology) -> Mesh:
    """The mesh of the settings over the devices of a topology."""
    try:
        described = topologies.get_topology_desc(
            platform="tpu",
            topology_name=topology.slice_name,
            chip_config_name=topology.chip.chip_config,
            num_slices=topology.num_slices,
        )
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise no_such_topology(topology, reason.splitlines()[0]) from None
    return make_mesh(subject.settings.mesh, described.devices)


def compile_step(subject: Subject, phase: int, mesh: Mesh) -> Step:
    """Compiles the jitted step of training for one phase.

    Raises DoesNotFit, and UserError where mesh, batch and model do not go together.
    """
    settings, trainee = subject.settings, subject.trainee
    sizes = [each.batch_size for each in subject.phases]
    check_training(settings, trainee.all_encoders, mesh, sizes)
    apply = gathering(trainee.make_apply(settings.compute_dtype(), settings.execution), mesh)
    taught = lesson(apply, subject.task, trainee, settings, mesh)
    # Of gradual unfreezing the last phase: it needs the most.
    last = training_phases(
        settings,
        taught.task,
        taught.apply,
        trainee.shapes,
        num_steps=subject.num_steps,
        ends_epoch=lambda step: True,
        mesh=mesh,
        fixed=taught.fixed,
        pull=trainee.pull,
    )[-1]
    batch = _abstract_batch(subject, phase)
    lowered = last.step.lower(last.state, batch, *taught.fixed)  # type: ignore[attr-defined]
    try:
        return Step(lowered.compile(), mesh, last.state, taught.fixed)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFit(" ".join(str(error).split())) from None


def text_of(step: Step, dump: Path) -> str:
    """The compiled program as text, which is in `dump` where jaxlib cannot write it down itself.

    Of v6e and 7x jaxlib 0.10.2 refuses programs with asynchronous operations.
    """
    try:
        return str(step.compiled.as_text())
    except jax.errors.JaxRuntimeError:
        [written] = dump.glob(f"*{STEP_NAME}*.after_codegen.txt")
        return written.read_text(encoding="utf-8")


def _abstract_batch(subject: Subject, phase: int) -> Mapping[str, Any]:
    """[microbatches, rows, ...]"""
    parts, described = subject.settings.step.accumulation_steps, subject.phases[phase]
    arrays = described.make_batch(1)
    rows = described.batch_size // parts
    return {
        name: jax.ShapeDtypeStruct((parts, rows, *array.shape[1:]), array.dtype)
        for name, array in arrays.items()
    }
