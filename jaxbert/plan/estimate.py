"""From what a step does to how long it may take, and what the run may cost."""

from collections.abc import Sequence

from jaxbert.plan.chips import Chip, Topology
from jaxbert.plan.collectives import Collective
from jaxbert.plan.report import Figure, PhaseReport


def time_figures(
    figures: dict[str, Figure],
    collectives: Sequence[Collective],
    topology: Topology,
    *,
    tokens: float,
) -> dict[str, Figure]:
    """Bounds and estimates of a step of `tokens` places on all chips, side by side."""
    chip = topology.chip
    matrix = figures["matrix_flops"].value / chip.peak_flops
    memory = figures["memory_traffic"].value / chip.memory_bandwidth
    kernels = figures.get("kernel_cycles")
    priced = figures["estimated_cycles"].value + (0.0 if kernels is None else kernels.value)
    cycles = priced / chip.clock
    is_sliced = topology.num_slices > 1
    far = sum(each.sent_bytes for each in collectives if is_sliced and "replica" in each.axes)
    near = sum(each.sent_bytes for each in collectives) - far
    links, network = near / chip.link_bandwidth, far / chip.network_bandwidth
    seconds = max(matrix, memory, cycles) + links + network
    model = figures["model_flops"].value
    return {
        "matrix_bound": Figure(
            matrix, "seconds", f"matrix_flops at {chip.peak_flops / 1e12:,.0f} TFLOP/s"
        ),
        "memory_bound": Figure(
            memory, "seconds", f"memory_traffic at {chip.memory_bandwidth / 1e9:,.0f} GB/s"
        ),
        "cycles_estimate": Figure(
            cycles,
            "seconds",
            f"estimated_cycles{'' if kernels is None else ' and kernel_cycles'} at "
            f"{chip.clock / 1e9:.2f} GHz",
        ),
        **_schedule_estimate(figures, chip),
        "link_bound": Figure(
            links,
            "seconds",
            f"bytes that a device must send at {chip.link_bandwidth / 1e9:,.0f} GB/s",
        ),
        **({"network_bound": _network_bound(network, chip)} if is_sliced else {}),
        "step_time": Figure(
            seconds,
            "seconds",
            "estimate: the largest of matrix_bound, memory_bound and cycles_estimate, and all "
            "exchanges as if nothing overlapped them",
        ),
        "model_flops_utilization": Figure(
            model / seconds / chip.peak_flops, "share", "model_flops over step_time and peak"
        ),
        "flops_ratio": Figure(
            figures["matrix_flops"].value / model, "share", "matrix_flops over model_flops"
        ),
        "tokens_per_second": Figure(
            tokens / seconds, "tokens/s", "all chips, every place of every row holding a token"
        ),
    }


def _schedule_estimate(figures: dict[str, Figure], chip: Chip) -> dict[str, Figure]:
    if "scheduled_cycles" not in figures:
        return {}
    seconds = figures["scheduled_cycles"].value / chip.clock
    how = f"scheduled_cycles at {chip.clock / 1e9:.2f} GHz, to be compared with cycles_estimate"
    return {"schedule_estimate": Figure(seconds, "seconds", how)}


def _network_bound(seconds: float, chip: Chip) -> Figure:
    how = (
        f"bytes between slices at a device's part of the network, {chip.network_bandwidth / 1e9:g}"
    )
    return Figure(seconds, "seconds", f"{how} GB/s; with a ring over the slices")


def totals(
    phases: Sequence[PhaseReport], num_chips: int, price_per_chip_hour: float | None
) -> dict[str, Figure]:
    """Hours and cost of all steps; nothing where a phase has no time or no number of steps."""
    hours = 0.0
    for phase in phases:
        if phase.num_steps is None or "step_time" not in phase.figures:
            return {}
        hours += phase.num_steps * phase.figures["step_time"].value / 3600
    how = "num_steps times step_time, without compilation, evaluation, checkpoints and stops"
    found = {"hours": Figure(hours, "hours", how)}
    if price_per_chip_hour is not None:
        cost = hours * num_chips * price_per_chip_hour
        how = f"hours x {num_chips} chips x {price_per_chip_hour:g}, in the currency of the price"
        found["cost"] = Figure(cost, "money", how)
    return found
