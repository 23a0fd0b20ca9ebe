"""One compilation in a process of its own: a request on standard input, a report in a file.

The report is written again whenever more is known, so that what the compiler had to say remains
where it ends the process after that (libtpu 0.0.51 does on some texts of v6e).
"""

import dataclasses
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.parallel.rules import row_shards
from jaxbert.plan import measure
from jaxbert.plan.chips import Chip, chip_of
from jaxbert.plan.compilation import DoesNotFit, compile_step, tpu_mesh
from jaxbert.plan.estimate import time_figures
from jaxbert.plan.hlo import Program
from jaxbert.plan.report import Figure, PhaseReport, Plan
from jaxbert.plan.subject import Subject, for_tpu, subject_of


def main() -> None:
    """Answers the request; the file to write is the only argument."""
    request, path = json.load(sys.stdin), Path(sys.argv[1])
    try:
        config_class = {"pretrain": Pretrain, "finetune": Finetune}[request["config"]["kind"]]
        config = for_tpu(parse_config(config_class, request["config"]))
        _answer(subject_of(config), request["phase"], request["topology"], path, request["text"])
    except UserError as error:
        path.write_text(json.dumps({"error": str(error)}), encoding="utf-8")


def _answer(subject: Subject, phase: int, topology: str, path: Path, text: str | None) -> None:
    chip, mesh = chip_of(topology), tpu_mesh(subject, topology)
    num_devices, parts = mesh.devices.size, subject.settings.step.accumulation_steps
    described = subject.phases[phase]
    batch = described.make_batch(1)
    rows = described.batch_size // parts
    report = PhaseReport(
        first_step=described.first_step,
        num_steps=described.num_steps,
        batch_size=described.batch_size,
        rows=rows // row_shards(mesh),
        tokens=batch["input_ids"].shape[1],
        mesh={axis: int(size) for axis, size in mesh.shape.items()},
        fits=True,
        figures=measure.model_figures(subject, described, num_devices),
    )

    def write(report: PhaseReport) -> PhaseReport:
        plan = Plan(
            topology,
            num_devices // chip.devices_per_chip,
            {name: version(name) for name in ("jax", "jaxlib", "libtpu")},
            list(subject.assumptions),
            [report],
        )
        path.write_text(json.dumps(dataclasses.asdict(plan)), encoding="utf-8")
        return report

    _measure(subject, phase, topology, chip, report, write, text)


def _measure(
    subject: Subject,
    phase: int,
    topology: str,
    chip: Chip,
    report: PhaseReport,
    write: Any,
    text: str | None,
) -> None:
    try:
        step = compile_step(subject, phase, topology)
    except DoesNotFit as error:
        figures = dict(report.figures)
        if error.needed is not None:
            figures["temporaries"] = Figure(error.needed, "bytes", "the compiler's refusal")
        figures["memory"] = Figure(chip.memory, "bytes", f"what it may use of a {chip.name}'s HBM")
        notes = [f"does not fit: {error}"]
        write(dataclasses.replace(report, fits=False, figures=figures, notes=notes))
        return
    figures = measure.memory_figures(step, chip) | report.figures
    ended = "the compiler ended before it gave the program's text: its figures are missing"
    fits = figures["peak_memory"].value <= chip.memory
    report = dataclasses.replace(report, fits=fits, figures=figures)
    write(dataclasses.replace(report, notes=[ended]))
    compiled = str(step.compiled.as_text())
    if text is not None:
        Path(text).write_text(compiled, encoding="utf-8")
    program = Program.parse(compiled)
    figures |= measure.program_figures(program) | measure.cost_figures(step)
    collectives = measure.exchanges(program, report.mesh)
    tokens = report.batch_size * report.tokens
    figures |= time_figures(figures, collectives, chip, tokens=tokens)
    write(
        dataclasses.replace(
            report,
            figures=figures,
            collectives=collectives,
            most_expensive=measure.operations(program),
            notes=measure.notes(program),
        )
    )


if __name__ == "__main__":
    main()
