"""The parameters that a run begins with, made where they will lie: no process holds all of them."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.adapt.lora import with_factors
from jaxbert.adapt.reinitialize import begins_anew, reinitialize_layers
from jaxbert.experiment.alike import check_same_weights, checksum
from jaxbert.hub.load import Opened
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA
from jaxbert.parallel.rules import place_on, put_whole, shardings
from jaxbert.tree import map_with_path
from jaxbert.typing import Params

MakeParams = Callable[[Mesh], Params]
"""Mesh -> parameters as `parallel.rules.shardings` splits them over it."""


def drawn(init: Callable[..., Params], *model: Any, seed: int) -> MakeParams:
    """What `init(*model, seed)` gives, bit for bit, of which each device draws its part."""

    def make(mesh: Mesh) -> Params:
        return _drawing(init, model, mesh)(np.uint32(seed % 2**32))

    return make


def read(model: Opened) -> MakeParams:
    """Those of a file, read one by one; UserError where processes read unlike files of one name."""

    def make(mesh: Mesh) -> Params:
        if jax.process_count() == 1:
            return model.read(place_on(mesh))
        return read_summed(model, mesh)[0]

    return make


def read_summed(model: Opened, mesh: Mesh) -> tuple[Params, dict[str, int]]:
    """What `read` gives, and a checksum of every parameter by its path."""
    place, checksums = place_on(mesh), {}

    def noted(path: str, values: np.ndarray) -> Any:
        checksums[path] = checksum(values)
        return place(path, values)

    params = model.read(noted)
    check_same_weights(checksums, model.directory)
    return params, checksums


def reinitialized(
    make: MakeParams, encoder: EncoderConfig, head: Head, count: int, seed: int
) -> MakeParams:
    """Those of `make` with `count` top layers that begin anew (`adapt/reinitialize.py`).

    Raises UserError at once where the model has no such layers.
    """
    begins_anew(encoder, count)

    def begin(mesh: Mesh) -> Params:
        params = reinitialize_layers(make(mesh), encoder, head, count, seed)
        return jax.tree.map(put_whole, params, shardings(params, mesh))

    return begin


def beginning_with(make: MakeParams, values: Mapping[str, np.ndarray]) -> MakeParams:
    """Those of `make`, but for `values` by their paths."""

    def begin(mesh: Mesh) -> Params:
        params = map_with_path(lambda path, leaf: values.get(path, leaf), make(mesh))
        return jax.tree.map(put_whole, params, shardings(params, mesh))

    return begin


def with_lora(make: MakeParams, lora: LoRA, seed: int) -> MakeParams:
    """Those of `make`, and low-rank factors (`adapt/lora.py`)."""

    def begin(mesh: Mesh) -> Params:
        params = with_factors(make(mesh), lora, seed)
        return jax.tree.map(put_whole, params, shardings(params, mesh))

    return begin


@cache
def _drawing(
    init: Callable[..., Params], model: tuple[Any, ...], mesh: Mesh
) -> Callable[[np.uint32], Params]:
    # The seed is an argument, since XLA would compute with a constant while it compiles.
    shapes = jax.eval_shape(lambda seed: init(*model, seed), np.uint32(0))
    return jax.jit(lambda seed: init(*model, seed), out_shardings=shardings(shapes, mesh))
