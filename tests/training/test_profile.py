from importlib.machinery import ModuleSpec
from pathlib import Path

import jax
import pytest

from jaxbert.errors import UserError
from jaxbert.training import profile


@pytest.fixture
def nobody_chose_a_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """And libtpu is installed."""
    monkeypatch.setattr(profile, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.delenv("JAX_PLATFORMS")


@pytest.mark.usefixtures("nobody_chose_a_platform")
@pytest.mark.parametrize(("platform", "to_set"), [("cpu", "cpu"), ("gpu", "cuda,cpu")])
def test_no_trace_beside_a_libtpu_without_a_tpu(
    platform: str, to_set: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    with pytest.raises(UserError, match=f"no TPU.* JAX_PLATFORMS={to_set}$"):
        profile.check_tracing()
    monkeypatch.setenv("JAX_PLATFORMS", to_set)
    profile.check_tracing()


@pytest.mark.usefixtures("nobody_chose_a_platform")
def test_a_trace_on_a_tpu_and_without_libtpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    profile.check_tracing()
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(profile, "find_spec", lambda name: None)
    profile.check_tracing()


@pytest.mark.parametrize(
    ("machines", "expected"),
    [(["a"], "profile"), (["a", "b"], "profile"), (["a", "a"], "process_1")],
)
def test_processes_of_one_machine_trace_into_folders_of_their_own(
    machines: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(profile, "of_all", lambda own: machines)
    monkeypatch.setattr(jax, "process_index", lambda: len(machines) - 1)
    assert profile.trace_directory(Path("run")).name == expected
