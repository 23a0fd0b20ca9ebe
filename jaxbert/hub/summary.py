"""What a model is, without its weights: the parameters by their paths, layers alike in one row."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from jaxbert.config import to_values
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import parameter_shapes
from jaxbert.nn.head import Head

_LAYER = re.compile(r"(?<=^encoder/layers/)\d+(?=/)")

_OF_VOCABULARY = re.compile(r"^encoder/embeddings/word/|^masked_lm/(bias|decoder)$")


@dataclass(frozen=True)
class Parameters:
    """A parameter, or those of the same name and shape in several layers."""

    path: str
    """Of several layers `encoder/layers/{0..11}/...`."""
    shape: tuple[int, ...]
    """Of tables over the vocabulary without the rows that pad it (`padded_vocab_size`)."""
    count: int
    """Layers that have it."""

    @property
    def size(self) -> int:
        """Elements of all of them."""
        return prod(self.shape) * self.count


def parameters_of(config: EncoderConfig, head: Head) -> tuple[Parameters, ...]:
    """All parameters of an architecture, float32, in the order of the tree; none is computed."""
    alike: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for path, shape in parameter_shapes(config, head).items():
        layer = _LAYER.search(path)
        if _OF_VOCABULARY.search(path) and shape[0] == config.padded_vocab_size:
            shape = (config.vocab_size, *shape[1:])
        layers = alike.setdefault((_LAYER.sub("{}", path), shape), [])
        layers.append(int(layer.group()) if layer else -1)
    return tuple(
        Parameters(path.replace("{}", _numbers(layers)), shape, len(layers))
        for (path, shape), layers in alike.items()
    )


def by_part(parameters: Iterable[Parameters]) -> dict[str, int]:
    """Elements of the embeddings, of the layers, and of what stands beside them, by name."""
    sizes: dict[str, int] = {}
    for each in parameters:
        names = each.path.split("/")
        part = "/".join(names[:2]) if names[0] == "encoder" else names[0]
        sizes[part] = sizes.get(part, 0) + each.size
    return sizes


def options_of(config: EncoderConfig) -> Mapping[str, Any]:
    """The architecture: its sizes, and every other option in which the encoder is not BERT-base."""
    values, usual = to_values(config), to_values(EncoderConfig())
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    always = (*sizes, "intermediate_size", "max_position_embeddings")
    others = (name for name in values if name not in ("heads", "model_type"))
    own = {name: values[name] for name in others if values[name] != usual[name]}
    return {name: values[name] for name in always} | own


def _numbers(layers: list[int]) -> str:
    """In the words of a shell."""
    layers = sorted(layers)
    if len(layers) == 1:
        return str(layers[0])
    is_range = layers == list(range(layers[0], layers[-1] + 1))
    return f"{{{layers[0]}..{layers[-1]}}}" if is_range else "{" + ",".join(map(str, layers)) + "}"
