"""What all processes of a command have to have alike. Every check is a meeting of them."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.config import to_yaml
from jaxbert.errors import UnreachableError, UserError
from jaxbert.parallel.processes import of_all
from jaxbert.tree import flat
from jaxbert.typing import Params


def check_same_run(settings: Any, fingerprint: str) -> None:
    """Raises UserError where processes have different configurations or data."""
    text = to_yaml(settings) + fingerprint
    digests = of_all(hashlib.sha256(text.encode()).hexdigest())
    for process, digest in enumerate(digests):
        if digest != digests[0]:
            raise UserError(
                f"process {process} has another configuration or other data than process 0: start "
                "all of them with the same command, on the same files"
            )


def check_same_step(latest: int | None, directory: Path) -> None:
    """Raises UnreachableError where processes see other checkpoints of a directory.

    NFS may show a listing that is up to a minute old. Each would go on from its own step, with
    other parameters and rows than the others, of whose sums no one could tell.
    """
    for process, found in enumerate(of_all(latest)):
        if found != latest:
            raise UnreachableError(
                f"{directory}: the newest checkpoint that process {process} sees there is {found}, "
                f"and process {jax.process_index()} sees {latest}: the storage shows them other "
                "listings; give the same command again in a minute"
            )


def check_same_data(name: str, fingerprint: str) -> None:
    """Raises UserError where the data that the command calls `name` differ."""
    for process, found in enumerate(of_all(fingerprint)):
        if found != fingerprint:
            raise UserError(
                f"{name}: process {process} has read other data there than process "
                f"{jax.process_index()}: give all of them the same files"
            )


def check_same_texts(name: str, *lists: Iterable[str]) -> None:
    """`check_same_data` of texts, of which processes tell each other no more than a digest."""
    if jax.process_count() == 1:
        return
    digest = hashlib.sha256()
    for texts in lists:
        for text in texts:
            read = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d " % len(read) + read)
    check_same_data(name, digest.hexdigest())


def check_same_model(params: Params, directory: Path) -> None:
    """Raises UserError where processes have read other parameters, which are arrays of NumPy."""
    if jax.process_count() > 1:
        check_same_weights({path: checksum(leaf) for path, leaf in flat(params).items()}, directory)


def check_same_weights(checksums: Mapping[str, int], directory: Path) -> None:
    """Raises UserError where processes have read other values of a parameter, by its path."""
    for process, found in enumerate(of_all(dict(sorted(checksums.items())))):
        for path, theirs in found.items():
            if checksums[path] != theirs:
                raise UserError(
                    f"{directory}: {path} has other values in process {process} than in process "
                    f"{jax.process_index()}: give all of them the same model"
                )


def checksum(values: np.ndarray) -> int:
    """Of what is in an array."""
    return zlib.crc32(np.ascontiguousarray(values).data)
