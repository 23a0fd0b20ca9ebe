"""Pallas kernels in a compiled program."""

import re

from jaxbert.plan.hlo import Instruction, Program

PALLAS = "tpu_custom_call"
"""How a Pallas kernel is called in a program."""


def is_pallas(instruction: Instruction) -> bool:
    """It calls a Pallas kernel."""
    return f'custom_call_target="{PALLAS}"' in instruction.attributes


def pallas_kernels(program: Program) -> list[str]:
    """Names of the Pallas kernels that a program runs, each once."""
    called = (call.name for _, call, _ in program.everything() if is_pallas(call))
    return sorted({re.sub(r"\.\d+$", "", name) for name in called})


def undeclared(program: Program) -> float:
    """How often Pallas kernels run that do not say how much they multiply."""
    return sum(
        times
        for _, instruction, times in program.everything()
        if is_pallas(instruction) and declared_flops(instruction) is None
    )


def declared_flops(kernel: Instruction) -> float | None:
    """What its author says that one call multiplies; None: nothing."""
    # The compiler writes the keys in one of two orders.
    found = re.search(r'"cost_estimate":\{[^{}]*"flops":"(\d+)"', kernel.attributes)
    return None if found is None else float(found.group(1))
