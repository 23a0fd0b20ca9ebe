import errno
import json
import os
import platform
import random
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from jaxbert.data.filters import Filters
from jaxbert.data.min_hash import NearDuplicateConfig
from jaxbert.data.parts import Part, sources_digest
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.data.quality import QualityConfig
from jaxbert.data.sources.docs import Docs
from jaxbert.data.store import TokenStore
from jaxbert.errors import UserError
from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import train_wordpiece

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi".split()  # noqa: SIM905
NUM_DOCUMENTS = 1400
FILTERS = Filters(
    QualityConfig(min_words=5), exact_duplicates=True, near_duplicates=NearDuplicateConfig()
)

# Ends itself without any warning when it has noted so many shards.
RUN = """
import os, signal, sys
from jaxbert.data.partial import PartialStore
from jaxbert.data.prepare import prepare
import test_resumed_prepare
note = PartialStore.note
def note_and_die(self, shards, state):
    note(self, shards, state)
    if len(shards) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
PartialStore.note = note_and_die
if __name__ == "__main__":
    prepare([sys.argv[1]], sys.argv[2], test_resumed_prepare.options(sys.argv[3]))
"""


def options(tokenizer, **changes):
    return replace(
        PrepareOptions(tokenizer, filters=FILTERS, shard_tokens=20_000, processes=1), **changes
    )


def article(rng):
    return " ".join(rng.choices(WORDS, k=rng.randrange(20, 200))).capitalize() + "."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three files with every kind of thing that is dropped or malformed, all over them."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("corpus")
    texts = []
    for number in range(3):
        lines = []
        for _ in range(NUM_DOCUMENTS):
            text = article(rng)
            draw = rng.random()
            if draw < 0.02 and texts:
                text = rng.choice(texts)
            elif draw < 0.04 and texts:
                text = rng.choice(texts) + " Omega."
            elif draw < 0.05:
                text = "Too short."
            elif draw < 0.06:
                text = "\u0007 \u0007 \u0007 \u0007 \u0007 \u0007"
            texts.append(text)
            lines.append("{broken" if draw > 0.99 else json.dumps({"text": text}))
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_wordpiece([" ".join(WORDS)] * 5, 100), directory)
    return str(directory)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus, tokenizer):
    """The store of an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "s"
    prepare([f"{corpus}/*.jsonl"], path, options(tokenizer))
    return path


def contents(directory):
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def killed_after(shards, corpus, out, tokenizer):
    command = [sys.executable, "-c", RUN, f"{corpus}/*.jsonl", str(out), tokenizer, str(shards)]
    folder = os.path.dirname(__file__)
    child = subprocess.run(command, env=os.environ | {"PYTHONPATH": folder}, check=False)
    assert child.returncode == -signal.SIGKILL


def test_a_killed_prepare_goes_on_and_ends_with_the_same_bytes(
    tmp_path, corpus, tokenizer, whole, monkeypatch
):
    out = tmp_path / "s"
    shards = len(TokenStore.open(whole).shards)
    assert shards > 4
    killed_after(1, corpus, out, tokenizer)
    killed_after(3, corpus, out, tokenizer)
    (left,) = tmp_path.iterdir()
    with pytest.raises(UserError, match="interrupted"):
        TokenStore.open(left)
    # What it had begun when it was killed.
    (left / "shards/00003").mkdir()
    with open(left / "problems.jsonl", "a") as log:
        log.write('{"kind": "inv')
    from jaxbert.data.encode import DocumentEncoder

    encoded = []
    encode = DocumentEncoder.__call__
    monkeypatch.setattr(
        DocumentEncoder,
        "__call__",
        lambda self, documents: encoded.extend(documents) or encode(self, documents),
    )
    prepare([f"{corpus}/*.jsonl"], out, options(tokenizer))
    assert contents(out) == contents(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert 0 < len(encoded) < 3 * NUM_DOCUMENTS * (shards - 2) / shards


def test_what_is_dropped_is_counted_and_written_down(whole, corpus):
    store = TokenStore.open(whole)
    log = [json.loads(line) for line in (whole / "problems.jsonl").read_text().splitlines()]
    dropped = [line["detail"] for line in log if line["kind"] == "dropped"]
    metadata = store.metadata
    assert set(metadata["dropped"]) == {"exact duplicate", "near duplicate", "too short"}
    for reason, of in metadata["dropped"].items():
        assert of["documents"] == dropped.count(reason) > 0
        assert of["text_bytes"] > 0
    assert set(metadata["problems"]) == {"invalid JSON", "empty document"}
    first = next(line for line in log if line["detail"] == "too short")
    lines = Path(first["file"]).read_text().splitlines()
    assert json.loads(lines[first["line"] - 1])["text"] == "Too short."
    total = store.num_documents + len(dropped) + sum(metadata["problems"].values())
    assert total == 3 * NUM_DOCUMENTS


def test_filters_give_the_same_with_more_processes(tmp_path, corpus, tokenizer, whole):
    prepare([f"{corpus}/*.jsonl"], tmp_path / "s", options(tokenizer, processes=2))
    assert contents(tmp_path / "s") == contents(whole)


def test_a_store_without_what_was_dropped_is_that_of_the_kept_text(tmp_path, tokenizer):
    texts = [
        "alpha beta gamma delta mu.",
        "eta.",
        "alpha  beta gamma delta mu.",
        "nu xi mu eta mu.",
    ]
    for name, kept in (("all", texts), ("kept", [texts[0], texts[3]])):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(kept))
        prepare([str(tmp_path / f"{name}.txt")], tmp_path / name, options(tokenizer))
    whole, kept = (TokenStore.open(tmp_path / name) for name in ("all", "kept"))
    assert whole.fingerprint == kept.fingerprint
    assert whole.metadata["text_bytes"] == kept.metadata["text_bytes"] == len(texts[0] + texts[3])
    assert whole.metadata["dropped"] == {
        "exact duplicate": {"documents": 1, "text_bytes": len(texts[2])},
        "too short": {"documents": 1, "text_bytes": len(texts[1])},
    }


@pytest.mark.parametrize("kind", ["wordpiece", "byte_level_bpe", "unigram"])
def test_a_vocabulary_learns_nothing_from_what_is_dropped(tmp_path, kind):
    texts = [f"{' '.join(WORDS)} number {number}." for number in range(50)]
    copies = ["omegaomega omegaomega omegaomega omegaomega omegaomega."] * 200
    (tmp_path / "all.txt").write_text("\n\n".join([*texts, *copies, *["psipsi psipsi."] * 200]))
    (tmp_path / "kept.txt").write_text("\n\n".join([*texts, copies[0]]))
    filters = Filters(QualityConfig(min_words=5), exact_duplicates=True)
    for name, chosen in (("all", filters), ("kept", Filters())):
        training = options(None, vocab_size=280, tokenizer_kind=kind, filters=chosen)
        prepare([str(tmp_path / f"{name}.txt")], tmp_path / name, training)
    trained, expected = (contents(tmp_path / name / "tokenizer") for name in ("all", "kept"))
    assert trained == expected


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sentences": "lines"}, "options"),
        ({"filters": Filters()}, "options"),
        ({"part": Part(0, 2)}, "part"),
    ],
)
def test_other_options_do_not_go_on_with_an_unfinished_store(
    tmp_path, corpus, tokenizer, whole, change, named
):
    killed_after(1, corpus, tmp_path / "s", tokenizer)
    before = contents(tmp_path / "s.partial")
    message = f"unfinished store with other {named}; go on with the command that began it"
    with pytest.raises(UserError, match=message):
        prepare([f"{corpus}/*.jsonl"], tmp_path / "s", options(tokenizer, **change))
    assert contents(tmp_path / "s.partial") == before


def test_changed_sources_begin_anew_on_request(tmp_path, corpus, tokenizer):
    source = tmp_path / "a.jsonl"
    source.write_bytes((corpus / "0.jsonl").read_bytes())
    killed_after(1, tmp_path, tmp_path / "s", tokenizer)
    os.utime(source, (1, 1))
    with pytest.raises(UserError, match=r"unfinished store with other sources; .*--overwrite"):
        prepare([f"{tmp_path}/*.jsonl"], tmp_path / "s", options(tokenizer))
    prepare([f"{tmp_path}/*.jsonl"], tmp_path / "s", options(tokenizer, overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "s"]


@pytest.mark.parametrize("error", [OSError(errno.EBUSY, "busy"), KeyboardInterrupt()])
def test_a_finished_store_that_does_not_get_its_path_gets_it_next_time(
    tmp_path, corpus, tokenizer, monkeypatch, error
):
    from jaxbert.data.encode import DocumentEncoder

    source, out = f"{corpus}/0.jsonl", tmp_path / "s"
    prepare([source], tmp_path / "expected", options(tokenizer))
    rename = Path.rename

    def refuse(self, target):
        if Path(target) == out:
            raise error
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises((UserError, KeyboardInterrupt), match=r"whole in .*s\.partial|^$"):
            prepare([source], out, options(tokenizer))
    TokenStore.open(tmp_path / "s.partial")
    encoded, encode = [], DocumentEncoder.__call__
    monkeypatch.setattr(
        DocumentEncoder,
        "__call__",
        lambda self, documents: encoded.extend(documents) or encode(self, documents),
    )
    summary = prepare([source], out, options(tokenizer))
    assert not encoded
    assert contents(out) == contents(tmp_path / "expected")
    assert summary.tokens == TokenStore.open(out).num_tokens
    assert {path.name for path in tmp_path.iterdir()} == {"s", "expected"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("removed", [0, 1])
def test_a_prepare_killed_while_it_removes_its_notes_goes_on(
    tmp_path, corpus, tokenizer, monkeypatch, overwrite, removed
):
    source, out = f"{corpus}/0.jsonl", tmp_path / "s"
    chosen = options(tokenizer, overwrite=overwrite)
    if overwrite:
        prepare([f"{corpus}/1.jsonl"], out, chosen)
    prepare([source], tmp_path / "expected", options(tokenizer))
    unlink, calls = Path.unlink, []

    def killed(self, *given, **named):
        if self.parent == out / "unfinished":
            if len(calls) == removed:
                raise KeyboardInterrupt
            calls.append(self)
        unlink(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare([source], out, chosen)
    TokenStore.open(out)
    with pytest.raises(UserError, match="a store is there already"):
        prepare([f"{corpus}/1.jsonl"], out, options(tokenizer))
    from jaxbert.data.encode import DocumentEncoder

    encoded, encode = [], DocumentEncoder.__call__
    monkeypatch.setattr(
        DocumentEncoder,
        "__call__",
        lambda self, documents: encoded.extend(documents) or encode(self, documents),
    )
    prepare([source], out, chosen)
    assert not encoded
    assert contents(out) == contents(tmp_path / "expected")
    assert {path.name for path in tmp_path.iterdir()} == {"s", "expected"}


def test_a_mount_point_is_refused_before_the_work(tmp_path, corpus, tokenizer, monkeypatch):
    (tmp_path / "s").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self == tmp_path / "s")
    with pytest.raises(UserError, match=r"s: a mount point, .* such as .*s/store"):
        prepare([f"{corpus}/0.jsonl"], tmp_path / "s", options(tokenizer))
    assert not (tmp_path / "s.partial").exists()


@pytest.mark.parametrize("source", ["{corpus}/0.jsonl", "docs:json,numpy"])
def test_a_trained_vocabulary_is_not_trained_again(tmp_path, corpus, monkeypatch, source):
    from jaxbert.data import prepare as module

    sources = [source.format(corpus=corpus)]
    chosen = options(None, vocab_size=300, filters=Filters(), limit_bytes=100_000)
    # The store is written there, and that does not change a source without a path.
    monkeypatch.chdir(tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(sources, tmp_path / "s", chosen)
    trained = contents(tmp_path / "s.partial/tokenizer")
    monkeypatch.setattr(module, "train_on_sources", interrupt)
    prepare(sources, tmp_path / "s", chosen)
    assert contents(tmp_path / "s/tokenizer") == trained


def test_other_versions_of_packages_are_other_sources(monkeypatch):
    sources = [Docs(("numpy",))]
    digests = [sources_digest(sources), sources_digest(sources, with_times=True)]
    versions = Docs(("numpy", "json")).versions()
    assert versions == [f"Python {platform.python_version()}", f"numpy {version('numpy')}"]
    assert set(versions) < set(Docs().versions())
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    assert sources_digest(sources) == digests[0]
    assert sources_digest(sources, with_times=True) != digests[1]
