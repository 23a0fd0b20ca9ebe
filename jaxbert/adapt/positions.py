"""Longer or shorter inputs than a model was trained with."""

import math
from dataclasses import replace
from typing import Any, Literal, get_args

import jax
import numpy as np

from jaxbert.errors import UserError, nearest
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.tree import map_with_path
from jaxbert.typing import Params

Resize = Literal["interpolate", "copy", "fresh"]

TABLE = "encoder/embeddings/position/embedding"


def resize_positions(
    params: Params, config: EncoderConfig, length: int, how: Resize = "interpolate", seed: int = 0
) -> tuple[Params, EncoderConfig]:
    """The same model for rows of at most `length` tokens.

    interpolate: the learnt positions drawn out evenly, the first and the last in their places.
    copy: the learnt positions over and over, as Longformer begins (Beltagy et al. 2020, section
    5). fresh: after the learnt positions random ones. A shorter table is the first part of the
    old one. RoBERTa's rows for padding stay in front of it and are not counted; rotary and
    relative positions have no table and only take the new limit. Other leaves are shared.
    """
    if length < 1:
        raise UserError(f"positions: length={length}: must be at least 1")
    if how not in get_args(Resize):
        raise UserError(f"positions: how={how!r}: {nearest(str(how), get_args(Resize))}")
    reserved = config.max_position_embeddings - longest_input(config)
    resized = replace(config, max_position_embeddings=reserved + length)

    def resize(path: str, leaf: Any) -> Any:
        if path != TABLE:
            return leaf
        table = np.asarray(leaf)
        learnt = _resized(table[reserved:], length, how, config.initializer_range, seed)
        return np.concatenate([table[:reserved], learnt])

    return map_with_path(resize, params), resized


def with_rope_theta(config: EncoderConfig, rope_theta: float) -> EncoderConfig:
    """The architecture with another base of the rotary positions of full attention.

    A larger base turns slower, so that rows longer than those of training come to angles that were
    seen: ModernBERT went from 10,000 at 1,024 tokens to 160,000 at 8,192 (Warner et al. 2024,
    section 2.2.2). Layers of sliding attention keep `local_rope_theta`, as its did. No parameter
    changes, but outputs do: the model is to be trained on. Raises UserError where there are no
    rotary positions, and for a base that is not a finite number of at least 1.
    """
    if not 1 <= rope_theta < math.inf:
        raise UserError(f"rope_theta={rope_theta:g}: expected a number of at least 1, e.g. 160000")
    if config.rotary is None:
        raise UserError(
            f"rope_theta={rope_theta:g}: a {config.model_type} encoder has no rotary positions,"
            " whose base this is"
        )
    rotary = replace(config.rotary, rope_theta=float(rope_theta), frequencies=None)
    return replace(config, rotary=rotary)


def move_padding(
    params: Params, config: EncoderConfig, pad_token_id: int
) -> tuple[Params, EncoderConfig]:
    """The same model for a vocabulary in which another id is padding.

    RoBERTa's positions count from that id on: their rows move along, and as many tokens fit.
    """
    moved = replace(config, pad_token_id=pad_token_id)
    if config.position_embedding_type != "after_padding":
        return params, moved
    moved = replace(moved, max_position_embeddings=longest_input(config) + pad_token_id + 1)

    def move(path: str, leaf: Any) -> Any:
        if path != TABLE:
            return leaf
        table = np.asarray(leaf)
        padding = table[config.pad_token_id]
        reserved = np.broadcast_to(padding, (pad_token_id + 1, len(padding)))
        return np.concatenate([reserved, table[config.pad_token_id + 1 :]])

    return map_with_path(move, params), moved


def _resized(learnt: np.ndarray, length: int, how: Resize, stddev: float, seed: int) -> np.ndarray:
    """[length, width] of [positions, width]."""
    if length <= len(learnt):
        return learnt[:length]
    if how == "interpolate":
        return _interpolated(learnt, length)
    if how == "copy":
        return learnt[np.arange(length) % len(learnt)]
    draw = jax.nn.initializers.truncated_normal(stddev)
    shape = (length - len(learnt), learnt.shape[1])
    fresh = draw(jax.random.key(seed, impl="threefry2x32"), shape, learnt.dtype)
    return np.concatenate([learnt, np.asarray(fresh)])


def _interpolated(learnt: np.ndarray, length: int) -> np.ndarray:
    """Linear between neighbours, in float64 and rounded once."""
    places = np.linspace(0, len(learnt) - 1, length)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(learnt) - 1)
    share = (places - below)[:, None]
    return ((1 - share) * learnt[below] + share * learnt[above]).astype(learnt.dtype)
