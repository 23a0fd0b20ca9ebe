"""Families whose files keep the names of their authors, where transformers' modules have others."""

from collections.abc import Mapping


def module_name(key: str, renamed: Mapping[str, str], layers: str) -> str:
    """transformers' name of what files call `key`.

    `renamed`: from its names to those in files; `layers`: what files begin those of a layer with.
    """
    for theirs, filed in renamed.items():
        key = key.replace(filed, theirs)
    return key.replace(layers, "layers.")


def filed_name(key: str, renamed: Mapping[str, str], layers: str) -> str:
    """The reverse, of a key without the encoder's prefix; a name in files stays as it is."""
    key = f"{layers}{key.removeprefix('layers.')}" if key.startswith("layers.") else key
    for theirs, filed in renamed.items():
        key = key.replace(theirs, filed)
    return key
