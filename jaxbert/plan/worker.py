"""One compilation in a process of its own: a request on standard input, a report in a file."""

import dataclasses
import json
import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.parallel.rules import row_shards
from jaxbert.plan import measure
from jaxbert.plan.chips import Chip, Topology, topology_of
from jaxbert.plan.collectives import collectives_of
from jaxbert.plan.compilation import DoesNotFit, Step, compile_step, text_of, tpu_mesh
from jaxbert.plan.estimate import time_figures
from jaxbert.plan.hlo import Program
from jaxbert.plan.pallas import pallas_kernels
from jaxbert.plan.report import Figure, PhaseReport, Plan
from jaxbert.plan.schedule import Schedule, schedule_of
from jaxbert.plan.sources import most_expensive
from jaxbert.plan.subject import Subject, for_tpu, subject_of

_SHOWN = 10


@dataclass(frozen=True)
class Request:
    """What a worker is asked."""

    config: dict[str, Any]
    """Plain values of a Pretrain or Finetune."""
    topology: str
    phase: int
    dump: str
    """Where the compiler writes its programs down."""
    schedule: str
    """Where it writes the schedules of their kernels."""
    text: str | None
    """A file for the compiled program."""


def main() -> None:
    """Answers the request; the file to write is the only argument."""
    request, path = Request(**json.load(sys.stdin)), Path(sys.argv[1])
    try:
        _answer(request, path)
    except UserError as error:
        path.write_text(json.dumps({"error": str(error)}), encoding="utf-8")


def _answer(request: Request, path: Path) -> None:
    """Writes the report, once more when more is known: the compiler may end the process."""
    config_class = {"pretrain": Pretrain, "finetune": Finetune}[request.config["kind"]]
    subject = subject_of(for_tpu(parse_config(config_class, request.config)))
    topology = topology_of(request.topology)
    chip, mesh = topology.chip, tpu_mesh(subject, topology)

    def write(report: PhaseReport) -> None:
        versions = {name: version(name) for name in ("jax", "jaxlib", "libtpu")}
        plan = Plan(
            request.topology, topology.num_chips, versions, list(subject.assumptions), [report]
        )
        path.write_text(json.dumps(dataclasses.asdict(plan)), encoding="utf-8")

    report = _described(subject, request.phase, mesh)
    try:
        step = compile_step(subject, request.phase, mesh)
    except DoesNotFit as error:
        write(_refused(report, error, chip))
        return
    figures = measure.memory_figures(step, chip) | report.figures
    fits = figures["peak_memory"].value <= chip.memory
    report = replace(report, fits=fits, figures=figures)
    write(report)
    text = text_of(step, Path(request.dump))
    if request.text is not None:
        Path(request.text).write_text(text, encoding="utf-8")
    program = Program.parse(text)
    schedule = schedule_of(program, Path(request.schedule))
    write(_with_program(report, program, schedule, step, topology))


def _described(subject: Subject, number: int, mesh: Mesh) -> PhaseReport:
    """What is known before anything is compiled."""
    phase, parts = subject.phases[number], subject.settings.step.accumulation_steps
    return PhaseReport(
        first_step=phase.first_step,
        num_steps=phase.num_steps,
        batch_size=phase.batch_size,
        rows=phase.batch_size // parts // row_shards(mesh),
        tokens=phase.make_batch(1)["input_ids"].size,
        mesh={axis: int(size) for axis, size in mesh.shape.items()},
        fits=True,
        figures=measure.model_figures(subject, phase, mesh.devices.size),
    )


def _refused(report: PhaseReport, error: DoesNotFit, chip: Chip) -> PhaseReport:
    figures = dict(report.figures)
    if error.needed is not None:
        figures["temporaries"] = Figure(error.needed, "bytes", "the compiler's refusal")
    figures["memory"] = Figure(chip.memory, "bytes", f"what it may use of {chip.device}'s HBM")
    return replace(report, fits=False, figures=figures, notes=[f"does not fit: {error}"])


def _with_program(
    report: PhaseReport, program: Program, schedule: Schedule, step: Step, topology: Topology
) -> PhaseReport:
    figures = report.figures | measure.program_figures(program)
    figures |= measure.schedule_figures(schedule) | measure.cost_figures(step)
    collectives = collectives_of(program, report.mesh)
    tokens = report.batch_size * report.tokens
    return replace(
        report,
        figures=figures | time_figures(figures, collectives, topology, tokens=tokens),
        collectives=collectives,
        most_expensive=most_expensive(program, schedule.kernels, _SHOWN),
        kernels=pallas_kernels(program),
        notes=measure.notes(program, schedule),
    )


if __name__ == "__main__":
    main()
