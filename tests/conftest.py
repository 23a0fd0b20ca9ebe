"""Eight CPU devices, strict arrays, and shapes checked at run time."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
flags = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8"

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook(["jaxbert.nn", "jaxbert.families", "jaxbert.tasks"], "beartype.beartype")
