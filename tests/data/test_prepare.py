"""What a store holds of the documents that it is prepared from."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from articles import WORDS

from jaxbert.data.encode import DocumentEncoder
from jaxbert.data.filters import NO_FILTERS
from jaxbert.data.partial import NOTES
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.data.sources.document import Document
from jaxbert.data.store import TokenStore
from jaxbert.errors import UserError
from jaxbert.text.pieces import BatchEncoder
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_wordpiece

RUN = """
import sys
from jaxbert.data.prepare import PrepareOptions, prepare
if __name__ == "__main__":
    source, out, tokenizer, processes = sys.argv[1:]
    options = PrepareOptions(
        tokenizer=tokenizer, processes=int(processes), overwrite=True, shard_tokens=1000
    )
    prepare([source], out, options)
"""


def all_tokens(store):
    return store.read([0], [store.num_tokens])


def contents(directory):
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def without_notes(files):
    return {name: data for name, data in files.items() if not name.startswith(f"{NOTES}/")}


def logged(store):
    return [json.loads(line) for line in (store / "problems.jsonl").read_text().splitlines()]


def test_a_store_holds_the_tokens_of_the_sentences(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("Alpha beta.\nGamma\ndelta. Eta!\n\nZeta unknownish.\n")
    summary = prepare([str(tmp_path / "a.txt")], tmp_path / "s", PrepareOptions(tokenizer))
    store = TokenStore.open(tmp_path / "s")
    saved = load_tokenizer(store.tokenizer_directory)
    expected = [["Alpha beta.", "Gamma delta.", "Eta!"], ["Zeta unknownish."]]
    found = [[s.tolist() for s in store.document(i)] for i in range(store.num_documents)]
    assert found == [saved.encode_plain(sentences) for sentences in expected]
    assert (summary.documents, summary.sentences, summary.tokens) == (2, 4, store.num_tokens)
    assert summary.unknown == np.count_nonzero(all_tokens(store) == saved.unk_id)
    assert summary.text_bytes == len("Alpha beta. Gamma delta. Eta!Zeta unknownish.")


@pytest.mark.parametrize(
    "options",
    [
        {"vocab_size": 150},
        {"vocab_size": 150, "lowercase": False},
        {"vocab_size": 300, "tokenizer_kind": "byte_level_bpe"},
        {"vocab_size": 100, "tokenizer_kind": "unigram"},
    ],
)
def test_the_bytes_of_a_store_do_not_depend_on_the_processes(tmp_path, corpus, options):
    for processes in (1, 3):
        chosen = PrepareOptions(processes=processes, **options)
        prepare([str(corpus)], tmp_path / f"s{processes}", chosen)
    one, three = (contents(tmp_path / f"s{n}") for n in (1, 3))
    assert one == three
    assert {
        "shards/00000/tokens.bin",
        "store.json",
        "problems.jsonl",
        "tokenizer/tokenizer.json",
    } <= set(one)


def test_every_malformed_piece_is_counted_once_with_file_and_line(tmp_path, corpus):
    summary = prepare([str(corpus)], tmp_path / "s", PrepareOptions(vocab_size=100, processes=2))
    problems = logged(tmp_path / "s")
    assert sorted((problem["kind"], problem["line"]) for problem in problems) == [
        ("empty document", 21),
        ("invalid JSON", 11),
        ("invalid JSON", 1501),
        ("invalid JSON", 2000),
    ]
    assert {problem["file"] for problem in problems} == {str(corpus)}
    assert summary.problems.counts == Counter({"invalid JSON": 3, "empty document": 1})
    assert TokenStore.open(tmp_path / "s").metadata["problems"] == dict(summary.problems.counts)
    assert summary.documents == 6000 - 4


def test_invalid_utf8_is_kept_and_reported(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_bytes(b"alpha beta.\nalpha caf\xe9 gamma.\n")
    prepare([str(tmp_path / "a.txt")], tmp_path / "s", PrepareOptions(tokenizer, processes=1))
    (problem,) = logged(tmp_path / "s")
    assert (problem["kind"], problem["line"]) == ("invalid UTF-8", 2)
    saved = load_tokenizer(tokenizer)
    tokens = all_tokens(TokenStore.open(tmp_path / "s")).tolist()
    assert tokens == saved.encode_plain(["alpha beta. alpha caf gamma."])[0]


def test_a_file_whose_name_is_no_unicode_becomes_a_store_and_is_named_in_it(tmp_path, tokenizer):
    name = os.fsdecode(b"caf\xe9.jsonl")
    (tmp_path / name).write_text('{"text": "The cat sat."}\n{"\\ud800": 1}\n{\n')
    run = [sys.executable, "-m", "jaxbert", "prepare", str(tmp_path / name), "--processes", "1"]
    done = subprocess.run(
        [*run, "--tokenizer", tokenizer, "--out", str(tmp_path / "s")],
        capture_output=True,
        # On a narrow terminal a long name is broken into lines.
        env=os.environ | {"COLUMNS": "1000"},
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"caf\xe9" in done.stdout
    assert [problem["file"] for problem in logged(tmp_path / "s")] == [str(tmp_path / name)] * 2
    assert TokenStore.open(tmp_path / "s").num_documents == 1


def test_a_line_of_ten_megabytes_loses_nothing(tmp_path, tokenizer):
    count = 1_000_000
    (tmp_path / "a.txt").write_text("x " * 5 + "\n\n" + "alpha, x é. " * count + "\n")
    prepare([str(tmp_path / "a.txt")], tmp_path / "s", PrepareOptions(tokenizer, processes=1))
    store = TokenStore.open(tmp_path / "s")
    alpha = load_tokenizer(tokenizer).encode_plain(["alpha"])[0]
    assert len(alpha) == 1
    assert np.count_nonzero(all_tokens(store) == alpha[0]) == count
    assert store.num_documents == 1 + 12
    problems = [(problem["kind"], problem["line"]) for problem in logged(tmp_path / "s")]
    assert problems == [("long line", 3)] + [("long document", 3)] * 11


def test_a_sentence_without_end_is_cut_into_parts_of_one_length(tokenizer):
    encoder = DocumentEncoder(load_tokenizer(tokenizer), "en", "lines", NO_FILTERS)
    lines = {400: [100] * 4, 128: [128], 129: [65, 64], 257: [86, 86, 85], 1: [1]}
    alpha = load_tokenizer(tokenizer).encode_plain(["alpha"])[0]
    texts = ["\n".join(" ".join(["alpha"] * number) for number in lines), "\x07", "alpha"]
    found = encoder([Document(text, "a", 1) for text in texts])
    assert found.sentence_lengths.tolist() == [*chain(*lines.values()), 1]
    assert found.document_lengths.tolist() == [4 + 1 + 2 + 3 + 1, 0, 1]
    assert found.tokens.tolist() == alpha * (sum(lines) + 1)


def test_a_document_of_any_length_is_tokenised_some_sentences_at_a_time(tokenizer, monkeypatch):
    encoder = DocumentEncoder(load_tokenizer(tokenizer), "en", "split", NO_FILTERS)
    text = " ".join(f"{word.capitalize()} beta." for word in WORDS)
    whole = encoder([Document(text, "a", 1)])
    sizes, encode = [], BatchEncoder._encode_some
    monkeypatch.setattr(
        BatchEncoder,
        "_encode_some",
        lambda self, texts: sizes.append(sum(map(len, texts))) or encode(self, texts),
    )
    monkeypatch.setattr("jaxbert.text.pieces._CHARACTERS_AT_ONCE", 40)
    found = encoder([Document(text, "a", 1)])
    assert len(sizes) > 2
    assert max(sizes) < 60
    for one, other in zip(whole[:3], found[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.document_lengths.tolist() == [len(WORDS)]


def test_lines_can_be_the_sentences(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("alpha. beta.\ngamma\n\n" + "eta " * 20_000 + "\n")
    options = PrepareOptions(tokenizer, sentences="lines", processes=1)
    prepare([str(tmp_path / "a.txt")], tmp_path / "s", options)
    store = TokenStore.open(tmp_path / "s")
    # Lines are cut at 8,192 words, and these at 128.
    assert [len(store.document(i)) for i in range(2)] == [2, 64 + 64 + 29]
    saved = load_tokenizer(tokenizer)
    assert store.sentence(0).tolist() == saved.encode_plain(["alpha. beta."])[0]


def test_lines_are_stripped_for_tokenizers_that_keep_white_space(tmp_path):
    lines = ["Alpha beta.", "Gamma delta.", "eta " * 9000]
    tokenizer = train_byte_level_bpe([" ".join(lines)] * 3, 300)
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    stores = []
    for name, text in (("plain", "\n".join(lines)), ("odd", "\r\n\t\t".join(["", *lines, " "]))):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text}))
        options = PrepareOptions(str(tmp_path / "tokenizer"), sentences="lines", processes=1)
        prepare([str(tmp_path / f"{name}.jsonl")], tmp_path / name, options)
        stores.append(TokenStore.open(tmp_path / name))
    assert stores[0].fingerprint == stores[1].fingerprint
    assert stores[0].num_sentences == 2 + 64 + 7
    assert all_tokens(stores[0]).tolist() == tokenizer.encode_plain([" ".join(lines).strip()])[0]


def test_what_a_killed_prepare_leaves_is_refused_or_whole(tmp_path, corpus, tokenizer):
    """Killed near its end; it may have finished before the last moment.

    `test_resumed_prepare.py` kills it earlier, between any two shards. Between its last write and
    the rename a store is whole beside its path already. What is left of one goes on in the next.
    """
    out = tmp_path / "s"
    command = [sys.executable, "-c", RUN, str(corpus), str(out), tokenizer, "1"]
    began = time.monotonic()
    subprocess.run(command, check=True)
    whole = time.monotonic() - began
    reference = contents(out)
    for share in (0.8, 0.95):
        shutil.rmtree(out)
        with subprocess.Popen(command) as child:
            time.sleep(whole * share)
            child.send_signal(signal.SIGKILL)
        for left in set(tmp_path.iterdir()) - {out}:
            with suppress(UserError):
                TokenStore.open(left)
                assert without_notes(contents(left)) == reference
        assert not out.exists() or contents(out) == reference
        subprocess.run(command, check=True)
        assert contents(out) == reference
        assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_workers_end_with_a_killed_parent(tmp_path, corpus, tokenizer):
    fifo = tmp_path / "a.jsonl"
    os.mkfifo(fifo)
    command = [sys.executable, "-c", RUN, str(fifo), str(tmp_path / "s"), tokenizer, "2"]
    with subprocess.Popen(command, start_new_session=True) as child, open(fifo, "w") as pipe:
        # More than one chunk, so that the workers are running; then the reader waits for more.
        pipe.write(corpus.read_text() + "\n")
        pipe.flush()
        wait_until(lambda: len(group(child.pid)) >= 3)
        child.kill()
        wait_until(lambda: not group(child.pid))


def group(session):
    """Live processes of a session."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry))
    return found


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


def test_docs_become_a_store(tmp_path):
    options = PrepareOptions(vocab_size=1500, limit_bytes=100_000, processes=1)
    summary = prepare(["docs:json,asyncio,logging"], tmp_path / "s", options)
    assert summary.text_bytes <= 100_000
    assert summary.documents > 10
    assert summary.unknown / summary.tokens < 0.001


def test_byte_level_pieces_are_those_of_the_running_text(tmp_path):
    """RoBERTa's pieces know the space before a word, and sentences are encoded one by one."""
    text = "Alpha beta. Gamma delta! Epsilon zeta."
    tokenizer = train_byte_level_bpe([text] * 3, 300)
    assert tokenizer.tells_leading_space
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    (tmp_path / "corpus.txt").write_text(text + "\n")
    options = PrepareOptions(tokenizer=str(tmp_path / "tokenizer"), processes=1)
    prepare([str(tmp_path / "corpus.txt")], tmp_path / "store", options)
    store = TokenStore.open(tmp_path / "store")
    assert store.num_sentences == 3
    assert all_tokens(store).tolist() == tokenizer.encode_plain([text])[0]
    assert not train_wordpiece([text] * 3, 60).tells_leading_space
