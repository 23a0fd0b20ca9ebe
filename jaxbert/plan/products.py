"""FLOPs of the matrix products that a compiled program runs."""

import math
import re

import numpy as np

from jaxbert.plan.hlo import Computation, Instruction, Program, Shape
from jaxbert.plan.pallas import declared_flops, is_pallas

PRODUCTS = ("convolution", "dot")


def product_flops(program: Program) -> float:
    """Of one device and one execution; what runs in a loop counts as often as it runs.

    Two for every multiplication. The compiler writes products as convolutions, also batched ones,
    whose padding and dilation are left out here as XLA's own cost analysis does it. What a Pallas
    kernel multiplies is not in the text: it counts for what it was declared with, if it was.
    """
    total = 0.0
    for computation, instruction, times in program.everything():
        if instruction.opcode in PRODUCTS:
            total += times * _flops(computation, instruction)
        elif is_pallas(instruction):
            total += times * (declared_flops(instruction) or 0.0)
    return total


def custom_calls(program: Program) -> dict[str, float]:
    """How often every kernel runs that the compiler does not look into."""
    found: dict[str, float] = {}
    for _, instruction, times in program.everything():
        target = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
        if instruction.opcode == "custom-call" and target is not None:
            found[target.group(1)] = found.get(target.group(1), 0.0) + times
    return found


def _flops(computation: Computation, product: Instruction) -> float:
    left, right = (computation[name].results[0] for name in product.operands[:2])
    if product.opcode == "dot":
        found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", product.attributes)
        contracted = [int(d) for d in found.group(1).split(",")] if found and found.group(1) else []
        length = math.prod(left.dimensions[d] for d in contracted)
        return 2.0 * math.prod(product.results[0].dimensions) * length
    return _convolution_flops(left, right, product)


def _convolution_flops(left: Shape, right: Shape, product: Instruction) -> float:
    found = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", product.attributes)
    assert found is not None, product.name
    of_left, of_right, of_result = found.groups()
    result = product.results[0]
    window = _window(product.attributes)
    places = 1.0
    for axis, label in enumerate(sorted(label for label in of_left if label.isdecimal())):
        places *= _places(
            left.dimensions[of_left.index(label)],
            right.dimensions[of_right.index(label)],
            result.dimensions[of_result.index(label)],
            {name: values[axis] for name, values in window.items()},
        )
    batch = result.dimensions[of_result.index("b")]
    features = result.dimensions[of_result.index("f")]
    summed = right.dimensions[of_right.index("i")]
    groups = re.search(r"batch_group_count=(\d+)", product.attributes)
    return 2.0 * batch * features * summed * places / (int(groups.group(1)) if groups else 1)


def _window(attributes: str) -> dict[str, list[tuple[int, int]]]:
    """Name -> one pair for every spatial axis; of all but `pad` both are the same."""
    found = re.search(r"window=\{([^}]*)\}", attributes)
    entries = (entry.split("=") for entry in found.group(1).split()) if found else ()
    window = {}
    for name, values in entries:
        pairs = [[int(number) for number in value.split("_")] for value in values.split("x")]
        window[name] = [(pair[0], pair[-1]) for pair in pairs]
    return window


def _places(size: int, kernel: int, result: int, window: dict[str, tuple[int, int]]) -> float:
    """(place of the result, place in the kernel) that meet an element of the left operand."""
    stride, low = window.get("stride", (1, 1))[0], window.get("pad", (0, 0))[0]
    dilation, spread = window.get("lhs_dilate", (1, 1))[0], window.get("rhs_dilate", (1, 1))[0]
    of_result, of_kernel = np.arange(result)[:, None], np.arange(kernel)
    at = of_result * stride - low + of_kernel * spread
    return float(((at % dilation == 0) & (at >= 0) & (at // dilation < size)).sum())
