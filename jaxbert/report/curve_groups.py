"""Which curves of a run share a chart, and what the charts are called."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxbert.report.curves import Curve
from jaxbert.report.drawing import Line
from jaxbert.report.numbers import percent, shown
from jaxbert.report.reading import Run

MEASURES = {
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
    "tokens_per_second": "tokens per second",
    "model_flops_utilization": "model FLOPs utilization",
    "padding": "padding, share of positions",
    "data_share": "waiting for batches, share of time",
    "dispatch_share": "handing over steps, share of time",
}
"""What is not learnt, by its name in metrics.jsonl; the rest are losses and metrics."""
SHARES = ("model_flops_utilization", "padding", "data_share", "dispatch_share")
TRAINING, EVALUATION = 0, 1
"""Colours of a single run's curves; those of further sets follow."""
_BEFORE = "eval/"


@dataclass(frozen=True)
class Plot:
    """What one chart shows."""

    title: str
    lines: list[Line]
    is_share: bool = False


def learnt(run: Run) -> list[Plot]:
    """Losses and metrics, training beside evaluation."""
    sets, found = run.validation_sets, dict[str, list[Line]]()
    for name, curve in run.curves.items():
        if not name.startswith(_BEFORE) and name not in MEASURES and not _is_repeated(run, name):
            found[name] = [Line("training", curve, TRAINING)]
    for name, curve in run.curves.items():
        # Figures by class, such as f1/person, are many.
        metric = name.removeprefix(_BEFORE)
        if metric == name or "/" in metric:
            continue
        named = (each for each in sets if metric.startswith(f"{each}_"))
        held_out = max(named, key=len, default=None)
        text, place = "evaluation", 0
        if held_out is not None:
            metric, place = metric.removeprefix(f"{held_out}_"), sets.index(held_out)
            text = f"evaluation: {held_out}"
        line = Line(text, curve, EVALUATION + place, is_marked=True)
        found.setdefault(metric, []).append(line)
    plots = [Plot(title, lines) for title, lines in found.items()]
    return sorted(plots, key=lambda plot: not plot.title.endswith("loss"))


def measured(run: Run) -> list[Plot]:
    """Rates, norms and speeds, but for what never changes."""
    return [
        Plot(title, [Line("training", run.curves[name], TRAINING)], name in SHARES)
        for name, title in MEASURES.items()
        if name in run.curves and _only_value([run.curves[name]]) is None
    ]


def same_everywhere(runs: Sequence[Run]) -> list[str]:
    """What `measured` and `side_by_side` leave out, in words."""
    found = []
    for name in MEASURES:
        value = _only_value([run.curves[name] for run in runs if name in run.curves])
        if value is not None:
            text = percent(value) if name in SHARES else shown(value)
            found.append(f"{MEASURES[name]} {text}")
    return found


def side_by_side(runs: Sequence[Run]) -> list[Plot]:
    """Every curve of several runs, a line a run."""
    names = dict.fromkeys(name for run in runs for name in run.curves)
    losses = [name for name in names if name not in MEASURES and "/" not in name]
    metrics = [n for n in names if n.startswith(_BEFORE) and "/" not in n.removeprefix(_BEFORE)]
    metrics.sort(key=lambda name: not name.endswith("loss"))
    titles = {name: f"{name}, training" for name in losses}
    titles |= {name: f"{name.removeprefix(_BEFORE)}, evaluation" for name in metrics}
    titles |= {name: title for name, title in MEASURES.items() if name in names}
    plots = []
    for name, title in titles.items():
        lines = [
            Line(run.name, run.curves[name], place, is_marked=name.startswith(_BEFORE))
            for place, run in enumerate(runs)
            if name in run.curves
        ]
        if name not in MEASURES or _only_value([line.curve for line in lines]) is None:
            plots.append(Plot(title, lines, name in SHARES))
    return plots


def _only_value(curves: Sequence[Curve]) -> float | None:
    """The value that all curves have everywhere, of which a chart would show nothing."""
    ends = [point for curve in curves for point in (curve.lowest, curve.highest)]
    values = {None if point is None else point.value for point in ends}
    return values.pop() if len(values) == 1 and not any(c.not_finite for c in curves) else None


def _is_repeated(run: Run, name: str) -> bool:
    """Whether the loss is that of the only objective, which has a curve of its own."""
    others = [c for n, c in run.curves.items() if n.endswith("_loss") and "/" not in n]
    return name == "loss" and any(run.curves[name].buckets == each.buckets for each in others)
