"""Plans as tables on standard output."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from jaxbert.plan.report import Figure, PhaseReport, Plan
from jaxbert.plan.search import Trial

_SCALES = {
    "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")),
    "flops": ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")),
    "seconds": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")),
    "cycles": ((1e6, "M cycles"),),
}

_COLUMNS = ("peak", "step", "tokens/s", "hours")


def print_plan(plan: Plan) -> None:
    """Every phase, then hours and cost."""
    console = Console()
    versions = ", ".join(f"{name} {version}" for name, version in plan.versions.items())
    console.print(f"{plan.topology}, {_chips(plan)}; {versions}", highlight=False)
    for assumption in plan.assumptions:
        console.print(f"assumed: {assumption}", highlight=False)
    for phase in plan.phases:
        _print_phase(console, phase, plan.how)
    if plan.totals:
        _print_figures(console, plan.totals)


def print_trials(trials: Sequence[Trial]) -> None:
    """What was tried, the best first."""
    table = Table()
    table.add_column("settings", overflow="fold")
    for name in ("fits", *_COLUMNS):
        table.add_column(name, no_wrap=True)
    table.caption = "peak: of the largest phase; step and tokens/s: of the first"
    for trial in trials:
        fits = "refused" if trial.plan is None else "yes" if trial.fits else "no"
        shown = _shown(trial)
        cells = (shown.get(name, "").removesuffix(f" {name}") for name in _COLUMNS)
        table.add_row(_settings(trial).replace(" ", "\n"), fits, *cells)
    console = Console()
    console.print(table)
    for trial in trials:
        if trial.plan is None:
            refusal = f"refused: {_settings(trial)}: {trial.refusal}"
            console.print(refusal, highlight=False, soft_wrap=True)
    best = trials[0]
    if not best.fits:
        console.print("nothing that was tried fits")
    elif best.overrides:
        console.print(f"the fastest that fits: {_settings(best)}", soft_wrap=True)
    else:
        console.print("the fastest that fits is the configuration as it is")


def outcome(trial: Trial) -> str:
    """A trial in a line."""
    if trial.plan is None:
        return f"refused: {trial.refusal}"
    return ", ".join(["fits" if trial.fits else "does not fit", *_shown(trial).values()])


def _settings(trial: Trial) -> str:
    return " ".join(trial.overrides) or "as configured"


def _shown(trial: Trial) -> dict[str, str]:
    """Those of `_COLUMNS` that are known."""
    if trial.plan is None:
        return {}
    first, *_ = phases = trial.plan.phases
    # Of what does not fit the compiler says what it could not do without.
    needed = [
        phase.figures[name]
        for phase in phases
        for name in ("peak_memory", "temporaries")
        if name in phase.figures
    ]
    figures = {
        "peak": max(needed, key=lambda figure: figure.value, default=None),
        "step": first.figures.get("step_time"),
        "tokens/s": first.figures.get("tokens_per_second"),
        "hours": trial.plan.totals.get("hours"),
    }
    return {name: value(figure) for name, figure in figures.items() if figure is not None}


def value(figure: Figure) -> str:
    """A number for people, with its unit."""
    if figure.unit == "share":
        return f"{figure.value:.3f}"
    if figure.unit == "money":
        return f"{figure.value:,.2f}"
    for scale, name in _SCALES.get(figure.unit, ()):
        if figure.value >= scale:
            return f"{figure.value / scale:,.2f} {name}"
    places = 0 if figure.value >= 100 else 2
    return f"{figure.value:,.{places}f} {figure.unit}"


def _chips(plan: Plan) -> str:
    each = plan.num_devices // plan.num_chips
    return f"{plan.num_chips:,} chips" + (f" of {each} devices each" if each > 1 else "")


def _verdict(phase: PhaseReport) -> str:
    words = "fits" if phase.fits else "does not fit"
    if "peak_memory" in phase.figures:
        needed, memory = (value(phase.figures[name]) for name in ("peak_memory", "memory"))
        words += f", {needed} of {memory}"
    if "step_time" in phase.figures:
        words += f"; about {value(phase.figures['step_time'])} a step, an estimate"
    return words


def _print_phase(console: Console, phase: PhaseReport, how: dict[str, str]) -> None:
    mesh = " ".join(f"{axis}={size}" for axis, size in phase.mesh.items() if size > 1) or "1 device"
    steps = "" if phase.num_steps is None else f", {phase.num_steps:,} steps"
    console.print(
        f"\nfrom step {phase.first_step:,}{steps}: {phase.batch_size:,} rows of {phase.tokens} "
        f"tokens, {phase.rows} a device and microbatch; {mesh}; "
        f"{_verdict(phase)}",
        highlight=False,
    )
    for note in phase.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    _print_figures(console, phase.figures)
    if phase.collectives:
        table = Table("exchange", "along", "times", "bytes", "sent by a device")
        table.caption = how["collectives"]
        for each in phase.collectives:
            sizes = (value(Figure(size, "bytes", "")) for size in (each.num_bytes, each.sent_bytes))
            table.add_row(each.kind, " + ".join(each.axes), f"{each.count:g}", *sizes)
        console.print(table)
    if phase.most_expensive:
        table = Table()
        for name in ("most estimated cycles", "called by", "pass", "times", "share", "operation"):
            # Cut short, a place would have no line number.
            table.add_column(name, overflow="fold")
        table.caption = how["most_expensive"]
        names = ("estimated_cycles", "kernel_cycles")
        total = sum(phase.figures[name].value for name in names if name in phase.figures)
        for operation in phase.most_expensive:
            table.add_row(
                operation.source or "unknown",
                operation.caller,
                operation.pass_,
                f"{operation.count:g}",
                f"{operation.cycles / total:.1%}",
                operation.op_name.rpartition("/")[2],
            )
        console.print(table)


def _print_figures(console: Console, figures: dict[str, Figure]) -> None:
    table = Table("figure")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("how")
    for name, figure in figures.items():
        table.add_row(name, value(figure), figure.how)
    console.print(table)
