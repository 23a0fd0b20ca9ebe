"""Bytes that a compiled program moves between a device's memory (HBM) and its cores."""

from jaxbert.plan.hlo import Computation, Instruction, Program

_MOVES_NOTHING = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "replica-id", "while", "conditional", "call", "async-update"),
    # What it begins is an instruction of its own, in the computation that it calls.
    "async-start",
}
_LOOKS_UP = {"slice", "dynamic-slice", "gather"}
_COPIES = {"copy-start", "slice-start", "dynamic-slice-start"}


def hbm_bytes(program: Program) -> float:
    """Read and written by one device in one execution, loops as often as they run.

    Operands and results of everything that runs by itself, where they lie in HBM. Of a table that
    rows are looked up in, and of an array that a slice is put into, those rows and that slice.
    Without the padding of tiles, and as if every operand was read once.
    """
    total = 0.0
    for computation, instruction, times in program.scheduled():
        if instruction.opcode in _MOVES_NOTHING or instruction.opcode.endswith("-done"):
            continue
        total += times * (_read(program, computation, instruction) + _written(program, instruction))
    return total


def _read(program: Program, computation: Computation, instruction: Instruction) -> float:
    total = 0.0
    for place, name in enumerate(instruction.operands):
        operand = computation.get(name)
        if operand is None or instruction.opcode in _COPIES:
            continue
        whole = sum(shape.num_bytes for shape in operand.results if shape.is_in_hbm)
        total += min(whole, _looked_up(program, computation, instruction, place, whole))
    return total


def _written(program: Program, instruction: Instruction) -> float:
    results = instruction.results
    if instruction.opcode in _COPIES:
        # (destination, source, context), or the source first: what moves is the smaller of them.
        ends = results[:2]
        return sum(end.is_in_hbm for end in ends) * min(end.num_bytes for end in ends)
    if instruction.opcode == "send":
        return 0.0
    if instruction.opcode.endswith("-start"):
        # (operands, results, context)
        results = results[len(instruction.operands) : 2 * len(instruction.operands)]
    total = sum(shape.num_bytes for shape in results if shape.is_in_hbm)
    update = _update(program, instruction)
    return total if update is None else min(total, update)


def _looked_up(
    program: Program,
    computation: Computation,
    instruction: Instruction,
    place: int,
    whole: float,
) -> float:
    """Of an operand, what is read of it."""
    if instruction.opcode in _LOOKS_UP:
        return _size(instruction) if place == 0 else whole
    if instruction.opcode == "dynamic-update-slice":
        return 0.0 if place == 0 else whole
    if instruction.opcode != "fusion" or not instruction.called:
        return whole
    inside = program.computations[instruction.called[0]]
    parameter = next(
        (i for i in inside.values() if i.opcode == "parameter" and i.arguments == str(place)), None
    )
    if parameter is None:
        return whole
    total = 0.0
    for user in inside.values():
        if parameter.name not in user.operands:
            continue
        if user.opcode == "dynamic-update-slice" and user.operands[0] == parameter.name:
            continue
        if user.opcode not in _LOOKS_UP or user.operands[0] != parameter.name:
            return whole
        total += _size(user)
    return total


def _update(program: Program, instruction: Instruction) -> float | None:
    """Bytes of the slice, where the result is an array with a slice put into it."""
    if instruction.opcode != "fusion" or not instruction.called:
        return None
    inside = program.computations[instruction.called[0]]
    if not inside:
        return None
    root = list(inside.values())[-1]
    if root.opcode != "dynamic-update-slice":
        return None
    return _size(inside[root.operands[1]])


def _size(instruction: Instruction) -> float:
    return sum(shape.num_bytes for shape in instruction.results)
