"""What the files of a model hold, against the parameters that its architecture needs."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_some
from jaxbert.nn.head import Head
from jaxbert.typing import Params

Place = Callable[[str, np.ndarray], Any]
"""Takes a parameter's path and its values, float32, and gives what goes into the params tree.

It is called from two threads.
"""

_AT_A_TIME = 2
"""Parameters read at once: one is fetched while another is turned; more hold more memory."""


WORDS = "encoder/embeddings/word/embedding"
"""The path of the vocabulary's embeddings."""


@dataclass(frozen=True)
class Stored:
    """One parameter as a file may hold it."""

    name: str
    """Its name in the file's own words, for messages."""
    expected: tuple[int, ...]
    """The shape that the file should give it."""
    found: tuple[int, ...] | None
    """The shape that it has there; None: it is missing."""
    read: Callable[[], np.ndarray]
    """The parameter in our layout, in the dtype of the file: often a read-only view of it.

    To be called once.
    """


@dataclass(frozen=True)
class Contents:
    """What the files of a model hold, seen from the parameters that an architecture needs."""

    stored: Mapping[str, Stored]
    """Every parameter by its path."""
    unexpected: Mapping[str, tuple[int, ...]]
    """Shapes of the tensors that no model of the family has."""
    unused: tuple[str, ...]
    """Names of the tensors of heads that the architecture does not have."""


def paths_to_draw(
    contents: Contents, *, origin: str, may_be_fresh: bool, may_mismatch: bool
) -> tuple[str, ...]:
    """The paths of the parameters to initialise; raises UserError naming every tensor at fault.

    Only whole modules of the head are ever initialised: those of which nothing is there
    (`may_be_fresh`), and those with a tensor of another shape (`may_mismatch`).
    """
    stored, fresh = contents.stored, set[str]()
    for paths in _head_modules(stored).values():
        absent = all(stored[path].found is None for path in paths)
        misfit = any(_mismatched(stored[path]) for path in paths)
        if (absent and may_be_fresh) or (misfit and may_mismatch):
            fresh.update(paths)
    faults = list(_faults(entry for path, entry in stored.items() if path not in fresh))
    unexpected = sorted(contents.unexpected.items())
    faults += [f"unexpected {name} {list(shape)}" for name, shape in unexpected]
    if faults:
        advice = _advice(stored, fresh, may_be_fresh=may_be_fresh, may_mismatch=may_mismatch)
        raise UserError(f"{origin} does not fit: {'; '.join(faults)}{advice}")
    return tuple(path for path in stored if path in fresh)


def assemble(
    stored: Mapping[str, Stored],
    fresh: Collection[str],
    config: EncoderConfig,
    head: Head,
    seed: int,
    place: Place,
) -> Params:
    """The params tree in float32, read from the file or drawn from `seed`, as `place` puts it."""
    drawn = init_some(config, head, seed, fresh) if fresh else {}

    def leaf(path: str) -> Any:
        read = drawn[path] if path in fresh else stored[path].read()
        return place(path, _own(np.asarray(read, np.float32)))

    # The largest first: what it takes to read one is taken while little else is held.
    order = sorted(stored, key=lambda path: -math.prod(stored[path].expected))
    with ThreadPoolExecutor(_AT_A_TIME) as readers:
        leaves = dict(zip(order, readers.map(leaf, order), strict=True))
    return unflatten_dict({path: leaves[path] for path in stored}, sep="/")


def _own(array: np.ndarray) -> np.ndarray:
    """Not a view of a file that `jax.device_put` could take for the device's memory on the CPU.

    It does so with contiguous arrays only, and copies a transposed view faster than numpy.
    """
    is_taken = array.flags.c_contiguous and not array.flags.owndata
    return array.copy() if is_taken else array


def _head_modules(paths: Iterable[str]) -> dict[str, list[str]]:
    modules: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        module = path.partition("/")[0]
        if module != "encoder":
            modules[module].append(path)
    return modules


def _mismatched(entry: Stored) -> bool:
    return entry.found is not None and entry.found != entry.expected


def _faults(entries: Iterable[Stored]) -> Iterable[str]:
    for entry in entries:
        if entry.found is None:
            yield f"missing {entry.name} {list(entry.expected)}"
        elif _mismatched(entry):
            yield f"{entry.name} is {list(entry.found)}, expected {list(entry.expected)}"


def _advice(
    stored: Mapping[str, Stored], fresh: Collection[str], *, may_be_fresh: bool, may_mismatch: bool
) -> str:
    """How to read a padded vocabulary, or to get a new head, where that would help."""
    words = stored.get(WORDS)
    if words is not None and words.found is not None and words.found != words.expected:
        rows, *width = words.found
        if rows > words.expected[0] and tuple(width) == words.expected[1:]:
            return f"; a vocabulary that was padded is read with vocab_size={rows} in config.json"
    for paths in _head_modules(stored).values():
        if set(paths) <= set(fresh):
            continue
        if not may_mismatch and any(_mismatched(stored[path]) for path in paths):
            return (
                "; pass ignore_mismatched_heads=True (a key of fine-tuning's configuration) to"
                " initialise a new head, or head='none' (--head none) to leave it out"
            )
        if not may_be_fresh and all(stored[path].found is None for path in paths):
            return (
                "; pass head= (jaxbert convert --head) to initialise the parts of the head that are"
                " missing"
            )
    return ""
