"""Where a training run keeps its compiled programs."""

import argparse
from pathlib import Path


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """--no-compilation-cache."""
    parser.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="do not keep compiled programs in RUN/compiled, nor use those that are there",
    )


def keep_programs(arguments: argparse.Namespace, run: str) -> None:
    """Has JAX keep what it compiles, so that a run which continues compiles nothing again.

    In the run's directory: it outlives a preempted machine, or there would be nothing to continue,
    and all hosts of a run share it. A directory that was chosen (JAX_COMPILATION_CACHE_DIR) stays.
    """
    import jax

    from jaxbert.experiment.run_directory import RunDirectory

    if arguments.no_compilation_cache:
        jax.config.update("jax_enable_compilation_cache", False)
    elif jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        kept = RunDirectory(Path(run)).compiled
        jax.config.update("jax_compilation_cache_dir", str(kept))
