"""What a finished run leaves for its users: the model, the figures, the picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxbert.config import to_values
from jaxbert.disk import write_whole
from jaxbert.experiment.run_directory import RunDirectory
from jaxbert.hub.card import Card
from jaxbert.hub.save import layout_for, save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.training.log import read_metrics, to_json
from jaxbert.typing import Params


@dataclass(frozen=True)
class TrainedModel:
    """A model that a run has made."""

    params: Params
    encoder: EncoderConfig
    head: Head


def write_artifacts(
    run: RunDirectory,
    results: Mapping[str, float],
    models: Mapping[str, TrainedModel],
    tokenizer: Tokenizer,
    config: Any,
    data: str,
) -> None:
    """Writes a directory for every model, `all_results.json` and `loss.png`.

    `models`: name of the directory -> model; "model" is what the other verbs open. In Hugging
    Face's layout, or in ours where transformers has no class for a head. Written again after a
    further resume.
    """
    metrics = {name: v for name, v in results.items() if name.startswith("eval_")}
    card = Card(
        name=run.path.resolve().name, data=data, training=to_values(config), metrics=metrics
    )
    for name, made in models.items():
        save_params(
            made.params,
            made.encoder,
            made.head,
            tokenizer,
            run.path / name,
            layout=layout_for(made.encoder, made.head),
            card=card,
            overwrite=True,
        )
    write_whole(run.results, to_json(dict(sorted(results.items())), indent=4) + "\n")
    draw_losses(run)


def draw_losses(run: RunDirectory) -> None:
    """Draws every loss of metrics.jsonl over the steps, training and evaluation."""
    from matplotlib.figure import Figure

    rows = read_metrics(run.metrics)
    names = sorted({name for row in rows for name in row if name.split("/")[-1].endswith("loss")})
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name in names:
        points = [(row["step"], row[name]) for row in rows if name in row]
        marker = "o" if name.startswith("eval/") else ""
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1, marker=marker, markersize=3)
    axes.set(xlabel="step", ylabel="loss (nats)", title=run.path.resolve().name)
    axes.grid(alpha=0.3)
    if names:
        axes.legend()
    figure.savefig(run.loss_curve)
