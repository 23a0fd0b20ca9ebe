"""Figures of a compiled step."""

import math
from typing import Any

import jax

from jaxbert.plan.chips import Chip
from jaxbert.plan.compilation import Step
from jaxbert.plan.hlo import Program
from jaxbert.plan.pallas import PALLAS, undeclared
from jaxbert.plan.products import custom_calls, product_flops
from jaxbert.plan.report import Figure
from jaxbert.plan.schedule import Schedule
from jaxbert.plan.subject import Phase, Subject
from jaxbert.plan.traffic import hbm_bytes

# Marks in the program that move and compute nothing.
_NO_KERNELS = (
    *("AllocateBuffer", "AssumeGatherIndicesInBound", "GatherScatterIndicesBitpacked"),
    *("ConcatBitcast", "X64Combine", "X64SplitLow", "X64SplitHigh", "Sharding"),
    *("ZeroCrop", "SliceId", "AsyncCollectiveStart", "AsyncCollectiveDone"),
)


def memory_figures(step: Step, chip: Chip) -> dict[str, Figure]:
    """What the compiler reserves."""
    found: Any = step.compiled.memory_analysis()
    how = "memory_analysis of the compiled step"
    # Its own peak also counts buffers in vector memory.
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    held = found.argument_size_in_bytes + results + found.temp_size_in_bytes
    available = f"what the compiler may use of {chip.device}'s HBM"
    return {
        **state_figures(step.state, step.fixed),
        "temporaries": Figure(found.temp_size_in_bytes, "bytes", f"{how}: activations, mostly"),
        "program": Figure(found.generated_code_size_in_bytes, "bytes", f"{how}: its code"),
        "peak_memory": Figure(
            held + found.generated_code_size_in_bytes,
            "bytes",
            f"{how}: state, batch, temporaries and program",
        ),
        "memory": Figure(chip.memory, "bytes", available),
    }


def cost_figures(step: Step) -> dict[str, Figure]:
    """What the compiler counts, to be compared with what others print."""
    costs: Any = step.compiled.cost_analysis()
    how = "cost_analysis: includes vector memory, counts loops once; no bound of anything"
    return {"bytes_accessed": Figure(float(costs["bytes accessed"]), "bytes", how)}


def state_figures(state: Any, fixed: Any = ()) -> dict[str, Figure]:
    """What a checkpoint holds, and a teacher beside it, from shapes and shardings."""
    how = "shapes and shardings, without the padding of tiles"
    parts = {"parameters": state.params, "optimizer_state": state.opt_state, "teacher": fixed}
    return {
        name: Figure(_bytes_on_a_device(tree), "bytes", how)
        for name, tree in parts.items()
        if name != "teacher" or fixed
    }


def model_figures(subject: Subject, phase: Phase, num_devices: int) -> dict[str, Figure]:
    """What the model needs, whatever the program does."""
    batch, share = phase.make_batch(phase.batch_size), subject.flops_share
    flops = subject.trainee.step_flops(batch, share) / num_devices
    how = "analytic (Chowdhery et al. 2022, appendix B), all rows full, one example a row"
    if share < 1:
        how = f"{how}, without what is not computed for frozen layers"
    if subject.trainee.passes > 1:
        how = f"{how}, times {subject.trainee.passes:.3g} for regularisation"
    if subject.trainee.teacher is not None:
        how = f"{how}, with the teacher's forward pass"
    return {"model_flops": Figure(flops, "flops", how)}


def program_figures(program: Program) -> dict[str, Figure]:
    """What the compiled program does."""
    how = "compiled text, loops as often as they run"
    cycles = sum(
        times * (instruction.estimated_cycles or 0) for _, instruction, times in program.scheduled()
    )
    return {
        "matrix_flops": Figure(product_flops(program), "flops", f"products in the {how}"),
        "memory_traffic": Figure(
            hbm_bytes(program), "bytes", f"operands and results in HBM, {how}; each read once"
        ),
        "estimated_cycles": Figure(
            cycles,
            "cycles",
            f"the compiler's cost model, summed over the {how}; without collectives, kernels, "
            "random bits and waits for memory",
        ),
    }


def schedule_figures(schedule: Schedule) -> dict[str, Figure]:
    """What the compiler scheduled; nothing where it wrote no schedules."""
    if not schedule.bundles:
        return {}
    how = "instruction bundles of a core as the compiler scheduled them, loops as often as they run"
    figures = {
        "scheduled_cycles": Figure(
            schedule.bundles, "cycles", f"{how}; without exchanges and waits for memory"
        )
    }
    if schedule.pallas:
        figures["kernel_cycles"] = Figure(schedule.pallas, "cycles", f"of Pallas kernels: {how}")
    return figures


def notes(program: Program, schedule: Schedule) -> list[str]:
    """What the figures of the program leave out."""
    found = []
    kernels = {
        name: int(times) for name, times in custom_calls(program).items() if name not in _NO_KERNELS
    }
    kernels.pop(PALLAS, None)
    if missing := int(undeclared(program)):
        found.append(f"products in {missing} Pallas kernels are not in matrix_flops")
    if kernels:
        listed = ", ".join(f"{times} x {name}" for name, times in kernels.items())
        found.append(
            f"kernels that no figure of the program includes, by the compiler's names: {listed}"
        )
    if schedule.missing_pallas:
        found.append(f"Pallas kernels that are not priced: {len(schedule.missing_pallas)}")
    if schedule.missing:
        found.append(f"{len(schedule.missing)} fusions and kernels are not in scheduled_cycles")
    if program.unknown_loops:
        found.append(
            f"{len(program.unknown_loops)} loops with unknown trip counts are counted once"
        )
    return found


def _bytes_on_a_device(tree: Any) -> float:
    return float(
        sum(
            math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )
    )
