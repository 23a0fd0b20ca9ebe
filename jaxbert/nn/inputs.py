"""What a person calls a model with, checked, so that no wrong numbers come of a wrong input.

Shapes and dtypes are known wherever a model is traced; values only of NumPy arrays and lists, which
are not on a device yet.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import PLAIN, Execution
from jaxbert.nn.head import Head
from jaxbert.typing import Array, ArrayOrNumpy


def integers(name: str, given: Any, below: int | None = None) -> ArrayOrNumpy:
    """An array of integers, those of NumPy arrays and lists in [0, `below`); UserError else."""
    x = as_array(name, given)
    if 0 in x.shape:
        raise UserError(f"{name} is {list(x.shape)}: expected at least one row and one column")
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise UserError(f"{name} is {x.dtype}: expected integers")
    if isinstance(x, np.ndarray):
        lowest, highest = int(x.min()), int(x.max())
        if lowest < 0 or (below is not None and highest >= below):
            expected = "no negative number" if below is None else f"0 to {below - 1}"
            raise UserError(f"{name} holds {min(lowest, 0) or highest}: expected {expected}")
    return x


def mask_of(name: str, given: Any, shape: tuple[int, ...]) -> ArrayOrNumpy:
    """An array of `shape`, that of NumPy arrays and lists of 0 and 1 alone; UserError else.

    Floats are refused where their values cannot be looked at: those that other code adds to the
    scores, 0 where to attend, would be read the wrong way round.
    """
    x = as_array(name, given)
    check_shape(name, x, shape)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(
            f"{name} is {x.dtype}: expected integers or booleans, 1 where to attend and 0 elsewhere"
        )
    if isinstance(x, np.ndarray) and not ((x == 0) | (x == 1)).all():
        worst = x[(x != 0) & (x != 1)][0]
        raise UserError(f"{name} holds {worst}: expected 1 where to attend and 0 elsewhere")
    return x


def as_array(name: str, given: Any) -> ArrayOrNumpy:
    """Nested lists as an array; UserError for rows of unequal lengths, and for a batch."""
    if isinstance(given, jax.Array | np.ndarray):
        return given
    if isinstance(given, Mapping):
        raise UserError(f"{name} is a whole batch: its entries are arguments, as in model(**batch)")
    try:
        return np.asarray(given)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(given)
    except ValueError:
        raise UserError(f"{name} has rows of unequal lengths: pad them to one") from None


def check_shape(name: str, x: ArrayOrNumpy, shape: tuple[int, ...]) -> None:
    """Raises UserError for another shape than that of `input_ids`."""
    if x.shape != shape:
        raise UserError(f"{name} is {list(x.shape)}: expected {list(shape)}, as input_ids is")


def check_rank(input_ids: ArrayOrNumpy, head: Head, *, is_packed: bool) -> None:
    """Raises UserError where the head takes other axes."""
    rank = 3 if head.kind == "multiple_choice" and not is_packed else 2
    may_be_texts = head.is_embedding and not is_packed
    if input_ids.ndim != rank and not (may_be_texts and input_ids.ndim == 3):
        shape = "[batch, choices, seq]" if rank == 3 else "[batch, seq]"
        rows = "of packed rows " if is_packed else ""
        raise UserError(
            f"input_ids is {list(input_ids.shape)}: a {head.kind} head takes {rows}{shape}"
        )


def tokens(
    input_ids: Any, inputs_embeds: Any, config: EncoderConfig
) -> tuple[ArrayOrNumpy, Array | None]:
    """Ids, and what stands in place of their embeddings; UserError for both inputs or none."""
    if (input_ids is None) == (inputs_embeds is None):
        raise UserError("expected input_ids or inputs_embeds, one of them")
    if inputs_embeds is None:
        ids = integers("input_ids", input_ids, config.vocab_size)
        check_split("input_ids", ids)
        return ids, None
    words, width = jnp.asarray(as_array("inputs_embeds", inputs_embeds)), config.embedding_width
    is_floating = jnp.issubdtype(words.dtype, jnp.floating)
    if not is_floating or words.ndim < 3 or words.shape[-1] != width or 0 in words.shape:
        raise UserError(
            f"inputs_embeds is {words.dtype} {list(words.shape)}: expected floats "
            f"[batch, seq, {width}]"
        )
    check_split("inputs_embeds", words)
    # Any id but that of padding: transformers counts the positions of all of them.
    return jnp.full(words.shape[:-1], config.pad_token_id + 1), words


def positions(given: Any, config: EncoderConfig, shape: tuple[int, ...]) -> Array:
    """`position_ids` [batch, seq]; UserError for a model that has no use for them."""
    is_placed = config.rotary is not None or config.position_embedding_type != "none"
    if config.relative_attention is not None or not is_placed:
        raise UserError(
            f"position_ids: {config.model_type} attends by the distance between tokens: leave them "
            "out"
        )
    x = integers("position_ids", given, config.max_position_embeddings)
    if x.shape == (1, shape[-1]):
        # For all rows, as in transformers.
        x = jnp.broadcast_to(x, shape)
    check_shape("position_ids", x, shape)
    return jnp.asarray(x).reshape(-1, shape[-1])


def predicted(given: Any, head: Head, shape: tuple[int, ...]) -> ArrayOrNumpy:
    """`masked_lm_positions` as integers; UserError where they do not fit `input_ids` of `shape`."""
    if not head.predicts_tokens:
        raise UserError(f"masked_lm_positions: a {head.kind} head has no logits of the vocabulary")
    x = integers("masked_lm_positions", given, shape[-1])
    if x.ndim != 2 or x.shape[0] != shape[0]:
        raise UserError(
            f"masked_lm_positions is {list(x.shape)}: expected [{shape[0]}, predictions]"
        )
    return x


def check_architecture(config: Any, head: Any, execution: Any = PLAIN) -> None:
    """Raises UserError for a name, as of a preset or of a kind of head, where a value is wanted."""
    if not isinstance(config, EncoderConfig):
        raise UserError(
            f"config is {config!r}: expected an EncoderConfig, such as "
            "jaxbert.preset('bert-base-uncased')"
        )
    if not isinstance(head, Head):
        raise UserError(f"head is {head!r}: expected a Head, such as jaxbert.Head('masked_lm')")
    if not isinstance(execution, Execution):
        raise UserError(
            f"execution is {execution!r}: expected an Execution of jaxbert.nn.execution, such as "
            "Execution(remat='full')"
        )


def floating(dtype: Any) -> jnp.dtype:
    """A dtype to compute in; UserError for what is none."""
    try:
        # NumPy takes None for float64, and sums are float32 whatever the dtype.
        found = jnp.dtype(dtype)
        if jnp.issubdtype(found, jnp.floating) and found.itemsize <= 4:
            return found
    except TypeError:  # No dtype at all.
        pass
    raise UserError(f"dtype={dtype!r}: expected one to compute in, 'float32' or 'bfloat16'")


def check_key(key: Any, name: str = "key") -> None:
    """Raises UserError for what is no key of JAX, such as a seed or `nnx.Rngs`, and for several."""
    is_typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not (is_typed or (isinstance(key, jax.Array | np.ndarray) and key.dtype == np.uint32)):
        other = "None for no dropout" if name == "key" else "a number"
        raise UserError(
            f"{name} is {type(key).__name__}: expected a key such as jax.random.key(0), or {other}"
        )
    if key.ndim != (0 if is_typed else 1):
        raise UserError(f"{name} is keys of shape {list(key.shape)}: expected one; see jax.vmap")


def check_module(model: Any) -> None:
    """Raises UserError for what has no parameters of its own, such as a path or params."""
    if not isinstance(model, nnx.Module):
        raise UserError(
            f"model is {type(model).__name__}: expected a model, such as "
            "jaxbert.from_pretrained(...) or jaxbert.model_from_params(params, config, head)"
        )


def check_rngs(rngs: Any) -> None:
    """Raises UserError for a seed or a key, which is for `init_params`."""
    if not isinstance(rngs, nnx.Rngs):
        raise UserError(
            f"rngs is {type(rngs).__name__}: expected nnx.Rngs(seed); of a number or a key"
            " jaxbert.init_params draws"
        )


def check_split(name: str, x: ArrayOrNumpy) -> None:
    """Raises UserError for an array that is split over axes which are part of JAX's types.

    JAX then asks of every gather how its output is split, which no module here says.
    """
    axes = [axis for axis in jax.typeof(x).sharding.spec if axis is not None]
    if axes:
        raise UserError(
            f"{name} is split over the explicit axes {axes} of a mesh: make the mesh with "
            "axis_types=(jax.sharding.AxisType.Auto,) * its number of axes, so that XLA splits "
            "what is computed"
        )
