"""Programs that one worker compiled and that no other compiles again."""

import os
from pathlib import Path

import jax
from jax._src import lru_cache


def _put_whole(cache: lru_cache.LRUCache, key: str, value: bytes) -> None:
    path = cache.path / f"{key}-cache"
    if not path.exists():
        part = path.with_name(f"{key}-{os.getpid()}")
        part.write_bytes(value)
        part.replace(path)


def share_programs(directory: Path) -> None:
    """Keeps the programs of this process there, where others keep theirs at the same time.

    JAX writes a program under its name from the first byte on: another would read half of it.
    """
    assert lru_cache._CACHE_SUFFIX == "-cache"
    lru_cache.LRUCache.put = _put_whole
    jax.config.update("jax_compilation_cache_dir", str(directory))
