"""The one place where modules become a pure function and a plain tree of arrays, and back."""

from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import PLAIN, Execution
from jaxbert.nn.head import Head
from jaxbert.nn.inputs import check_key, check_module, floating
from jaxbert.nn.lora import LoRA, add_factors
from jaxbert.nn.model import Model, ModelOutput
from jaxbert.tree import flat
from jaxbert.typing import Array, Params

Apply = Callable[..., ModelOutput]
"""apply(params, input_ids, attention_mask, token_type_ids, *, key=None, ...) -> ModelOutput"""

Shapes = Mapping[str, tuple[int, ...]]
_SHOWN = 5


def functional(model: Model) -> tuple[Apply, Params]:
    """Splits a module into a pure function and its parameters, for `jax.jit` and `optax`.

    The function raises UserError for a tree with other leaves than the module's, and keeps none of
    them. The parameters are the module's own arrays: to donate them ends the module too.
    """
    check_module(model)
    graph, state = nnx.split(model)
    shapes = jax.eval_shape(lambda: state)
    return _apply(graph, shapes), _with_string_keys(nnx.to_pure_dict(state))


def make_apply(
    config: EncoderConfig,
    head: Head,
    dtype: DTypeLike = jnp.float32,
    execution: Execution = PLAIN,
    lora: LoRA | None = None,
) -> Apply:
    """The pure function of an architecture, without making any parameter.

    With `lora` its parameters are those of `adapt.lora.with_factors`. Each call makes another
    function, which `jax.jit` compiles anew: make it once.
    """
    return _apply(*_structure(config, head, floating(dtype), execution, lora))


def make_head_apply(config: EncoderConfig, head: Head, dtype: DTypeLike = jnp.float32) -> Apply:
    """The pure function of the head alone; its parameters are all but `encoder`.

    Called with a batch's `features` (cast to `dtype`), `attention_mask` and `token_type_ids`; its
    `input_ids` are not read.
    """
    graph, state = _structure(config, head, floating(dtype))
    encoder = {"encoder": abstract_params(config, head)["encoder"]}

    def apply(params: Params, *, features: Array, input_ids: Any = None, **inputs: Any) -> Any:
        # The encoder stays abstract: nothing here reads it.
        model = nnx.merge(graph, _filled(state, params | encoder))
        return model.from_features(features.astype(dtype), **inputs)

    return apply


def init_params(config: EncoderConfig, head: Head, seed: int | Array) -> Params:
    """Fresh float32 parameters, compiled as one program; `seed`: a number or a key of JAX.

    Encoders are drawn as the BERT paper's code draws them, from a normal cut at two deviations, the
    dense layers of heads as transformers draws them, from one that only ModernBERT's cuts.
    """
    return _init(config, head, _key_of(seed))


def _key_of(seed: Any) -> Array:
    is_scalar = isinstance(seed, jax.Array | np.ndarray) and seed.ndim == 0
    if isinstance(seed, int | np.integer) or (
        is_scalar and jnp.issubdtype(seed.dtype, jnp.integer)
    ):
        return jax.random.key(seed, impl="threefry2x32")
    check_key(seed, "seed")
    is_typed = jnp.issubdtype(seed.dtype, jax.dtypes.prng_key)
    return seed if is_typed else jax.random.wrap_key_data(seed)


def init_some(
    config: EncoderConfig, head: Head, seed: int, paths: Collection[str]
) -> dict[str, jax.Array]:
    """Those of `init_params` at some paths: a new classifier costs no new encoder."""

    @jax.jit  # What is not returned is never computed.
    def draw() -> dict[str, jax.Array]:
        params = flat(init_params(config, head, seed))
        return {path: params[path] for path in paths}

    return draw()


def abstract_params(config: EncoderConfig, head: Head, lora: LoRA | None = None) -> Params:
    """Shapes and dtypes of the parameters (`jax.ShapeDtypeStruct`), nothing allocated."""
    _, state = _structure(config, head, jnp.dtype(jnp.float32), lora=lora)
    return _with_string_keys(nnx.to_pure_dict(state))


@cache
def parameter_shapes(config: EncoderConfig, head: Head) -> Shapes:
    """Shape of every parameter by its path, such as "pooler/dense/kernel"."""
    leaves = flat(abstract_params(config, head))
    return MappingProxyType({path: leaf.shape for path, leaf in leaves.items()})


def check_params(params: Params, config: EncoderConfig, head: Head) -> None:
    """Raises UserError naming what is missing, unexpected or of another shape."""
    _check_same(flat(params), parameter_shapes(config, head))


def model_from_params(
    params: Params,
    config: EncoderConfig,
    head: Head,
    dtype: DTypeLike = jnp.float32,
    execution: Execution = PLAIN,
    lora: LoRA | None = None,
) -> Model:
    """The callable module around existing parameters: shared, not copied.

    But for NumPy's, as `load_params` gives them, which go to the default device. Raises UserError
    for parameters that are not those of `config`, `head` and `lora`.
    """
    graph, state = _structure(config, head, floating(dtype), execution, lora)
    return nnx.merge(graph, _filled(state, jax.tree.map(_of_jax, params)))


@partial(jax.jit, static_argnums=(0, 1))
def _init(config: EncoderConfig, head: Head, key: jax.Array) -> Params:
    return functional(Model(config, head, rngs=nnx.Rngs(key)))[1]


@cache
def _structure(
    config: EncoderConfig,
    head: Head,
    dtype: jnp.dtype,
    execution: Execution = PLAIN,
    lora: LoRA | None = None,
) -> tuple[Any, Any]:
    """Graph and abstract state of an architecture; tracing a deep one takes a while."""

    def make() -> Model:
        model = Model(config, head, dtype=dtype, execution=execution, rngs=_OneKey(0))
        if lora is not None:
            add_factors(model, lora)
        return model

    return nnx.split(nnx.eval_shape(make))


class _OneKey(nnx.Rngs):
    """The same key for every parameter, for where only shapes are wanted.

    `nnx.Rngs` counts its draws, which under a trace is most of the time that tracing takes.
    """

    def params(self) -> jax.Array:
        return self.default.key[...]


def _apply(graph: nnx.GraphDef, state: nnx.State) -> Apply:
    def apply(params: Params, *args: Any, **kwargs: Any) -> ModelOutput:
        params = jax.tree.map(_of_jax, params)
        return nnx.merge(graph, _filled(state, params))(*args, **kwargs)

    return apply


def _of_jax(leaf: Any) -> Any:
    """NumPy's arrays, as `load_params` gives them, cannot be indexed by ids that are traced."""
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf


def _filled(state: nnx.State, params: Params | nnx.State) -> nnx.State:
    """`state` with the leaves of `params`; the structures are the same but for list indices."""
    if isinstance(params, nnx.State):
        raise UserError(
            "params are an nnx.State: expected plain dicts, jaxbert.functional(model)[1] or "
            "nnx.to_pure_dict(state)"
        )
    leaves, variables = flat(params), nnx.to_flat_state(state)
    names = ["/".join(str(key) for key in path) for path, _ in variables]
    _check_same(leaves, {name: old.shape for name, (_, old) in zip(names, variables, strict=True)})
    return nnx.from_flat_state(
        (path, old.replace(leaves[name]))
        for name, (path, old) in zip(names, variables, strict=True)
    )


def _check_same(leaves: Mapping[str, Any], shapes: Shapes) -> None:
    faults = [f"missing {path}" for path in shapes if path not in leaves]
    faults += [f"unexpected {path}" for path in leaves if path not in shapes]
    faults += [
        f"{path} is {list(leaves[path].shape)}, expected {list(shape)}"
        for path, shape in shapes.items()
        if path in leaves and leaves[path].shape != shape
    ]
    if faults:
        shown = "; ".join(faults[:_SHOWN]) + ("; ..." if len(faults) > _SHOWN else "")
        raise UserError(f"params do not fit the architecture and its head: {shown}")


def _with_string_keys(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {str(key): _with_string_keys(value) for key, value in tree.items()}
