"""What the processes of a run tell each other; for one process alone all of it is free.

Everything here is a meeting: all processes call it, in the same order, from their main thread.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from jaxbert.errors import UserError
from jaxbert.typing import Array

S = TypeVar("S")
T = TypeVar("T")


def is_first() -> bool:
    """Whether this is the process that writes what is written once."""
    return jax.process_index() == 0


def in_first(act: Callable[[], T]) -> T:
    """What `act` gives in the first process, in all of them; JSON.

    The others neither call it nor go on before it has ended. Its UserError is raised in all.
    """
    if jax.process_count() == 1:
        return act()
    outcome: dict[str, Any] = {}
    if is_first():
        try:
            outcome = {"value": act()}
        except UserError as error:
            outcome = {"error": str(error)}
    outcome = _from_first(outcome)
    if "error" in outcome:
        raise UserError(outcome["error"])
    return outcome["value"]


def of_all(value: Any) -> list[Any]:
    """The value (JSON) of every process, in their order."""
    if jax.process_count() == 1:
        return [value]
    text = json.dumps(value).encode()
    sizes = multihost_utils.process_allgather(np.array(len(text)))
    rows = multihost_utils.process_allgather(_padded(text, int(sizes.max())))
    found = zip(rows, sizes, strict=True)
    return [json.loads(row[: int(size)].tobytes()) for row, size in found]


def by_turns(
    items: Iterable[S], size: int, act: Callable[[Iterable[S]], Iterable[T]]
) -> Iterator[T]:
    """What `act` gives of the items, in their order.

    Every process is given all items and acts on every n-th `size` of them; all get what all of them
    give, which is JSON. UserError where they are given unlike items.
    """
    count, own = jax.process_count(), jax.process_index()
    if count == 1:
        yield from act(items)
        return
    iterator = iter(items)
    while True:
        some = list(islice(iterator, count * size))
        mine = some[own * size : (own + 1) * size]
        digest = hashlib.sha256(repr(some).encode("utf-8", "surrogatepass")).hexdigest()
        meeting = of_all({"read": digest, "found": list(act(mine)) if mine else []})
        for process, told in enumerate(meeting):
            if told["read"] != meeting[0]["read"]:
                raise UserError(
                    f"process {process} has read other data than process 0: give all of them the "
                    "same files"
                )
        for told in meeting:
            yield from told["found"]
        if not some:
            return


class Total:
    """Sums of vectors over the processes, which the devices add up while the host goes on."""

    def __init__(self) -> None:
        self._devices = np.array(jax.devices())
        self._nothing: dict[tuple[int, ...], list[Array]] = {}
        mesh = Mesh(self._devices, ("devices",))
        self._split = NamedSharding(mesh, PartitionSpec("devices"))
        self._sum = jax.jit(
            lambda x: x.sum(axis=0), out_shardings=NamedSharding(mesh, PartitionSpec())
        )

    def __call__(self, values: NDArray[np.float64]) -> Array | NDArray[np.float64]:
        """The sum, float32 and not waited for where there are several processes."""
        if jax.process_count() == 1:
            return values
        # One device speaks for its process, the others always say nothing.
        first, *others = jax.local_devices()
        row = values.astype(np.float32)[None]
        if row.shape not in self._nothing:
            zeros = np.zeros_like(row)
            self._nothing[row.shape] = [jax.device_put(zeros, device) for device in others]
        parts = [jax.device_put(row, first), *self._nothing[row.shape]]
        shape = (len(self._devices), *values.shape)
        return self._sum(jax.make_array_from_single_device_arrays(shape, self._split, parts))


class Agreement:
    """A question that is answered alike in all processes: does it hold in any of them?

    The answer is that of the call before, so that nobody waits for the device; the first call
    waits for its own. Where there is one process, it is that of now.
    """

    def __init__(self, holds: Callable[[], bool]):
        self._holds, self._total = holds, Total()
        self._asked: Array | NDArray[np.float64] | None = None

    def __call__(self) -> bool:
        """Whether it held in any process."""
        if jax.process_count() == 1:
            return self._holds()
        now = self._total(np.array([self._holds()], np.float64))
        before, self._asked = now if self._asked is None else self._asked, now
        return bool(np.asarray(before)[0] > 0)


def to_first(tree: Any) -> Any | None:
    """A tree of arrays on the host of the first process, None in the others.

    Arrays go one by one, so that no device holds more than one that is not its own.
    """
    if jax.process_count() == 1:
        return jax.device_get(tree)
    leaves, structure = jax.tree.flatten(tree)
    found = []
    for leaf in leaves:
        whole = jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))
        if is_first():
            found.append(np.array(whole.addressable_data(0)))
        else:
            whole.block_until_ready()
    return jax.tree.unflatten(structure, found) if is_first() else None


def _from_first(value: Any) -> Any:
    text = json.dumps(value).encode() if is_first() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(text))))
    sent = multihost_utils.broadcast_one_to_all(_padded(text, size))
    return json.loads(sent[:size].tobytes())


def _padded(text: bytes, size: int) -> NDArray[np.uint8]:
    """At least `size` bytes: a power of two, so that few programs are compiled."""
    row = np.zeros(1 << max(10, (size - 1).bit_length()), np.uint8)
    row[: len(text)] = np.frombuffer(text, np.uint8)
    return row
