"""Architectures that no config.json of a family can say: in our own layout alone."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.yaml_values import plain

ARCHITECTURE = "jaxbert_architecture"
"""The field of config.json with the options that the family has no words for."""


def own_options(config: EncoderConfig, read: EncoderConfig) -> dict[str, Any]:
    """Options of `config` that are others in `read`, what its family's config.json says of it."""
    ours, theirs = dataclasses.asdict(config), dataclasses.asdict(read)
    return {name: plain(value) for name, value in ours.items() if value != theirs[name]}


def with_own_options(config: EncoderConfig, fields: Mapping[str, Any]) -> EncoderConfig:
    """What a family reads in a config.json, with the options of ours that stand there besides."""
    own = fields.get(ARCHITECTURE)
    if own is None:
        return config
    if not isinstance(own, Mapping):
        raise UserError(f"{ARCHITECTURE} is {type(own).__name__}: expected options by their names")
    return parse_config(EncoderConfig, dataclasses.asdict(config) | dict(own), origin=ARCHITECTURE)
