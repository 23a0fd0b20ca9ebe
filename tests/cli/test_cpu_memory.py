import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, statistics, sys
import jax, jax.numpy as jnp
from jaxbert.cli.cpu_memory import keep_memory

if sys.argv[1] == "kept":
    keep_memory()

@jax.jit
def step(x):
    rows = jnp.cumsum(x, axis=0)
    return jnp.cumsum(rows, axis=1) + jnp.cumsum(rows[::-1], axis=0)

x = jnp.ones((2**13, 2**10))
memory = step.lower(x).compile().memory_analysis()
jax.block_until_ready(step(x))
pages = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / resource.getpagesize()
shares = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(step(x))
    shares.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / pages)
# Of a busy machine one step may come late to what the last one has freed.
print(statistics.median(shares))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_step_finds_the_memory_of_the_one_before():
    def renewed(case: str) -> float:
        """The share of a step's pages that the system has to provide anew."""
        command = [sys.executable, "-c", PROGRAM, case]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert renewed("given back") > 0.5
    assert renewed("kept") < 0.1
