"""Programs that are tiny and run a few times, compiled in little time."""

from typing import Any

import jax
from jax._src import compiler

OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
"""Of the time of compiling for CPUs half goes in XLA's MLIR emitters, and a fifth of the rest in
parts that LLVM compiles in threads."""
XLA_FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in OPTIONS.items())
ENVIRONMENT = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": XLA_FLAGS}
"""Of a process with one device whose programs are all to be compiled so."""

SOURCE_LINES = jax.config.values["jax_traceback_in_locations_limit"]
as_for_users = compiler.get_compile_options


def _quickly(*arguments: Any, **options: Any) -> Any:
    overrides = options.pop("env_options_overrides", None) or {}
    return as_for_users(*arguments, env_options_overrides=OPTIONS | overrides, **options)


def compile_quickly(is_quick: bool) -> None:
    """Whether the programs of this process are compiled so from now on."""
    jax.config.update("jax_disable_most_optimizations", is_quick)
    # Which line of the source every operation is of takes a tenth of the time of lowering.
    jax.config.update("jax_traceback_in_locations_limit", 0 if is_quick else SOURCE_LINES)
    # XLA reads its flags once, and JAX has a setting for the optimizations alone.
    compiler.get_compile_options = _quickly if is_quick else as_for_users
