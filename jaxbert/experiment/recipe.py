"""recipe: auto, from what a user says to a whole configuration."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jaxbert.config import given_values, parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.architecture import architecture_of
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.recipes import FEW_EXAMPLES, Grid, Published, Recipe, Values, recipe_of
from jaxbert.nn.config import EncoderConfig
from jaxbert.yaml_values import read_values

_KINDS = (
    *("sequence_classification", "token_classification"),
    *("multiple_choice", "question_answering"),
)

_SQUAD_LENGTH = 384
"""Of windows of long contexts (BERT's authors' run_squad.py)."""


@dataclass(frozen=True)
class Filled:
    """A configuration with a recipe beneath what the user gave."""

    values: dict[str, Any]
    """Plain, for `parse_config`; `recipe` names the source, so that nothing is filled in again."""
    lines: tuple[str, ...]
    """What was set, and from which paper."""


def load_finetune(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    reads_data: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Finetune:
    """`load_config`, with the recipe filled in where the file asks for one."""
    values = read_values(path)
    return parse_finetune(values, overrides, origin=str(path), reads_data=reads_data, say=say)


def parse_finetune(
    values: Any,
    overrides: Sequence[str] = (),
    *,
    origin: str = "configuration",
    reads_data: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Finetune:
    """`parse_config`, with the recipe filled in where the values ask for one.

    `reads_data` False: the data may be absent, and are taken to be large. `say` is given the lines
    that tell what was filled in.
    """
    config = parse_config(Finetune, values, overrides, origin=origin)
    if config.recipe != "auto":
        return config
    given = given_values(Finetune, values, overrides, origin=origin)
    encoder, assumptions = architecture_of(config.model)
    number = None
    if reads_data:
        number = sum(1 for _ in islice(config.task.read(config.train, labelled=True), FEW_EXAMPLES))
    filled = fill_in(given, encoder, number)
    for line in (*assumptions, *filled.lines):
        say(line)
    return parse_config(Finetune, filled.values, origin=origin)


def fill_in(given: Mapping[str, Any], encoder: EncoderConfig, num_examples: int | None) -> Filled:
    """The published values for `encoder` wherever `given` says nothing.

    `given`: plain values of a `Finetune`, without defaults. `num_examples` of the training data;
    None: many. Raises UserError where no recipe is for such a model or task.
    """
    kind = (given.get("task") or {}).get("kind", "sequence_classification")
    optimizer = given.get("optimizer") or {}
    if kind not in _KINDS:
        raise UserError(
            f"recipe=auto: none is published for task.kind={kind}: leave recipe out, and give "
            "optimizer.learning_rate and num_epochs"
        )
    if optimizer.get("freeze_layers") == "all":
        raise UserError(
            "recipe=auto: its learning rates are for encoders that are trained, and "
            "optimizer.freeze_layers=all trains the head alone: leave one of the two out"
        )
    if given.get("lora") is not None:
        raise UserError(
            "recipe=auto: its learning rates are for encoders that are trained, and lora's are "
            "larger (docs/strategies.md): leave recipe out, and give optimizer.learning_rate and "
            "num_epochs"
        )
    recipe = recipe_of(encoder)
    published = _published(recipe, kind, num_examples)
    values = {key: value for key, value in published.values.items() if _is_wanted(key, given)}
    if kind == "question_answering":
        values["max_seq_length"] = _SQUAD_LENGTH
    elif not given.get("packing") and given.get("windows") is None:
        values["max_seq_length"] = "auto"
    filled, applied = _beneath(given, values)
    filled["recipe"] = published.source
    lines = _lines(recipe, published, applied, given)
    if given.get("packing") and "batch_size" in applied:
        lines.append(
            f"recipe: batch_size={applied['batch_size']} is of examples, and a packed row holds "
            "several: give batch_size, in rows, for an update of as many"
        )
    return Filled(filled, tuple(lines))


def _sweep(grid: Grid, applied: Values, given: Mapping[str, Any]) -> str:
    """The words that search a grid where the values are the paper's."""
    # The paper's batches are not of packed rows.
    kept = {**grid, "batch_size": ()} if given.get("packing") else grid
    axes = {key: ",".join(f"{value:g}" for value in kept[key]) for key in grid if key in applied}
    return " ".join(f"--sweep {key}={values}" for key, values in axes.items() if values)


def _published(recipe: Recipe, kind: str, num_examples: int | None) -> Published:
    if kind == "question_answering" and recipe.questions is not None:
        return recipe.questions
    if recipe.few is not None and num_examples is not None and num_examples < FEW_EXAMPLES:
        return recipe.few
    return recipe.usual


def _is_wanted(key: str, given: Mapping[str, Any]) -> bool:
    """Not epochs beside a number of steps, nor AdamW's values for another optimiser."""
    if key == "num_epochs":
        return given.get("num_steps") is None
    if key.startswith("optimizer."):
        return (given.get("optimizer") or {}).get("kind", "adamw") == "adamw"
    return True


def _beneath(given: Mapping[str, Any], values: Values) -> tuple[dict[str, Any], dict[str, Any]]:
    """`given` with those of the values that it lacks, and these alone."""
    filled, applied = copy.deepcopy(dict(given)), {}
    for key, value in values.items():
        *parents, last = key.split(".")
        section = filled
        for parent in parents:
            section = section.setdefault(parent, {})
        if last not in section:
            section[last] = applied[key] = value
    return filled, applied


def _lines(
    recipe: Recipe, published: Published, applied: Values, given: Mapping[str, Any]
) -> list[str]:
    kind = (given.get("optimizer") or {}).get("kind", "adamw")
    shown = ", ".join(f"{key}={value}" for key, value in applied.items())
    lines = [f"recipe: {published.source}", f"recipe: sets {shown or 'nothing: all is given'}"]
    if recipe.searched:
        lines.append(f"recipe: {recipe.searched}")
    if published is recipe.usual and (words := _sweep(recipe.grid, applied, given)):
        lines.append(f"recipe: to search as the paper did, add {words}")
    if kind != "adamw":
        lines.append(f"recipe: sets nothing of optimizer: its values are AdamW's, not {kind}'s")
    return lines
