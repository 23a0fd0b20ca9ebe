"""Runs from Python, configured as on the command line: a YAML file or plain values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxbert.config import parse_config
from jaxbert.errors import UserError, nearest
from jaxbert.experiment import finetune as finetuning
from jaxbert.experiment import pretrain as pretraining
from jaxbert.experiment.fit import Fitted
from jaxbert.experiment.recipe import parse_finetune
from jaxbert.yaml_values import plain, read_values, set_value

Given = str | Path | Mapping[str, Any]
_OF_ONE_VERB = {"finetune": ("train", "task"), "pretrain": ("store",)}
"""Keys that only a configuration of the verb has."""


def pretrain(
    config: Given,
    run: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    quiet: bool = False,
) -> Fitted:
    """Runs or continues `jaxbert pretrain` in the directory `run`.

        jaxbert.pretrain("configs/pretrain/bert_base.yaml", "runs/base", {"store": "stores/wiki"})

    `config`: a YAML file, or a dict with its keys (docs/options.md). `overrides`: values by dotted
    key, such as `{"optimizer.learning_rate": 1e-4}`. `quiet`: no progress bar.

    Gives the run's `results`, `outcome` and `step`, and its `params`: host arrays by path, those
    that are exported; the model itself is in `run`/model. As with the command, a run that stands
    there already is continued, and KeyboardInterrupt loses what came after the last checkpoint.

    Raises UserError for an unknown key, a value of the wrong type and whatever the command
    refuses.
    """
    values, origin = _with_overrides("pretrain", config, overrides)
    parsed = parse_config(pretraining.Pretrain, values, origin=origin)
    return pretraining.pretrain(parsed, run, quiet=quiet)


def finetune(
    config: Given,
    run: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    quiet: bool = False,
) -> Fitted:
    """Runs or continues `jaxbert finetune` in the directory `run`; arguments as of `pretrain`.

        config = {"model": "bert-base-uncased", "train": "train.csv", "validation": "dev.csv",
                  "task": {"columns": {"text": "review", "label": "stars"}},
                  "num_epochs": 3, "batch_size": 32, "optimizer": {"learning_rate": 3e-5}}
        jaxbert.finetune(config, "runs/classifier").results["eval_accuracy"]

    What `recipe=auto` fills in is printed, but with `quiet`.
    """
    values, origin = _with_overrides("finetune", config, overrides)
    say = _silent if quiet else print
    parsed = parse_finetune(values, origin=origin, say=say)
    return finetuning.finetune(parsed, run, quiet=quiet)


def values_of(verb: str, config: Given) -> Any:
    """The plain values of a configuration; UserError where it is one of another verb."""
    values = plain(config) if isinstance(config, Mapping) else read_values(config)
    told = verb_of(values, origin_of(config)) if isinstance(values, dict) else None
    if told is not None and told[0] != verb:
        raise UserError(
            f"{origin_of(config)}: it says {told[1]!r}, which makes it a configuration of "
            f"jaxbert {told[0]}"
        )
    return values


def verb_of(values: Mapping[Any, Any], origin: str) -> tuple[str, str] | None:
    """The verb that plain values are a configuration of, and the key that tells: `kind` first.

    None: no key does. Raises UserError for a kind that is no verb.
    """
    if "kind" in values:
        verb = values["kind"]
        if verb not in [*_OF_ONE_VERB]:
            raise UserError(f"{origin}: 'kind': no {verb!r}: {nearest(str(verb), [*_OF_ONE_VERB])}")
        return verb, "kind"
    return next(
        ((verb, key) for verb, keys in _OF_ONE_VERB.items() for key in keys if key in values), None
    )


def origin_of(config: Given) -> str:
    """What messages call it."""
    return "configuration" if isinstance(config, Mapping) else str(config)


def _with_overrides(
    verb: str, config: Given, overrides: Mapping[str, Any] | None
) -> tuple[Any, str]:
    values, origin = values_of(verb, config), origin_of(config)
    for key, value in (overrides or {}).items():
        set_value(values, key, plain(value), origin=f"override {key!r}")
    return values, origin


def _silent(line: str) -> None:
    """Nothing is said."""
