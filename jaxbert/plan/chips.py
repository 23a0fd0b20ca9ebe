"""What is known of every TPU generation, and the names of its topologies."""

import math
import re
from dataclasses import dataclass

from jaxbert.errors import UserError
from jaxbert.training.flops import TENSORCORES_PER_CHIP, peak_flops


@dataclass(frozen=True)
class Chip:
    """What JAX shows as one device: a chip, or half of one where it shows two."""

    name: str
    device_kind: str
    """What JAX calls its devices."""
    memory: float
    """Bytes of HBM that a program may use."""
    memory_bandwidth: float
    """Bytes per second."""
    link_bandwidth: float
    """Bytes per second that it can send to its neighbours, over all links."""
    network_bandwidth: float
    """Bytes per second that it can send to other slices: its part of its host's network."""
    clock: float
    """Cycles per second."""
    dimensions: int
    """Of a topology."""
    examples: tuple[str, ...]
    chip_config: str = "default"

    @property
    def peak_flops(self) -> float:
        """bfloat16, per second."""
        peak = peak_flops(self.device_kind)
        assert peak is not None
        return peak

    @property
    def devices_per_chip(self) -> int:
        """How many JAX shows."""
        return TENSORCORES_PER_CHIP.get(self.device_kind, 1)

    @property
    def device(self) -> str:
        """What all these figures are of, in words."""
        return f"a {self.name}" if self.devices_per_chip == 1 else f"half a {self.name}"


_GIB = 2.0**30

# Memory: what the compiler of libtpu 0.0.51 says is available when a program does not fit.
# Bandwidths: cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e,tpu7x}; networks from JAX's scaling book
# (jax-ml.github.io/scaling-book/tpus), which has 270 and 540 GB/s for the links of v4 and v5p.
# Clocks: the peak over what the matrix units do in a cycle: 4 of 128 x 128 a TensorCore, from v6e
# on as many as 4 of 256 x 256, which is what the compiler's cycles of an 8192^3 product allow.
CHIPS = {
    "v4": Chip(
        *("v4", "TPU v4", 30.75 * _GIB, 1200e9, 300e9, 6.25e9, 1.05e9, 3),
        examples=("2x2x1", "2x2x2", "2x2x4", "4x4x4", "4x4x8", "8x8x8"),
        # Two TensorCores that JAX shows as one device.
        chip_config="megacore",
    ),
    "v5e": Chip(
        *("v5e", "TPU v5 lite", 15.75 * _GIB, 819e9, 200e9, 3.125e9, 1.50e9, 2),
        examples=("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    ),
    "v5p": Chip(
        *("v5p", "TPU v5", 95.73 * _GIB, 2765e9, 600e9, 6.25e9, 1.75e9, 3),
        examples=("2x2x1", "2x2x2", "2x2x4", "4x4x4", "4x4x8", "8x8x8"),
        chip_config="megacore",
    ),
    "v6e": Chip(
        *("v6e", "TPU v6 lite", 31.24 * _GIB, 1640e9, 400e9, 12.5e9, 1.75e9, 2),
        examples=("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    ),
    "tpu7x": Chip(
        *("tpu7x", "TPU7x", 94.74 * _GIB, 3690e9, 300e9, 6.25e9, 2.2e9, 3),
        examples=("2x2x1", "2x2x2", "2x2x4", "4x4x4", "4x4x8", "8x8x8"),
    ),
}


@dataclass(frozen=True)
class Topology:
    """`v5e:16x16`, or of several slices `2xv5e:16x16`."""

    text: str
    num_slices: int
    chip: Chip
    slice_name: str
    """One slice, as the compiler calls it."""

    @property
    def num_chips(self) -> int:
        """Of all slices."""
        shape = self.slice_name.partition(":")[2]
        return self.num_slices * math.prod(map(int, shape.split("x")))

    @property
    def num_devices(self) -> int:
        """What JAX shows of them."""
        return self.num_chips * self.chip.devices_per_chip


def topology_of(text: str) -> Topology:
    """Reads a topology; raises UserError naming those that are known."""
    found = re.fullmatch(r"(?:([1-9]\d*)x)?([a-z]\w*)(?::(.*))?", text)
    number, name, shape = found.groups(default="") if found else ("", "", "")
    if name not in CHIPS:
        raise UserError(f"--topology {text}: no such TPU: {_known()}")
    chip = CHIPS[name]
    if chip.dimensions == 2:
        # These are all; the compiler would also plan for 64x64, which nobody can have.
        is_known = shape in chip.examples
    else:
        # A host has 2x2x1 chips, and the compiler takes whole ones, or one row of them.
        sides = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x[1-9]\d*", shape)
        is_known = sides is not None and all(n == "1" or int(n) % 2 == 0 for n in sides.groups())
    if not is_known:
        raise UserError(f"--topology {text}: {chip.name} is {_listed(chip)}")
    return Topology(text, int(number or 1), chip, f"{name}:{shape}")


def no_such_topology(topology: Topology, reason: str) -> UserError:
    """For a shape that the compiler does not take."""
    return UserError(f"--topology {topology.text}: {reason}; {_listed(topology.chip)}")


def _known() -> str:
    listed = "; ".join(_listed(chip) for chip in CHIPS.values())
    return f"{listed}; of several slices e.g. 2xv5e:16x16"


def _listed(chip: Chip) -> str:
    return f"{chip.name}:{{{','.join(chip.examples)}}}{'' if chip.dimensions == 2 else ' and more'}"
