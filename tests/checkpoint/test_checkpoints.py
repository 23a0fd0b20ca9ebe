"""Saving, keeping and restoring, on states of a few arrays."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.checkpoint.preservation import CheckpointConfig
from jaxbert.errors import UserError
from jaxbert.parallel.mesh import MeshConfig, make_mesh

RUN = {"config": {"seed": 0}, "data": {"fingerprint": "abc"}}


def state(step: int) -> dict[str, jax.Array]:
    key = jax.random.key(step)
    return {
        "step": jnp.array(step, jnp.int32),
        "kernel": jax.random.normal(key, (64, 48)),
        "half": jax.random.normal(key, (7,), jnp.bfloat16),
    }


def abstract(tree: dict[str, jax.Array]) -> dict[str, jax.ShapeDtypeStruct]:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def save_all(directory: Path, config: CheckpointConfig, scores: dict[int, float | None]) -> None:
    checkpoints, seen = Checkpoints(directory, config), {}
    for step, score in scores.items():
        if score is not None:
            seen[step] = score
        checkpoints.save(step, state(step), RUN, seen)
    checkpoints.close()


def steps(directory: Path) -> set[int]:
    return {int(path.name) for path in directory.iterdir()}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("two") / "checkpoints"
    save_all(directory, CheckpointConfig(), {3: None, 7: None})
    return directory


def test_a_restored_state_is_the_saved_one_to_the_last_bit(two):
    checkpoints = Checkpoints(two, CheckpointConfig())
    restored, run, shapes = (
        checkpoints.restore(7, abstract(state(0))),
        checkpoints.run(7),
        checkpoints.shapes(7),
    )
    checkpoints.close()
    assert run == RUN
    assert {name: leaf.shape for name, leaf in shapes.items()} == {
        name: array.shape for name, array in restored.items()
    }
    for name, expected in state(7).items():
        assert restored[name].dtype == expected.dtype
        assert np.asarray(restored[name]).tobytes() == np.asarray(expected).tobytes()


def test_of_what_all_devices_hold_each_copies_a_part_only_where_that_is_large(tmp_path):
    everywhere = NamedSharding(make_mesh(MeshConfig()), PartitionSpec())
    arrays = {"small": np.arange(1024.0), "large": np.arange(2.0**21)}
    saved = jax.tree.map(lambda x: jax.device_put(np.float32(x), everywhere), arrays)
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    checkpoints.save(1, saved, RUN, {})
    checkpoints.wait()
    restored, stored = checkpoints.restore(1, abstract(saved)), checkpoints.shapes(1)
    checkpoints.close()
    parts = {name: entry.storage.chunk_shape for name, entry in stored.items()}
    assert parts == {"small": (1024,), "large": (2**21 // 8,)}
    for name, values in arrays.items():
        np.testing.assert_array_equal(restored[name], np.float32(values))


def test_a_state_is_restored_onto_another_mesh(two):
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    target = abstract(state(0))
    sharding = NamedSharding(mesh, PartitionSpec("fsdp", "tensor"))
    target["kernel"] = jax.ShapeDtypeStruct((64, 48), jnp.float32, sharding=sharding)
    checkpoints = Checkpoints(two, CheckpointConfig())
    restored = checkpoints.restore(7, target)
    checkpoints.close()
    assert restored["kernel"].sharding == sharding
    np.testing.assert_array_equal(restored["kernel"], state(7)["kernel"])


def test_steps_that_go_on_while_a_checkpoint_is_written_do_not_change_it(tmp_path):
    @jax.jit
    def next_state(values):
        return values + 1

    donating = jax.jit(next_state, donate_argnums=0)
    values = {"values": jnp.zeros((512, 1024))}
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    for step in range(3):
        checkpoints.save(step, values, RUN, {})
        for _ in range(20):
            values = {"values": donating(values["values"])}
    target = abstract(values)
    checkpoints.wait()
    restored = checkpoints.restore(2, target)
    checkpoints.close()
    np.testing.assert_array_equal(restored["values"], np.full((512, 1024), 40.0))


def test_the_last_and_the_best_checkpoints_stay(tmp_path):
    scores = {1: 0.5, 2: 0.9, 3: None, 4: 0.7, 5: 0.2, 6: None}
    for mode, best in (("max", {2}), ("min", {5})):
        config = CheckpointConfig(keep_last=1, keep_best=1, metric="accuracy", mode=mode)
        save_all(tmp_path / mode, config, scores)
        assert steps(tmp_path / mode) == {6} | best
    config = CheckpointConfig(keep_last=2, keep_best=2, metric="accuracy")
    save_all(tmp_path / "two", config, scores)
    assert steps(tmp_path / "two") == {5, 6, 2, 4}
    save_all(tmp_path / "unranked", CheckpointConfig(keep_last=3), dict.fromkeys(range(1, 7)))
    assert steps(tmp_path / "unranked") == {4, 5, 6}


def test_the_best_step_is_of_those_that_are_kept_and_without_scores_the_newest(two):
    checkpoints = Checkpoints(two, CheckpointConfig(metric="accuracy"))
    assert checkpoints.best_step({1: 0.9, 3: 0.8, 7: 0.7}) == 3
    assert checkpoints.best_step({3: 0.8, 7: 0.8}) == 3
    assert checkpoints.best_step({1: 0.9}) == 7
    assert checkpoints.best_step({}) == 7
    checkpoints.close()


def test_an_empty_directory_has_no_step(tmp_path):
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    assert checkpoints.latest_step() is None
    assert checkpoints.best_step({}) is None
    checkpoints.close()


def test_a_checkpoint_that_was_being_written_when_the_run_was_killed_does_not_count(two, tmp_path):
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    (copy / "7").rename(copy / "7.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(copy, CheckpointConfig())
    assert checkpoints.latest_step() == 3
    assert checkpoints.damaged == []
    checkpoints.save(7, state(7), RUN, {})
    checkpoints.close()
    assert steps(copy) == {3, 7}


def damages(two: Path) -> list[tuple[str, str]]:
    files = [path for item in ("state", "run") for path in (two / "7" / item).rglob("*")]
    names = [path.relative_to(two).as_posix() for path in files if path.is_file()]
    return [(name, how) for name in [*names, "7/manifest.json"] for how in ("gone", "cut")]


def test_a_checkpoint_with_any_file_gone_or_cut_off_is_set_aside(two, tmp_path):
    for number, (name, how) in enumerate(damages(two)):
        copy = tmp_path / str(number)
        shutil.copytree(two, copy)
        if how == "gone":
            (copy / name).unlink()
        else:
            (copy / name).write_bytes((copy / name).read_bytes()[:-1])
        checkpoints = Checkpoints(copy, CheckpointConfig())
        assert checkpoints.latest_step() == 3, (name, how)
        assert [path.name for path in checkpoints.damaged] == ["7.damaged"]
        checkpoints.close()


def test_what_a_kill_left_of_an_old_checkpoint_is_deleted_and_nothing_else(two, tmp_path):
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    (copy / "3" / "manifest.json").unlink()
    shutil.rmtree(copy / "3" / "state")
    for name in ("03", "2.damaged", "notes", "9"):
        (copy / name).mkdir()
    (copy / "5").symlink_to(copy / "notes")
    (copy / "4").write_text("a file")
    checkpoints = Checkpoints(copy, CheckpointConfig())
    assert checkpoints.latest_step() == 7
    checkpoints.close()
    set_aside = {"03.damaged", "4.damaged", "5.damaged", "9.damaged"}
    assert {path.name for path in checkpoints.damaged} == set_aside
    assert {path.name for path in copy.iterdir()} == {"2.damaged", "7", "notes"} | set_aside


def test_damaged_checkpoints_stay_where_none_is_whole(two, tmp_path):
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    for step in ("3", "7"):
        (copy / step / "manifest.json").unlink()
    Checkpoints(copy, CheckpointConfig()).close()
    assert {path.name for path in copy.iterdir()} == {"3.damaged", "7.damaged"}


def test_a_step_saved_again_after_damage_counts_again(two, tmp_path):
    copy = tmp_path / "checkpoints"
    shutil.copytree(two, copy)
    for expected in ({"3", "7", "7.damaged"}, {"3", "7", "7.damaged", "7.damaged2"}):
        (copy / "7" / "run" / "metadata").unlink()
        checkpoints = Checkpoints(copy, CheckpointConfig())
        checkpoints.save(7, state(7), RUN, {})
        checkpoints.close()
        assert {path.name for path in copy.iterdir()} == expected
    checkpoints = Checkpoints(copy, CheckpointConfig())
    assert checkpoints.latest_step() == 7
    checkpoints.close()


@pytest.mark.parametrize("caller", ["save", "close"])
def test_a_save_that_fails_in_the_background_is_heard_of_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caller: str
):
    def fail(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("jaxbert.checkpoint.checkpoints.write_manifest", fail)
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    checkpoints.save(3, state(3), RUN, {})
    calls = {"save": lambda: checkpoints.save(7, state(7), RUN, {}), "close": checkpoints.close}
    with pytest.raises(PermissionError, match="read-only"):
        calls[caller]()
    checkpoints.close()
    assert Checkpoints(tmp_path, CheckpointConfig()).latest_step() is None


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device")

    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    checkpoints.save(3, state(3), RUN, {})
    checkpoints.wait()
    with monkeypatch.context() as context:
        context.setattr(checkpoints._manager, "wait_until_finished", fail)
        with pytest.raises(
            UserError, match=r"the checkpoint of step 3 found no room .*: make room"
        ):
            checkpoints.wait()
    checkpoints.close()
