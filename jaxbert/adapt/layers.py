"""Fewer layers than a model was trained with."""

from collections.abc import Sequence
from dataclasses import replace

from flax.traverse_util import unflatten_dict

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.parts import LayerType
from jaxbert.tree import flat
from jaxbert.typing import Params

LAYERS = "encoder/layers/"


def keep_layers(
    params: Params, config: EncoderConfig, layers: Sequence[int]
) -> tuple[Params, EncoderConfig]:
    """The same model with only these of its layers, counted from 0 at the embeddings.

    What lies outside the layers is kept as it is and shared: embeddings, final norm, relative
    positions, DeBERTa's convolution (which goes on to follow the first layer), heads. Layers that
    share parameters (ALBERT) become fewer applications of them. Raises UserError for layers that
    are not there or not in ascending order, and for a first layer that would lack its norm.
    """
    _check(config, layers)
    owners = [config.stored_layer(layer) for layer in layers]
    stored = sorted(set(owners))
    kept = replace(
        config,
        num_hidden_layers=len(layers),
        num_hidden_groups=None if config.num_hidden_groups is None else len(stored),
        layer_types=_pattern(config, layers),
    )
    if owners != [stored[kept.stored_layer(layer)] for layer in range(len(layers))]:
        raise UserError(
            f"layers={[*layers]}: they use the shared parameters {owners}, and a model shares "
            "each among equally many layers: keep as many of each group"
        )
    leaves = {}
    for path, leaf in flat(params).items():
        index, _, rest = path.removeprefix(LAYERS).partition("/")
        if not path.startswith(LAYERS):
            leaves[path] = leaf
        elif int(index) in stored:
            leaves[f"{LAYERS}{stored.index(int(index))}/{rest}"] = leaf
    return unflatten_dict(leaves, sep="/"), kept


def without_top(config: EncoderConfig, count: int) -> tuple[int, ...]:
    """The layers that remain when the `count` last ones go (Sajjad et al. 2023, top-dropping)."""
    if not 0 <= count < config.num_hidden_layers:
        raise UserError(
            f"the top {count} layers cannot be dropped: the model has {config.num_hidden_layers}"
        )
    return tuple(range(config.num_hidden_layers - count))


def every(config: EncoderConfig, step: int) -> tuple[int, ...]:
    """The first layer of every `step`: 0, step, 2 * step, ...

    Layer 0 is always among them, which a model without a first norm needs; DistilBERT's published
    student is close to it with (0, 2, 4, 7, 9, 11) for step 2.
    """
    if not 1 <= step <= config.num_hidden_layers:
        raise UserError(
            f"one layer of every {step}: expected 1 to the model's {config.num_hidden_layers}"
        )
    return tuple(range(0, config.num_hidden_layers, step))


def _pattern(config: EncoderConfig, layers: Sequence[int]) -> tuple[LayerType, ...] | None:
    """The types of the layers kept: the old pattern where it fits, else the shortest that does."""
    if config.layer_types is None:
        return None
    kept = tuple(config.layer_type(layer) for layer in layers)
    patterns = [config.layer_types, *(kept[:count] for count in range(1, len(kept) + 1))]
    return next(p for p in patterns if kept == (p * len(kept))[: len(kept)])


def _check(config: EncoderConfig, layers: Sequence[int]) -> None:
    last = config.num_hidden_layers - 1
    if not layers:
        raise UserError("layers=[]: expected at least one layer to keep")
    absent = [layer for layer in layers if not 0 <= layer <= last]
    if absent:
        raise UserError(f"layers={[*layers]}: there is no layer {absent[0]}, only 0 to {last}")
    if [*layers] != sorted(set(layers)):
        raise UserError(f"layers={[*layers]}: expected ascending numbers, each one once")
    if config.norm_placement == "pre" and not config.first_norm and layers[0] != 0:
        raise UserError(
            f"layers={[*layers]}: the first layer of {config.model_type} has no norm before its "
            f"attention and layer {layers[0]} was trained with one: keep layer 0 first"
        )
