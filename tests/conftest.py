"""Eight CPU devices, strict arrays, shapes checked at run time, and parity where PyTorch is."""

import gc
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

KEPT = "JAXBERT_TESTS_PROGRAMS"

os.environ["JAX_PLATFORMS"] = "cpu"
# What one test compiled no other compiles, nor a process of its worker. Those processes have a
# directory of their own, for JAX writes there in place: another one would read half of a program.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not IS_WORKER:
    os.environ[KEPT] = tempfile.mkdtemp(prefix="jaxbert-tests-programs-")
PROGRAMS = Path(os.environ[KEPT])
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(PROGRAMS / f"of-processes-{os.getpid()}")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
flags = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8"

import jax
import pytest
from jaxtyping import install_import_hook
from quick_programs import compile_quickly
from shared_programs import share_programs

share_programs(PROGRAMS / "of-tests")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Tracing makes very many objects that live on: looking for dead ones is a tenth of the tests' time.
gc.set_threshold(100_000, 50, 50)
install_import_hook(["jaxbert.nn", "jaxbert.families", "jaxbert.tasks"], "beartype.beartype")

ROOT = Path(__file__).parent
PARITY = [
    "hub",
    "families/test_albert.py",
    "families/test_bert.py",
    "families/test_deberta.py",
    "families/test_deberta_v2.py",
    "families/test_distilbert.py",
    "families/test_electra.py",
    "families/test_esm.py",
    "families/test_ernie.py",
    "families/test_eurobert.py",
    "families/test_gte.py",
    "families/test_jina_embeddings_v3.py",
    "families/test_megatron_bert.py",
    "families/test_modernbert.py",
    "families/test_mpnet.py",
    "families/test_nomic_bert.py",
    "families/test_roberta.py",
    "experiment/test_sentence_order.py",
    "optim/test_schedule_parity.py",
    "tasks/test_question_answering_parity.py",
    "tasks/test_token_classification_parity.py",
    "tasks/test_classification_losses_parity.py",
    "tasks/test_distillation.py",
    "tasks/test_r_drop.py",
    "training/test_trajectory.py",
]
QUICKLY_COMPILED = (
    *("adapt", "checkpoint", "cli", "demo", "experiment", "families", "hub", "multiprocess"),
    *("nn", "optim", "parallel", "tasks", "training"),
)
"""Folders whose programs are tiny, run a few times, and take most of their time to be compiled."""
AS_FOR_USERS = (
    "nn/test_numerics.py",
    "hub/test_parity.py",
    "hub/test_gradients.py",
    "hub/test_real_model.py",
)
"""Judge functions in the last bits, and BERT's heads, gradients and a real model, as XLA compiles
them for users. `benchmarks/parity.py` does so for all families."""
LONG = ("multiprocess", "cli", "demo", "test_examples.py", "plan", "experiment", "training")
"""Folders of files that take a minute or two: first, so that no worker ends with one alone."""
HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore = [] if HAS_TORCH else PARITY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.relative_to(ROOT).parts[0] not in LONG)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    path = item.path.relative_to(ROOT)
    compile_quickly(path.parts[0] in QUICKLY_COMPILED and path.as_posix() not in AS_FOR_USERS)


def pytest_report_header() -> str:
    if HAS_TORCH:
        return "parity: against PyTorch"
    return f"parity: PyTorch is not installed (extra `parity`): left out: {', '.join(PARITY)}"


def pytest_unconfigure() -> None:
    if not IS_WORKER:
        shutil.rmtree(PROGRAMS, ignore_errors=True)
