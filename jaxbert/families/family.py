"""What a published family is: its sizes, its config fields and its weight names, as values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxbert.nn.config import EncoderConfig, Head, HeadKind

Transform = Literal["same", "transpose", "pad_vocab"]
"""How a parameter differs from its tensor in a file; each one can be undone exactly.

same: not at all. transpose: ours is [in, out], the file's [out, in].
pad_vocab: ours has zero rows after the vocabulary, the file has none.
"""


@dataclass(frozen=True)
class Weight:
    """One parameter and the tensor of a Hugging Face file that holds it."""

    path: str
    """Where it lies in the params tree: "pooler/dense/kernel"."""
    key: str
    """Its name in `model.safetensors`: "bert.pooler.dense.weight"."""
    transform: Transform = "same"

    def file_shape(self, shape: tuple[int, ...], config: EncoderConfig) -> tuple[int, ...]:
        """Shape in the file of a parameter that has `shape` here."""
        if self.transform == "transpose":
            return shape[::-1]
        if self.transform == "pad_vocab":
            return (config.vocab_size, *shape[1:])
        return shape

    def from_file(self, tensor: np.ndarray, config: EncoderConfig) -> np.ndarray:
        """The parameter that `tensor` holds, in the dtype of the file."""
        if self.transform == "transpose":
            return tensor.T
        if self.transform == "pad_vocab":
            rows = config.padded_vocab_size - config.vocab_size
            return np.pad(tensor, [(0, rows)] + [(0, 0)] * (tensor.ndim - 1))
        return tensor

    def to_file(self, parameter: np.ndarray, config: EncoderConfig) -> np.ndarray:
        """The tensor to write; also takes anything of the parameter's shape, like its gradient."""
        if self.transform == "transpose":
            return parameter.T
        if self.transform == "pad_vocab":
            return parameter[: config.vocab_size]
        return parameter


@dataclass(frozen=True)
class Family:
    """One published family of encoders. A family is a file of values and small functions."""

    model_type: str
    """The name in config.json."""
    tokenizer_class: str
    presets: Mapping[str, EncoderConfig]
    architectures: Mapping[str, HeadKind]
    """Hugging Face's class name for every kind of head."""
    config_from_hf: Callable[[Mapping[str, Any]], EncoderConfig]
    """Raises UserError where a field asks for mathematics that is not implemented."""
    head_from_hf: Callable[[Mapping[str, Any], HeadKind], Head]
    config_to_hf: Callable[[EncoderConfig, Head], dict[str, Any]]
    weights: Callable[[EncoderConfig, Head], tuple[Weight, ...]]
    """Every parameter of a model exactly once, in the names that its class saves."""
    canonical_key: Callable[[str], str]
    """The one spelling of a key: today's names, with the encoder's prefix."""
    tied: Mapping[str, str]
    """Canonical keys of copies that old files hold, and the key that each one repeats."""
    buffers: frozenset[str]
    """Canonical keys of tensors that are not parameters."""
    head_prefixes: tuple[str, ...]
    """What canonical keys outside the encoder begin with; a model may have no use for those."""

    def architecture(self, kind: HeadKind) -> str:
        """The Hugging Face class of a kind of head."""
        return next(name for name, its_kind in self.architectures.items() if its_kind == kind)
