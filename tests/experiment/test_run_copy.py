"""A run in a bucket, wherever the machine that trains is lost; fsspec's file system in memory."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread

import fsspec
import pytest

from jaxbert.errors import UserError
from jaxbert.experiment import run_copy
from jaxbert.experiment.run_copy import RunCopy, local_copy
from jaxbert.manifest import damage, write_manifest

URL = "memory://bucket/runs/base"


class Lost(BaseException):
    """The machine is gone."""


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(run_copy, "_PAUSES", (0.0,))
    monkeypatch.setattr(run_copy, "_AT_A_TIME", 1)
    system = fsspec.filesystem("memory")
    system.makedirs("bucket", exist_ok=True)
    yield system
    monkeypatch.undo()
    system.rm("bucket", recursive=True)


def work(run: Path, step: int) -> None:
    """What a run does until and with the checkpoint of a step: the last two stay."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text("seed: 0")
    for number in range(step - 4, step):
        with (run / "metrics.jsonl").open("a") as log:
            log.write(f'{{"step": {number + 1}}}\n')
    unfinished = run / "checkpoints" / f"{step}.orbax-checkpoint-tmp"
    for name in ("state/d/0", "state/d/1", "run/metadata"):
        (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
        (unfinished / name).write_text(f"{name} of {step}")
    write_manifest(unfinished, ("state", "run"))
    unfinished.rename(run / "checkpoints" / str(step))
    shutil.rmtree(run / "checkpoints" / str(step - 8), ignore_errors=True)


def begun(directory: Path) -> RunCopy:
    directory.mkdir()
    copy = RunCopy(URL, directory)
    copy.fetch()
    return copy


def whole_steps(run: Path) -> list[int]:
    found = (run / "checkpoints").glob("*")
    steps = [int(path.name) for path in found if path.name.isdigit()]
    assert [damage(run / "checkpoints" / str(step)) for step in steps] == [None] * len(steps)
    return sorted(steps)


def contents(directory: Path) -> dict[str, bytes]:
    files = [file for file in directory.rglob("*") if file.is_file()]
    return {file.relative_to(directory).as_posix(): file.read_bytes() for file in files}


def test_wherever_sending_ends_the_bucket_has_the_last_whole_checkpoint_and_its_rows(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind, left = type(bucket), 0

    def costly(name: str) -> None:
        act = getattr(kind, name)

        def one_more(*given: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Lost
            return act(*given, **named)

        monkeypatch.setattr(kind, name, one_more)

    for name in ("put_file", "rm_file"):
        costly(name)
    seen, allowed, sent = set(), 0, 0
    while sent < 12:
        left = 1000
        for path in bucket.find("bucket"):
            bucket.rm_file(path)
        left, sent = allowed, 0
        copy = begun(tmp_path / str(allowed))
        with suppress(Lost):
            for step in (4, 8, 12):
                work(tmp_path / str(allowed), step)
                copy.send()
                sent = step
        left = 1000
        other = tmp_path / f"{allowed}_elsewhere"
        begun(other).send()
        steps = whole_steps(other)
        assert steps[-1:] >= [sent][: sent // 4]
        assert not any(other.iterdir()) or (other / "config.yaml").is_file()
        if steps:
            assert len((other / "metrics.jsonl").read_text().splitlines()) >= steps[-1]
        # What was cut off has been cleared away.
        left_there = {path.partition("/checkpoints/")[2] for path in bucket.find(URL)} - {""}
        assert {name.partition("/")[0] for name in left_there} == {str(step) for step in steps}
        seen.add(tuple(steps))
        allowed += 1
    assert steps == [8, 12]
    assert seen == {(), (4,), (4, 8), (4, 8, 12), (8, 12)}


def test_a_checkpoint_stays_in_the_bucket_until_a_newer_one_is_there(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = tmp_path / "run"
    copy, walk = begun(run), os.walk
    work(run, 4)
    copy.send()

    def walk_meanwhile(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, files in walk(top):
            yield folder, folders, files
            # The folders are listed, and none of them opened: now 12 takes the place of 4.
            if folder.endswith("checkpoints"):
                work(run, 12)

    with monkeypatch.context() as patch:
        patch.setattr(os, "walk", walk_meanwhile)
        copy.send()
    begun(tmp_path / "meanwhile")
    assert whole_steps(tmp_path / "meanwhile") == [4]
    copy.send()
    begun(tmp_path / "afterwards")
    assert whole_steps(tmp_path / "afterwards") == [12]


def test_a_machine_that_takes_over_has_all_that_is_finished_and_nothing_else(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path
):
    with local_copy(URL) as run:
        work(run, 4)
        (run / "model").mkdir()
        (run / "model" / "config.json").write_text("{}")
        expected = contents(run)
        (run / "metrics.tmp").write_text("half")
        (run / ".model.abc").mkdir()
        (run / ".model.abc" / "new").write_text("half")
        (run / "checkpoints" / "8.orbax-checkpoint-tmp").mkdir()
        (run / "checkpoints" / "8.orbax-checkpoint-tmp" / "d").write_text("half")
    other = tmp_path / "elsewhere"
    begun(other)
    assert contents(other) == expected


def test_a_bucket_cannot_write_outside_of_the_copy(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    evil = ["/bucket/runs/base/../../evil"]
    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "find", lambda *_, **__: evil)
        with pytest.raises(UserError, match="which leads out of it"):
            begun(tmp_path / "run")
    assert not any((tmp_path / "run").iterdir())


def test_the_object_that_stands_for_a_folder_is_no_file(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "find", lambda *_, **__: ["/bucket/runs/base/"])
        begun(tmp_path / "run")
    assert not any((tmp_path / "run").iterdir())


def test_what_is_here_gives_way_to_what_the_bucket_has(bucket: fsspec.AbstractFileSystem):
    with local_copy(URL) as run:
        work(run, 4)
    bucket.pipe(f"{URL}/metrics.jsonl", b"of another machine")
    with local_copy(URL) as again:
        assert again == run
        assert (run / "metrics.jsonl").read_text() == "of another machine"


@pytest.mark.parametrize("folder", ["", "seed-1/"])
def test_only_what_has_changed_is_sent_and_a_manifest_last(
    bucket: fsspec.AbstractFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
):
    copy, sent, put = begun(tmp_path / "run"), [], type(bucket).put_file

    def noted(system: fsspec.AbstractFileSystem, path: str, *given: object, **named: object):
        sent.append(Path(path).relative_to(tmp_path / "run").as_posix())
        return put(system, path, *given, **named)

    monkeypatch.setattr(type(bucket), "put_file", noted)
    work(tmp_path / "run" / folder, 4)
    copy.send()
    assert sent[:2] == [f"{folder}config.yaml", f"{folder}metrics.jsonl"]
    assert sent[-1] == f"{folder}checkpoints/4/manifest.json"
    assert len(sent) == 6
    copy.send()
    assert len(sent) == 6
    with (tmp_path / "run" / folder / "metrics.jsonl").open("a") as log:
        log.write("more\n")
    copy.send()
    assert sent[6:] == [f"{folder}metrics.jsonl"]


def test_one_run_in_a_bucket_is_trained_by_one_command_of_a_machine(
    bucket: fsspec.AbstractFileSystem,
):
    with (
        local_copy(URL),
        pytest.raises(UserError, match=rf"{URL}: another process is training in this run"),
        local_copy(f"{URL}/"),
    ):
        pass


def test_a_bucket_that_refuses_is_named_with_what_is_still_here(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*given: object, **named: object) -> None:
        raise PermissionError("403, Forbidden")

    monkeypatch.setattr(type(bucket), "put_file", refuse)
    message = (
        rf"{URL} cannot be written: 403, Forbidden; what the bucket lacks is in .*/base, which"
    )
    with ExitStack() as stack:
        run = stack.enter_context(local_copy(URL))
        work(run, 4)
        with pytest.raises(UserError, match=message):
            stack.close()
    assert whole_steps(run) == [4]


def test_a_bucket_that_takes_nothing_is_refused_before_the_training(
    bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*given: object, **named: object) -> None:
        raise PermissionError("403, Forbidden")

    with local_copy(URL):
        assert bucket.find("bucket") == []
    monkeypatch.setattr(type(bucket), "pipe_file", refuse)
    message = rf"{URL} cannot be written: 403, Forbidden"
    with pytest.raises(UserError, match=message), local_copy(URL):
        pytest.fail("it was not refused")


class Disconnected(Exception):
    """Like what file systems raise, of which nobody knows all."""


@pytest.fixture
def lost(bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for every connection that will be lost."""
    left, put = [True], type(bucket).put_file

    def flaky(*given: object, **named: object) -> object:
        if left:
            left.pop()
            raise Disconnected("by the server")
        return put(*given, **named)

    monkeypatch.setattr(type(bucket), "put_file", flaky)
    return left


def test_a_lost_connection_is_told_once_and_does_not_end_the_sending(
    bucket: fsspec.AbstractFileSystem,
    lost: list[bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    copy, ended, manifest = begun(tmp_path / "run"), Event(), f"{URL}/checkpoints/4/manifest.json"
    lost *= 3
    monkeypatch.setattr(run_copy, "_SECONDS", 0.01)
    work(tmp_path / "run", 4)
    thread = Thread(target=copy.send_until, args=[ended], daemon=True)
    thread.start()
    while thread.is_alive() and not bucket.exists(manifest):
        ended.wait(0.01)
    ended.set()
    thread.join()
    assert bucket.exists(manifest)
    assert capsys.readouterr().err == (
        f"jaxbert: {URL} cannot be written: Disconnected('by the server'); it is tried again\n"
    )


def test_the_last_sending_survives_a_lost_connection(
    bucket: fsspec.AbstractFileSystem, lost: list[bool]
):
    with local_copy(URL) as run:
        work(run, 4)
    assert not lost
    assert bucket.exists(f"{URL}/checkpoints/4/manifest.json")
