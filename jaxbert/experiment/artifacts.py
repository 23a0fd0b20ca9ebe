"""What a finished run leaves for its users: the model, the figures, the picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.config import to_values
from jaxbert.disk import write_whole
from jaxbert.experiment.run_files import RunDirectory
from jaxbert.hub.card import Card
from jaxbert.hub.save import FileDtype, Layout, layout_for, save_params
from jaxbert.hub.save_adapter import save_adapter
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.training.metrics_file import read_metrics, to_json
from jaxbert.typing import Params


@dataclass(frozen=True)
class TrainedModel:
    """A model that a run has made."""

    params: Params
    encoder: EncoderConfig
    head: Head


@dataclass(frozen=True)
class TrainedAdapter:
    """What a run has trained beside a model that stayed as it was."""

    params: Params
    """With factors."""
    lora: LoRA
    base: str
    """The model."""


@dataclass(frozen=True)
class Exports:
    """What a run makes of its parameters."""

    models: Mapping[str, TrainedModel]
    """By the name of the directory; "model" is what the other verbs open."""
    tokenizer: Tokenizer
    data: str
    """What the card says of the data."""
    adapter: TrainedAdapter | None = None
    """Of "model"."""
    prompts: Mapping[str, Any] = field(default_factory=dict)
    """What sentence-transformers is told of texts."""


def write_artifacts(
    run: RunDirectory, results: Mapping[str, float], exports: Exports, config: Any
) -> None:
    """Writes a directory for every model and adapter, `all_results.json` and `loss.png`.

    Written again after a further resume.
    """
    card = card_of(run, results, exports, config)
    for name, made in exports.models.items():
        place = run.path / name
        write_model(made, exports.tokenizer, place, card, prompts=exports.prompts, overwrite=True)
    if (own := exports.adapter) is not None:
        model = exports.models["model"]
        save_adapter(
            *(own.params, own.lora, model.encoder, model.head, own.base, run.adapter),
            prompts=exports.prompts,
            overwrite=True,
        )
    write_whole(run.results, to_json(dict(sorted(results.items())), indent=4) + "\n")
    draw_losses(run)


def card_of(run: RunDirectory, results: Mapping[str, float], exports: Exports, config: Any) -> Card:
    """The card of a run's models, with those of the figures that are evaluations."""
    metrics = {name: value for name, value in results.items() if name.startswith("eval_")}
    name = run.path.resolve().name
    return Card(name=name, data=exports.data, training=to_values(config), metrics=metrics)


def write_model(
    made: TrainedModel,
    tokenizer: Tokenizer,
    directory: Path,
    card: Card,
    *,
    layout: Layout | None = None,
    dtype: FileDtype = "float32",
    max_shard_size: int | str | None = None,
    prompts: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """`save_params` of a run's model.

    `layout` None: Hugging Face's, or ours where transformers has no class for a head.
    """
    save_params(
        made.params,
        made.encoder,
        made.head,
        tokenizer,
        directory,
        layout=layout or layout_for(made.encoder, made.head),
        dtype=dtype,
        max_shard_size=max_shard_size,
        card=card,
        prompts=prompts,
        overwrite=overwrite,
    )


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
    axes.set(xlabel="step", ylabel="loss (nats)")
    # The name of a directory is no formula, and may be no Unicode.
    title = run.path.resolve().name.encode(errors="replace").decode()
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    if names:
        axes.legend()
    figure.savefig(run.loss_curve)
