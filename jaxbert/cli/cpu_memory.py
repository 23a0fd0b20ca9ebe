"""A CPU's memory: kept by the process from one step to the next."""

import ctypes
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_memory() -> None:
    """Has a process that computes on CPUs keep the memory that it frees; elsewhere does nothing.

    What a step needs beside its arguments is one block of hundreds of megabytes. glibc gives such
    a block back when the step ends, and Linux clears its pages again for the next one, a sixth of
    the CPU time of a step. Kept is what the main thread frees, so steps run in it; a CPU works on
    one at a time in any case. To be called before JAX makes its first array.
    """
    import jax

    # Read when the CPU's client is made, and by nothing but it.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if jax.default_backend() != "cpu" or sys.platform != "linux":
        return
    # Other C libraries of Linux (musl) do not have it.
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)
