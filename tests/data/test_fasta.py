"""FASTA files as sources of documents."""

import gzip
from pathlib import Path

import pytest

from jaxbert.data.lines import no_advance
from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.data.problems import Problems
from jaxbert.data.sources import fasta
from jaxbert.data.sources.document import Document
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.data.store import TokenStore
from jaxbert.errors import UserError
from jaxbert.text.residues import RESIDUES

TWO = ">sp|P1|ONE first > one\nMKTAYIAK\nQRQI SFVK\n\n>two\r\nlagv\r\nX*\r\n"


def read(file: Path) -> tuple[list[Document], Problems]:
    problems = Problems()
    [source] = resolve_sources([str(file)], SourceOptions())
    return list(source.read(problems, no_advance)), problems


@pytest.mark.parametrize("name", ["a.fasta", "a.fa", "a.FAA", "a.fasta.gz"])
def test_a_record_is_a_document_of_its_lines_without_its_header(tmp_path: Path, name: str):
    data = TWO.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    documents, problems = read(tmp_path / name)
    assert [document.text for document in documents] == ["MKTAYIAKQRQISFVK", "lagvX*"]
    assert [document.line for document in documents] == [1, 5]
    assert not problems.counts


def test_headers_without_sequences_are_reported(tmp_path: Path):
    (tmp_path / "a.fasta").write_text(">one\n>two\nMK\n>three\n")
    documents, problems = read(tmp_path / "a.fasta")
    assert [document.text for document in documents] == ["MK"]
    assert [(p.kind, p.line) for p in problems.kept] == [("empty document", n) for n in (1, 4)]
    (tmp_path / "b.fasta").write_text("\n")
    documents, problems = read(tmp_path / "b.fasta")
    assert (documents, problems.counts) == ([], {"empty document": 1})


def test_a_sequence_that_is_too_long_is_cut_and_reported(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fasta, "MAX_DOCUMENT", 10)
    (tmp_path / "a.fa").write_text(">one\nMKTAY\nIAKQR\nQISFV\n>two\nMK\n")
    documents, problems = read(tmp_path / "a.fa")
    assert [document.text for document in documents] == ["MKTAYIAKQR", "QISFV", "MK"]
    assert [(p.kind, p.line) for p in problems.kept] == [("long document", 4)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\nMKTAY\n>one\nMK\n", r"a\.fasta, line 2: 'MKTAY' before any header; expected FASTA"),
        (b">one\rMK\r>two\rMK\r", r"a\.fasta: its lines end in carriage returns alone"),
    ],
)
def test_what_is_no_fasta_is_refused_with_its_place(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "a.fasta").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.fasta")


def test_proteins_become_a_store_of_residues(tmp_path: Path):
    (tmp_path / "a.fasta").write_text(TWO)
    options = PrepareOptions(vocab_size=33, tokenizer_family="esm", processes=1)
    summary = prepare([str(tmp_path / "a.fasta")], tmp_path / "store", options)
    assert (summary.documents, summary.tokens) == (2, 16 + 3)
    # `lagv` is one token that ESM does not know, as `*` is.
    assert summary.unknown == 2
    store = TokenStore.open(tmp_path / "store")
    [first] = store.document(0)
    assert "".join(RESIDUES[i] for i in first) == "MKTAYIAKQRQISFVK"
