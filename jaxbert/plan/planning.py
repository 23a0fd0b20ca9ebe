"""Plans of a configuration: every phase compiled in a process of its own."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from jaxbert.config import to_values
from jaxbert.errors import UserError
from jaxbert.experiment.checks import check_batch_sizes
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.pretraining_data import data_phases
from jaxbert.parallel.mesh import abstract_mesh
from jaxbert.plan.chips import Topology, topology_of
from jaxbert.plan.compilation import ENVIRONMENT, STEP_NAME, check_libtpu
from jaxbert.plan.estimate import totals
from jaxbert.plan.report import Plan
from jaxbert.plan.schedule import schedule_flags

Watch = Callable[[str], None]
"""Takes a line about what is being done."""


def plan(
    config: Pretrain | Finetune,
    topology: str,
    *,
    price_per_chip_hour: float | None = None,
    texts: Path | None = None,
    say: Watch = lambda line: None,
) -> Plan:
    """Compiles the step of every phase for a topology that is not here.

    `texts` is a directory for the compiled programs. Raises UserError where the compiler is not
    installed, and where configuration and topology do not go together.
    """
    _check_batches(config, topology_of(topology))
    check_libtpu()
    number = 1 + len(config.phases) if isinstance(config, Pretrain) else 1
    plans = []
    for phase in range(number):
        say(f"compiling phase {phase + 1} of {number} for {topology}: minutes for a large model")
        plans.append(_compiled(config, topology, phase, texts))
    phases = [phase for each in plans for phase in each.phases]
    found = totals(phases, plans[0].num_chips, price_per_chip_hour)
    return dataclasses.replace(plans[0], phases=phases, totals=found)


def _check_batches(config: Pretrain | Finetune, topology: Topology) -> None:
    """What the worker would refuse too, many seconds later."""
    sizes = [config.batch_size]
    if isinstance(config, Pretrain):
        phases = data_phases(config.data, config.batch_size, config.phases, config.num_steps)
        sizes = [phase.batch_size for phase in phases]
    mesh = abstract_mesh(config.mesh, topology.num_devices, topology.num_slices)
    check_batch_sizes(config, sizes, mesh)


def _compiled(config: Pretrain | Finetune, topology: str, phase: int, texts: Path | None) -> Plan:
    text = None if texts is None else str(texts / f"phase_{phase}.hlo.txt")
    with tempfile.TemporaryDirectory() as directory:
        path, dump = Path(directory) / "report.json", f"{directory}/dump"
        schedule = f"{directory}/schedule"
        request = {
            "config": to_values(config),
            "topology": topology,
            "phase": phase,
            "dump": dump,
            "schedule": schedule,
            "text": text,
        }
        process = subprocess.run(
            [sys.executable, "-m", "jaxbert.plan.worker", str(path)],
            input=json.dumps(request),
            env=os.environ | ENVIRONMENT | _flags(dump, schedule),
            capture_output=True,
            text=True,
            check=False,
        )
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    ended = f"the compiler ended with status {process.returncode}: {_reason(process.stderr)}"
    if values is None:
        raise UserError(ended)
    if "error" in values:
        raise UserError(values["error"])
    if process.returncode:
        values["phases"][0]["notes"].append(f"figures of the program are missing: {ended}")
    import pydantic

    return pydantic.TypeAdapter(Plan).validate_python(values)


def _flags(dump: str, schedule: str) -> dict[str, str]:
    """Those that there are, and that the compiler writes down its programs and their schedules."""
    dumped = f"--xla_dump_to={dump} --xla_dump_hlo_as_text --xla_dump_hlo_module_re={STEP_NAME}"
    added = {"XLA_FLAGS": dumped, "LIBTPU_INIT_ARGS": schedule_flags(schedule)}
    return {name: f"{os.environ.get(name, '')} {flags}" for name, flags in added.items()}


def _reason(printed: str) -> str:
    """The line that names an error, or else the last one."""
    lines = printed.strip().splitlines() or ["it said nothing"]
    return next((line for line in reversed(lines) if re.match(r"[\w.]+Error\b", line)), lines[-1])
