"""What a page says of one run."""

import json
from collections.abc import Iterator
from statistics import median

from jaxbert.report.chart import chart
from jaxbert.report.comparison import Score, flat, scores_of
from jaxbert.report.curve_groups import Plot, learnt, measured, same_everywhere
from jaxbert.report.elements import Markup, element, folded, joined, section, table
from jaxbert.report.numbers import NOTHING, duration, option, percent, shown
from jaxbert.report.reading import Run
from jaxbert.training.goodput import MEANINGS

KINDS = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}
OUTCOMES = {"stopped_early": "stopped early", None: "not ended"}


def parts(run: Run) -> Iterator[Markup]:
    """The sections, from what is looked for first."""
    scores = scores_of(run)
    yield element("div", *_cards(run, scores), class_="cards")
    if scores:
        yield section("Evaluation", _score_table(scores))
    yield _curves(run)
    if run.sessions:
        yield section("Where the time went", *_times(run))
    yield section("Configuration", *_options(run))
    yield from _data(run)
    yield from _breakdowns(run)
    if run.results:
        figures = [(element("code", name), _figure(run, name)) for name in sorted(run.results)]
        yield folded("All figures (all_results.json)", table(("figure", "value"), figures))


def described(run: Run) -> str:
    """Kind, objective and state, in one line."""
    section_name = "task" if run.kind == "finetune" else "objective"
    objective = run.config.get(section_name)
    kind = objective.get("kind") if isinstance(objective, dict) else None
    what = [KINDS.get(run.kind, run.kind), *([str(kind).replace("_", " ")] if kind else [])]
    return "; ".join([", ".join(what), state(run)])


def state(run: Run) -> str:
    """How far it has come."""
    of_all = f" of {run.num_steps:,}" if run.num_steps else ""
    where = f"step {run.step:,}{of_all}" if run.curves else "no step logged"
    note = "" if run.outcome else " (running, killed or failed)"
    return f"{outcome(run)}{note}, {where}"


def outcome(run: Run) -> str:
    """In one word or two."""
    return OUTCOMES.get(run.outcome, str(run.outcome))


def speed(run: Run) -> float | None:
    """Tokens a second, the median of what was logged."""
    curve = run.curves.get("tokens_per_second")
    return median(bucket.mean for bucket in curve.buckets) if curve and curve.buckets else None


def training_loss(run: Run) -> float | None:
    """As all_results.json has it, or else the last one."""
    result, curve = run.results.get("train_loss"), run.curves.get("loss")
    if run.has_ended and isinstance(result, int | float):
        return result
    return curve.last.value if curve and curve.last else None


def plotted(plots: list[Plot], *, with_legend: bool = True) -> Markup:
    """Charts beside and below each other."""
    charts = (
        chart(plot.title, plot.lines, is_share=plot.is_share, with_legend=with_legend)
        for plot in plots
    )
    return element("div", *charts, class_="figures")


def _cards(run: Run, scores: dict[str, Score]) -> Iterator[Markup]:
    for name, score in [*scores.items()][:2]:
        best = None
        if score.best is not None and score.best != score.final:
            best = f"best {shown(score.best)} at step {score.best_step:,}"
        yield _card(name, shown(score.final), best or f"at step {score.step:,}")
    if (loss := training_loss(run)) is not None:
        is_mean = run.has_ended and "train_loss" in run.results
        yield _card("training loss", shown(loss), "mean of the last 100" if is_mean else "the last")
    if run.curves:
        yield _card("steps", f"{run.step:,}", f"of {run.num_steps:,}" if run.num_steps else None)
    if (tokens := speed(run)) is not None:
        yield _card("tokens per second", shown(round(tokens)), "median")
    if times := run.times:
        yield _card("time", duration(times["whole"]), f"{percent(times['goodput'])} of it training")


def _card(title: str, value: str, below: str | None) -> Markup:
    small = element("small", below) if below else None
    return element("div", element("span", title), element("b", value), small, class_="card")


def _score_table(scores: dict[str, Score]) -> Markup:
    rows = []
    for name, score in scores.items():
        best, step = NOTHING, NOTHING
        if score.best is not None and score.best_step is not None:
            best, step = shown(score.best), f"{score.best_step:,}"
        rows.append((element("code", name), shown(score.final), f"{score.step:,}", best, step))
    return table(("metric", "final", "at step", "best", "at step"), rows)


def _curves(run: Run) -> Markup:
    plots = learnt(run) + measured(run)
    if not plots:
        return section("Curves", element("p", "No step has been logged yet.", class_="soft"))
    notes = []
    if same := same_everywhere([run]):
        notes.append(element("p", f"The same at every step: {', '.join(same)}.", class_="note"))
    if by_class := sum(name.startswith("eval/") and name.count("/") > 1 for name in run.curves):
        text = f"{by_class} curves of figures by class are in metrics.jsonl alone."
        notes.append(element("p", text, class_="note"))
    return section("Curves", plotted(plots), *notes)


def _times(run: Run) -> Iterator[Markup]:
    times = run.times
    whole = times["whole"] or 1.0
    colours = {name: f"c{place % 8}" for place, name in enumerate(MEANINGS)}
    spans = [
        element("span", class_=colours[name], style=f"width:{times[name] / whole:.2%}", title=name)
        for name in MEANINGS
        if times[name] > 0
    ]
    yield element("div", *spans, class_="bar")
    rows = [
        (
            joined((element("span", class_=f"key {colours[name]}"), name)),
            meaning,
            duration(times[name]),
            percent(times[name] / whole),
        )
        for name, meaning in MEANINGS.items()
        if times[name] > 0
    ]
    total = ("whole", f"goodput {percent(times['goodput'])}", duration(times["whole"]), "")
    yield table(("activity", "what it is", "time", "share"), [*rows, total], texts=2)
    number = len(run.sessions)
    noted = f"{run.noted:%Y-%m-%d %H:%M} UTC" if run.noted else ""
    text = f"{number} session{'s' if number > 1 else ''}; last noted {noted}."
    yield element("p", text, class_="note")


def _options(run: Run) -> Iterator[Markup]:
    every = flat(run.config)
    if run.chosen is None:
        yield _option_table(every)
        return
    chosen = flat(run.chosen)
    yield element("p", "What is not the default:", class_="note")
    yield _option_table(chosen)
    defaults = {key: value for key, value in every.items() if key not in chosen}
    yield folded(f"The {len(defaults)} options at their defaults", _option_table(defaults))


def _option_table(values: dict[str, object]) -> Markup:
    rows = ((element("code", key), written(value)) for key, value in values.items())
    return table(("option", "value"), rows, texts=2)


def written(value: object) -> str:
    """The value of an option, a list or a section too."""
    is_many = isinstance(value, list | dict)
    return json.dumps(value, ensure_ascii=False, default=str) if is_many else option(value)


def _data(run: Run) -> Iterator[Markup]:
    """Notes of fine-tuning, and by what the data are known again."""
    notes = [note for each in run.sections if each.title == "Data" for note in each.notes]
    content: list[Markup] = []
    if notes:
        content.append(element("ul", *(element("li", note) for note in notes)))
    if run.data:
        rows = [(what, element("code", str(print_))) for what, print_ in run.data.items()]
        content.append(table(("fingerprint of", "value"), rows, texts=2))
    if content:
        yield section("Data", *content)


def _breakdowns(run: Run) -> Iterator[Markup]:
    """The tables of report.md."""
    for each in run.sections:
        if each.title == "Data":
            continue
        if each.level == 2:
            yield element("h2", each.title.replace("Evaluation", "Evaluation in detail", 1))
            continue
        yield element("h3", each.title)
        if each.table:
            yield table(each.table[0], each.table[1:], texts=len(each.table[0]))
        yield from (element("p", note, class_="soft") for note in each.notes)


def _figure(run: Run, name: str) -> str:
    value = run.results[name]
    return NOTHING if value is None else shown(value)
