"""Layers that begin anew."""

import numpy as np

from jaxbert.adapt.layers import LAYERS
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_some
from jaxbert.nn.head import Head
from jaxbert.tree import flat, map_with_path
from jaxbert.typing import Params


def reinitialize_layers(
    params: Params, config: EncoderConfig, head: Head, count: int, seed: int
) -> Params:
    """The same model with its `count` last layers and the pooler as if never trained.

    Zhang et al. 2021, section 5: the top layers have specialised on the pretraining objective. The
    norm that follows the last layer, where a family has one, begins anew with it. What is drawn is
    what `init_params` draws with `seed`; other leaves are shared. 0: the model as it is. Raises
    UserError as `begins_anew` does.
    """
    if count == 0:
        return params
    prefixes = begins_anew(config, count)
    begun = [path for path in flat(params) if path.startswith(prefixes)]
    fresh = init_some(config, head, seed, begun)
    return map_with_path(
        lambda path, leaf: np.asarray(fresh[path]) if path in fresh else leaf, params
    )


def begins_anew(config: EncoderConfig, count: int) -> tuple[str, ...]:
    """The beginnings of the paths of what `reinitialize_layers` draws.

    Raises UserError for more layers than there are, and where a layer of the top shares its
    parameters with a lower one.
    """
    first = config.num_hidden_layers - count
    if not 0 <= first <= config.num_hidden_layers:
        raise UserError(
            f"reinitialize_layers={count}: expected 0 to the model's {config.num_hidden_layers}"
        )
    stored = {config.stored_layer(layer) for layer in range(first, config.num_hidden_layers)}
    if stored & {config.stored_layer(layer) for layer in range(first)}:
        raise UserError(
            f"reinitialize_layers={count}: layers of {config.model_type} share parameters, and "
            "those of the top are those of layers below: reinitialise all or none"
        )
    if not stored:
        return ()
    return (*(f"{LAYERS}{layer}/" for layer in sorted(stored)), "encoder/final_norm/", "pooler/")
