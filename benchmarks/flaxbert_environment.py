"""An environment with transformers' last FlaxBert, beside ours: same JAX, same Flax, same Optax."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "jaxbert-benchmarks")
PEER = "transformers==4.57.6"


def flaxbert_python(cache: Path) -> str:
    """Its interpreter; the environment is made where there is none of these versions."""
    shared = [f"{name}=={version(name)}" for name in ("jax", "jaxlib", "flax", "optax", "numpy")]
    directory, wanted = cache / "flaxbert", " ".join([*shared, PEER])
    python, receipt = str(directory / "bin" / "python"), directory / "packages.txt"
    if not receipt.is_file() or receipt.read_text(encoding="utf-8") != wanted:
        print(f"... installing {wanted}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([python, *install, *shared, PEER], check=True)
        receipt.write_text(wanted, encoding="utf-8")
    return python
