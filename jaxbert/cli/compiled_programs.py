"""Where a training run keeps its compiled programs."""

import argparse
import re
import zlib
from contextlib import suppress
from pathlib import Path

_ENTRY = re.compile(r".+-[0-9a-f]{64}-cache")
"""The names that JAX gives: program, hash of all that it depends on."""
_ZSTD = b"\x28\xb5\x2f\xfd"
_CHUNK_BYTES = 2**20


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """--no-compilation-cache."""
    parser.add_argument(
        "--no-compilation-cache",
        action="store_true",
        help="do not keep compiled programs in RUN/compiled, nor use those that are there",
    )


def keep_programs(arguments: argparse.Namespace, run: str, *, is_first: bool) -> None:
    """Has JAX keep what it compiles, so that a run which continues compiles nothing again.

    In the run's directory: it outlives a preempted machine, or there would be nothing to continue,
    and all hosts of a run share it. A directory that was chosen (JAX_COMPILATION_CACHE_DIR) stays.
    Only the first process writes there, so it alone deletes what was not written to its end.
    """
    import jax

    from jaxbert.experiment.run_files import RunDirectory

    if arguments.no_compilation_cache:
        jax.config.update("jax_enable_compilation_cache", False)
    elif jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        kept = RunDirectory(Path(run)).compiled
        if is_first:
            _delete_half_written(kept)
        jax.config.update("jax_compilation_cache_dir", str(kept))


def _delete_half_written(directory: Path) -> None:
    """Deletes the programs whose writing was cut off, by a kill or a full disk.

    JAX writes them in place and never again: it would warn of each at every start, and compile it.
    """
    for entry in directory.glob("*-cache"):
        # What cannot be read or deleted is JAX's to tell of.
        with suppress(OSError):
            if _ENTRY.fullmatch(entry.name) and not _is_whole(entry):
                entry.unlink()


def _is_whole(entry: Path) -> bool:
    """Whether the end is there, of what JAX compressed with zstandard or, without it, with zlib."""
    with open(entry, "rb") as file:
        if file.read(len(_ZSTD)) == _ZSTD:
            return _ends_as_zstd(entry)
        file.seek(0)
        stream = zlib.decompressobj()
        try:
            while chunk := file.read(_CHUNK_BYTES):
                stream.decompress(chunk)
        except zlib.error:
            return False
        return stream.eof


def _ends_as_zstd(entry: Path) -> bool:
    import pyarrow

    with pyarrow.input_stream(str(entry), compression="zstd") as stream:
        try:
            while stream.read(_CHUNK_BYTES):
                pass
        except OSError as error:
            # Only the operating system numbers its errors.
            if error.errno is not None:
                raise
            return False
    return True
