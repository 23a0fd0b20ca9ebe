"""What a published family is: its sizes, its config fields and its weight names, as values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxbert.data.pairs import SentencePairs
from jaxbert.families.weight import Weight
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind, Pooling


def as_filed(head: Head) -> Head:
    """The head that files have a class for: vectors of tokens are made of the plain encoder's."""
    return Head() if head.kind == "late_interaction" else head


@dataclass(frozen=True)
class Constants:
    """Tensors that nobody trains, and that say more of an architecture than config.json does."""

    is_one: Callable[[str], bool]
    """Whether a canonical key is the name of one."""
    read: Callable[[EncoderConfig, Mapping[str, np.ndarray]], EncoderConfig]
    """The architecture, from what config.json says and those that a file holds, by their names.

    Raises UserError for values that are not implemented.
    """
    write: Callable[[EncoderConfig, Head], Mapping[str, np.ndarray]]
    """Those of an architecture, in the names that its class saves."""


@dataclass(frozen=True)
class Family:
    """One published family of encoders. A family is a file of values and small functions."""

    model_type: str
    """The name in config.json."""
    presets: Mapping[str, EncoderConfig]
    architectures: Mapping[str, HeadKind]
    """Hugging Face's class name for every kind of head that has one."""
    config_from_hf: Callable[[Mapping[str, Any]], EncoderConfig]
    """Raises UserError where a field asks for mathematics that is not implemented."""
    config_to_hf: Callable[[EncoderConfig, Head], dict[str, Any]]
    """Every field of config.json that is the family's own; labels and dtype are added to them."""
    weights: Callable[[EncoderConfig, Head], tuple[Weight, ...]]
    """Every parameter of a model exactly once, in the names that its class saves."""
    canonical_key: Callable[[str], str]
    """The one spelling of a key: today's names, with the encoder's prefix."""
    tied: Callable[[EncoderConfig], Mapping[str, str]]
    """Canonical keys of copies that files may hold, and the key that each one repeats."""
    head_prefixes: tuple[str, ...]
    """What canonical keys outside the encoder begin with; a model may have no use for those."""
    module_key: Callable[[str], str] = str
    """The name of a parameter in transformers' modules, where its files have another."""
    former_model_type: str | None = None
    """The name in files for code of the authors, which transformers has taken over since."""
    former_architectures: Mapping[str, HeadKind] = field(default_factory=dict)
    """Class names that published files have and transformers has not."""
    buffers: frozenset[str] = frozenset()
    """Canonical keys of tensors that are not parameters."""
    constants: Constants | None = None
    left_out: tuple[str, ...] = ()
    """What canonical keys begin with of parts that transformers' classes have and none here."""
    poolings: frozenset[Pooling] = frozenset()
    """Poolings of a classifier that config.json can say."""
    token_ids: tuple[str, ...] = ()
    """Fields of config.json that name tokens by their ids, beside `pad_token_id`."""
    sentence_pairs: SentencePairs = "none"
    """What its published pretraining head tells of the two parts of an example."""

    def architecture(self, kind: HeadKind) -> str | None:
        """The Hugging Face class of a kind of head; None: there is none."""
        return next(
            (name for name, its_kind in self.architectures.items() if its_kind == kind), None
        )
