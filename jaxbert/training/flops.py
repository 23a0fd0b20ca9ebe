"""Model FLOPs of a training step and the peak of the device: what utilisation is made of."""

from collections.abc import Mapping

import jax
import numpy as np

from jaxbert.data.masking import IGNORED
from jaxbert.nn.config import EncoderConfig

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


def peak_flops(device: jax.Device) -> float | None:
    """bfloat16 FLOP/s of one JAX device, None where it is not known (CPU)."""
    peak = PEAK_FLOPS.get(device.device_kind)
    return None if peak is None else peak / TENSORCORES_PER_CHIP.get(device.device_kind, 1)


def train_flops(config: EncoderConfig, batch: Mapping[str, np.ndarray]) -> float:
    """Model FLOPs (forward and backward) that the real tokens of a host batch need.

    6 per weight and token, 12 * layers * hidden * length per token for attention over the real
    length of its row, 6 * width * (hidden + vocab) per masked position, where width is that of the
    embeddings; padding counts nothing. A shared layer counts each time that it is applied.
    Devlin et al. 2018 shapes, counting as in Chowdhery et al. 2022, appendix B.
    """
    hidden, layers, width = config.hidden_size, config.num_hidden_layers, config.embedding_width
    weights = layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size)
    weights += hidden * width if config.projects_embeddings else 0
    lengths = batch["attention_mask"].sum(axis=-1, dtype=np.float64)
    flops = float(6 * weights * lengths.sum() + 12 * layers * hidden * np.square(lengths).sum())
    if "masked_lm_positions" in batch:
        num_masked = float((batch["labels"] != IGNORED).sum())
        flops += 6 * width * (hidden + config.vocab_size) * num_masked
    return flops
