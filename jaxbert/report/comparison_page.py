"""What a page says of several runs of one kind."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from jaxbert.report.chart import legend, swatch
from jaxbert.report.comparison import MISSING, Comparison, Group
from jaxbert.report.curve_groups import Plot, same_everywhere, side_by_side
from jaxbert.report.curves import LIMIT
from jaxbert.report.elements import Content, Markup, element, folded, joined, section, table
from jaxbert.report.numbers import NOTHING, duration, percent, shown
from jaxbert.report.run_page import plotted, speed, state, training_loss, written
from jaxbert.training.goodput import MEANINGS

_POINTS = 600
"""Of all lines of a chart together, where there are few: more hide each other."""
_FEWEST = 50
"""Of one line."""


def parts(comparison: Comparison) -> Iterator[Markup]:
    """The sections, from what is looked for first."""
    yield element("p", _differences(comparison), class_="soft")
    yield _figures(comparison)
    limit = points(len(comparison.runs))
    same, plots = same_everywhere(comparison.runs), side_by_side(comparison.runs)
    if plots:
        note = f"The same at every step of all runs: {', '.join(same)}." if same else None
        yield section(
            "Curves",
            legend((run.name, place) for place, run in enumerate(comparison.runs)),
            plotted([_within(plot, limit) for plot in plots], with_legend=False),
            element("p", note, class_="note") if note else None,
        )
    if any(run.sessions for run in comparison.runs):
        yield section("Where the time went", _times(comparison))
    yield section("Data", *_data(comparison))


def points(runs: int) -> int:
    """Of a curve at most, in a chart of so many runs."""
    return min(LIMIT, max(_FEWEST, _POINTS // runs))


def option_text(comparison: Comparison, place: int, option: str) -> str:
    """The value of an option, where the run has it."""
    value = comparison.value(place, option)
    return NOTHING if value is MISSING else written(value)


def spread_text(group: Group, metric: str) -> str:
    """Mean and deviation of a metric, where all runs of the group have it."""
    figure = group.figures.get(metric)
    if figure is None:
        return NOTHING
    mean, deviation = shown(figure.mean), figure.deviation or 0.0
    digits = len(mean.partition(".")[2])
    return f"{mean} ± {shown(deviation) if 'e' in mean else f'{deviation:.{digits}f}'}"


def group_name(comparison: Comparison, group: Group) -> str:
    """What a group is called: seeds are what its runs differ in."""
    seeds = [option_text(comparison, place, "seed") for place in group.places]
    return f"mean of {len(seeds)} (seeds {', '.join(seeds)})"


def _differences(comparison: Comparison) -> str:
    number = len(comparison.options)
    if number == 0:
        return "Their configurations are the same."
    options = "one option" if number == 1 else f"{number} options"
    return f"Their configurations differ in {options}: {', '.join(comparison.options)}."


def _figures(comparison: Comparison) -> Markup:
    """Runs, options and figures; the runs of a group together, and then their mean."""
    in_groups = {place: group for group in comparison.groups for place in group.places}
    rows: list[Markup] = []
    for place in range(len(comparison.runs)):
        group = in_groups.get(place)
        if group is None:
            rows.append(_row(comparison, place))
        elif place == group.places[0]:
            rows += [_row(comparison, each) for each in group.places]
            rows.append(_mean_row(comparison, comparison.groups.index(group)))
    options = [element("code", name) for name in comparison.options]
    metrics = [element("code", name) for name in comparison.metrics]
    names = ["run", *options, *metrics, "training loss", "tokens/s", "time", "state"]
    head = element("tr", *_aligned(comparison, names, "th"))
    whole = element("table", element("thead", head), element("tbody", *rows))
    marked = "The best value of a metric is marked. " if any(comparison.best.values()) else ""
    note = f"{marked}Figures are those of the model that a run has left, or of its last evaluation."
    return joined((element("div", whole, class_="wide"), element("p", note, class_="note")))


def _row(comparison: Comparison, place: int) -> Markup:
    run, scores = comparison.runs[place], comparison.scores[place]
    cells: list[Content] = [joined((swatch(place), run.name))]
    cells += [option_text(comparison, place, name) for name in comparison.options]
    for name in comparison.metrics:
        if name not in scores:
            cells.append(NOTHING)
            continue
        score, below = scores[name], None
        if score.best is not None and score.best != score.final:
            below = element("small", f"best {shown(score.best)} at {score.best_step:,}")
        final = _marked(shown(score.final), is_best=place in comparison.best[name])
        cells.append(joined((final, below)))
    loss, tokens, times = training_loss(run), speed(run), run.times
    cells.append(NOTHING if loss is None else shown(loss))
    cells.append(NOTHING if tokens is None else shown(round(tokens)))
    cells += [duration(times["whole"]) if times else NOTHING, state(run)]
    return element("tr", *_aligned(comparison, cells))


def _mean_row(comparison: Comparison, number: int) -> Markup:
    group = comparison.groups[number]
    first = group.places[0]
    cells: list[Content] = [group_name(comparison, group)]
    cells += [
        "" if name == "seed" else option_text(comparison, first, name)
        for name in comparison.options
    ]
    cells += [
        _marked(spread_text(group, name), is_best=number in comparison.best_groups[name])
        for name in comparison.metrics
    ]
    return element("tr", *_aligned(comparison, [*cells, "", "", "", ""]), class_="mean")


def _marked(text: str, *, is_best: bool) -> Content:
    return element("span", text, class_="best") if is_best else text


def _aligned(comparison: Comparison, cells: Sequence[Content], tag: str = "td") -> Iterator[Markup]:
    """Figures stand right; a run's name stays on one line."""
    first = 1 + len(comparison.options)
    for place, cell in enumerate(cells):
        is_figure = first <= place < len(cells) - 1
        is_whole = place == 0 or place == len(cells) - 1
        yield element(tag, cell, class_="n" if is_figure else "whole" if is_whole else None)


def _within(plot: Plot, limit: int) -> Plot:
    lines = [replace(line, curve=line.curve.within(limit)) for line in plot.lines]
    return replace(plot, lines=lines)


def _times(comparison: Comparison) -> Markup:
    """Shares of the activities that took any."""
    times = [run.times for run in comparison.runs]
    names = [name for name in MEANINGS if any(each and each[name] > 0 for each in times)]
    rows = []
    for run, each in zip(comparison.runs, times, strict=True):
        if each:
            shares = (percent(each[name] / (each["whole"] or 1.0)) for name in names)
            rows.append((run.name, duration(each["whole"]), *shares))
        else:
            rows.append((run.name, *[NOTHING] * (len(names) + 1)))
    return table(("run", "time", *names), rows)


def _data(comparison: Comparison) -> Iterator[Markup]:
    """Which data each run has, where they are not the same."""
    runs = comparison.runs
    if not any(run.data for run in runs):
        yield element("p", "No run has noted its data.", class_="soft")
        return
    rows = [(what, element("code", value)) for what, value in runs[0].data.items()]
    if all(run.data == runs[0].data for run in runs):
        yield element("p", "All of them have the same data.")
        yield folded("Fingerprints", table(("fingerprint of", "value"), rows, texts=2))
        return
    names = dict.fromkeys(name for run in runs for name in run.data)
    cells = [
        (run.name, *(element("code", run.data.get(name, NOTHING)) for name in names))
        for run in runs
    ]
    yield element("p", "Not all of them have the same data: these are their fingerprints.")
    yield table(("run", *names), cells, texts=1 + len(names))
