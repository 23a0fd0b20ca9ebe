"""jaxbert info."""

import argparse

HELP = "show versions, devices, what is installed and the published sizes"
EXAMPLE = """
jaxbert info
"""

PACKAGES = (
    *("jaxbert", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tokenizers"),
    *("safetensors", "libtpu", "datasets", "tensorflow-datasets", "torch", "transformers"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments: none."""


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import jax
    from rich.console import Console
    from rich.table import Table

    from jaxbert.families import FAMILIES

    table = Table("what", "which")
    table.add_row("python", platform.python_version())
    for package in PACKAGES:
        try:
            table.add_row(package, version(package))
        except PackageNotFoundError:
            table.add_row(package, "not installed")
    devices = jax.devices()
    table.add_row("devices", f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})")
    table.add_row("processes", str(jax.process_count()))
    for family in FAMILIES.values():
        table.add_row(f"presets of {family.model_type}", ", ".join(family.presets))
    Console().print(table)
    return 0
