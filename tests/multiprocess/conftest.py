import jax
import pytest


@pytest.fixture(scope="module")
def compiled_quickly(tmp_path_factory: pytest.TempPathFactory):
    """As in the processes that are started: programs of milliseconds, and each of them once."""
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_disable_most_optimizations", False)
