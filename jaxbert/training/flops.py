"""Model FLOPs of a training step and the peak of the device: what utilisation is made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbert.data.masking import IGNORED
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.lora import is_factor
from jaxbert.nn.relative import row_at
from jaxbert.optim.groups import FROZEN, depth, depth_group
from jaxbert.tree import flat

PEAK_FLOPS = {
    "TPU v2": 46e12,
    "TPU v3": 123e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "TPU7x": 2307e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}
"""bfloat16 FLOP/s of one chip by JAX's `device_kind` (vendors' data sheets)."""

TENSORCORES_PER_CHIP = {"TPU v2": 2, "TPU v3": 2, "TPU7x": 2}
"""Chips that JAX shows as several devices."""


def peak_flops(device_kind: str) -> float | None:
    """bfloat16 FLOP/s of one JAX device, None where it is not known (CPU)."""
    peak = PEAK_FLOPS.get(device_kind)
    return None if peak is None else peak / TENSORCORES_PER_CHIP.get(device_kind, 1)


def train_flops(
    config: EncoderConfig, batch: Mapping[str, np.ndarray], *, reads_vocabulary: bool = False
) -> float:
    """Model FLOPs (forward and backward) that the real tokens of a host batch need.

    6 per weight and token, 12 * hidden per layer and pair of tokens that attend to each
    other, 6 per weight of the output and masked position, or with `reads_vocabulary` and token;
    padding counts nothing. Counting as in Chowdhery et al. 2022, appendix B.
    """
    lengths = _lengths(batch)
    flops = 6.0 * _weights(config) * float(lengths.sum())
    for layer in range(config.num_hidden_layers):
        is_local = config.layer_type(layer) == "sliding_attention"
        reach = config.local_attention // 2 if is_local else None
        flops += 12 * config.hidden_size * float(_pairs(lengths, reach).sum())
    flops += _relative_flops(config, lengths)
    if reads_vocabulary:
        flops += 6 * _output_weights(config) * float(lengths.sum())
    if "masked_lm_positions" in batch:
        num_masked = float((batch["labels"] != IGNORED).sum())
        flops += 6 * _output_weights(config) * num_masked
    return flops


def share_computed(labels: Any) -> float:
    """Of the layers' FLOPs the share that is left where parameters are labelled as FROZEN.

    A third of a layer's is its forward pass, a third what it hands down to what is trained in it or
    below, a third the gradients of its own weights, of which low-rank factors are next to none.
    """
    paths = [path for path, label in flat(labels).items() if label != FROZEN]
    trained = {depth_group(path) for path in paths}
    of_weights = {depth_group(path) for path in paths if not is_factor(path)}
    num_layers, thirds = depth(labels), 0
    reaches_down = "embeddings" in trained
    for layer in range(num_layers):
        is_trained = f"layer_{layer}" in trained
        reaches_down = reaches_down or is_trained
        thirds += 1 + reaches_down + (f"layer_{layer}" in of_weights)
    return thirds / (3 * num_layers) if num_layers else 1.0


def _lengths(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """float64: how many tokens every example has; 0 also where a packed row has fewer examples."""
    if "sequence_ids" not in batch:
        return batch["attention_mask"].sum(axis=-1, dtype=np.float64)
    ids = batch["sequence_ids"]
    count = int(ids.max()) + 1
    distinct = ids + count * np.arange(len(ids))[:, None]
    lengths = np.bincount(distinct.ravel(), minlength=count * len(ids)).reshape(len(ids), count)
    return lengths[:, 1:].astype(np.float64)


def _weights(config: EncoderConfig) -> int:
    """Of the products that every token goes through, counted as often as they are applied."""
    hidden, layers = config.hidden_size, config.num_hidden_layers
    shared = hidden * config.key_value_heads // config.num_attention_heads
    attention = 2 * hidden * (hidden + shared)
    mlp = (3 if config.gated_mlp else 2) * hidden * config.intermediate_size
    projection = config.embedding_width * hidden if config.projects_embeddings else 0
    places = 0 if config.convolution is None else config.convolution.conv_kernel_size
    return layers * (attention + mlp) + projection + places * hidden**2


def _pairs(lengths: np.ndarray, reach: int | None) -> np.ndarray:
    """Pairs of tokens of a row that are at most `reach` apart; None: all."""
    far = np.maximum(lengths - 1 if reach is None else np.minimum(reach, lengths - 1), 0)
    return lengths * (2 * far + 1) - far * (far + 1)


def _relative_flops(config: EncoderConfig, lengths: np.ndarray) -> float:
    """The products of every token with the relative positions that the longest row reaches.

    The positions themselves are projected once for the whole batch.
    """
    relative, hidden = config.relative_attention, config.hidden_size
    if relative is None or not lengths.any():
        return 0.0
    farthest = int(lengths.max()) - 1
    behind, ahead = row_at(np.array([-farthest, farthest]), relative)
    products = config.num_hidden_layers * len(relative.pos_att_type) * int(ahead - behind + 1)
    return float(6 * hidden * products * (lengths.sum() + hidden))


def _output_weights(config: EncoderConfig) -> int:
    """Of the masked LM."""
    width, has_dense = config.embedding_width, config.heads.masked_lm.activation is not None
    return width * config.vocab_size + (config.hidden_size * width if has_dense else 0)
