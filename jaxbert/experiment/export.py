"""A model from a checkpoint of a run, whether the run has ended, was cut short, or is going on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import expanduser
from pathlib import Path
from typing import Any, Literal

from jaxbert.checkpoint.reading import read_params, read_run
from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment import finetune, pretrain
from jaxbert.experiment.artifacts import Exports, TrainedModel, card_of, write_model
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.results import evaluated
from jaxbert.experiment.run_copy import is_url
from jaxbert.experiment.run_files import RunDirectory, checkpoint_steps, read_run_config
from jaxbert.hub.mean import mean
from jaxbert.hub.save import FileDtype, Layout
from jaxbert.hub.several_runs import check_is_one_run
from jaxbert.manifest import damage
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.training.metrics_file import read_metrics
from jaxbert.typing import Params

Step = int | Literal["latest"]


@dataclass(frozen=True)
class Exported:
    """What was written."""

    steps: tuple[int, ...]
    """Of the checkpoint, or of those that it is the mean of."""
    models: Mapping[Path, TrainedModel]
    """By their directories."""
    tokenizer: Tokenizer


def export_checkpoint(
    run: str | Path,
    destination: str | Path,
    step: Step | Sequence[Step],
    *,
    layout: Layout | None = None,
    dtype: FileDtype = "float32",
    max_shard_size: int | str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes the model that a run would have left if it had ended at a checkpoint.

    Of several checkpoints it is the mean of those models, read one after another (LAWA: Kaddour
    2022), and its card says so in the place of figures that nobody has measured.
    Of replaced-token detection `destination` gets the run's `model` and `generator`, of all else it
    is the model. What the run learns from must be there, since the tokenizer lies with it; the run
    is not touched. `step`: of a checkpoint, or several; latest: the newest whole one. `layout`
    None: the run's. The others as in `save_params`. Raises UserError where `run` is none or has no
    such checkpoint, where that is damaged, and where the data or the architecture are no longer the
    run's.
    """
    directory, target = _run(run), Path(expanduser(destination))
    asked = (step,) if isinstance(step, int | str) else step
    steps = tuple(_step(directory, each) for each in asked)
    _check_steps(steps)
    checkpoints = [directory.checkpoints / str(each) for each in steps]
    checkpoint, step = checkpoints[-1], steps[-1]
    saved_run = read_run(checkpoint)
    if "architecture" not in saved_run:
        raise UserError(
            f"{checkpoint} is of an earlier version of jaxbert: go on with the run, whose next "
            "checkpoint says of which model it is"
        )
    values = read_run_config(directory.path) or {}
    origin = str(directory.config)
    config: Pretrain | Finetune
    if values.get("kind") == "finetune":
        config = parse_config(Finetune, values, origin=origin)
        export = finetune.exporter(directory, config, saved_run, step)
    else:
        config = parse_config(Pretrain, values, origin=origin)
        export = pretrain.exporter(directory, config, saved_run, step)

    def made_of(checkpoint: Path) -> Exports:
        return export(read_params(checkpoint, averaged=config.averaging is not None))

    made = made_of(checkpoint)
    if steps[1:]:
        # Of models, not of what they are made of: a mean of products is no product of means.
        params = mean(_params(made_of(each).models) for each in checkpoints)
        models = {name: replace(x, params=params[name]) for name, x in made.models.items()}
        made = replace(made, models=models)
    metrics = {} if steps[1:] else evaluated(read_metrics(directory.metrics), step)
    card = card_of(directory, metrics, made, config)
    if steps[1:]:
        card = replace(card, description=f"The mean of the run's models {after(steps)}.")
    placed = _placed(made.models, target)
    for place, model in placed.items():
        write_model(
            model,
            made.tokenizer,
            place,
            card,
            layout=layout,
            dtype=dtype,
            max_shard_size=max_shard_size,
            prompts=made.prompts,
            overwrite=overwrite,
        )
    return Exported(steps, placed, made.tokenizer)


def after(steps: Sequence[int]) -> str:
    """`after step 8`, or `after steps 8, 12 and 16`."""
    *others, last = (f"{step:,}" for step in steps)
    return f"after steps {', '.join(others)} and {last}" if others else f"after step {last}"


def _params(models: Mapping[str, TrainedModel]) -> dict[str, Params]:
    return {name: model.params for name, model in models.items()}


def _check_steps(steps: Sequence[int]) -> None:
    if not steps:
        raise UserError("step=(): name a checkpoint, or several")
    for step in steps:
        if steps.count(step) > 1:
            raise UserError(f"the checkpoint of step {step} is named twice: give each one once")


def _run(path: str | Path) -> RunDirectory:
    if is_url(str(path)):
        raise UserError(
            f"{path}: a checkpoint is read from this machine alone: copy config.yaml, "
            "metrics.jsonl and the checkpoint (checkpoints/N) here, into a directory of the run's "
            "name, and give that"
        )
    check_is_one_run(path)
    run = RunDirectory(Path(expanduser(path)))
    if not run.config.is_file():
        raise UserError(
            f"{path} is not a run (it has no {run.config.name}): --step is for a run's directory"
        )
    return run


def _step(run: RunDirectory, asked: Step) -> int:
    steps = checkpoint_steps(run.path)
    if not steps:
        raise UserError(
            f"{run.path} has no checkpoint yet: loop.checkpoint_every and loop.evaluate_every say "
            "when a run makes one"
        )
    if asked == "latest":
        newest_first = (s for s in reversed(steps) if damage(run.checkpoints / str(s)) is None)
        if (step := next(newest_first, None)) is None:
            raise UserError(f"{run.checkpoints}: every checkpoint there is damaged")
        return step
    if asked not in steps:
        there = ", ".join(map(str, steps))
        raise UserError(f"{run.path} has no checkpoint of step {asked}: those of {there} are there")
    return asked


def _placed(models: Mapping[str, Any], destination: Path) -> dict[Path, Any]:
    """Every model by its directory: the one of a run in `destination`, several below it."""
    if len(models) == 1:
        [model] = models.values()
        return {destination: model}
    if destination.is_dir():
        foreign = sorted({path.name for path in destination.iterdir()} - {*models})
        if foreign:
            raise UserError(
                f"{destination} also holds {', '.join(foreign)}, where {' and '.join(models)} are "
                "to be: choose another directory"
            )
    return {destination / name: model for name, model in models.items()}
