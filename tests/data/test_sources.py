import ast
import gzip
import sys
import sysconfig
from pathlib import Path

import pytest

from jaxbert.data.lines import no_advance
from jaxbert.data.problems import Problems
from jaxbert.data.sources import docs
from jaxbert.data.sources import text as text_source
from jaxbert.data.sources.docs import find_modules, read_docs
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.errors import UserError


def read(*specs, **options):
    problems = Problems()
    sources = resolve_sources([str(spec) for spec in specs], SourceOptions(**options))
    found = [document for s in sources for document in s.read(problems, no_advance)]
    return found, problems


def texts(*specs, **options):
    return [document.text for document in read(*specs, **options)[0]]


@pytest.fixture
def two_documents(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n \t\n\n\nthree\r\nfour")
    return tmp_path / "a.txt"


def test_blank_lines_part_documents_and_lines_are_joined(two_documents):
    documents, problems = read(two_documents)
    assert [document.text for document in documents] == ["one two", "three four"]
    assert [document.line for document in documents] == [1, 6]
    assert not problems.counts


def test_lines_stay_lines_where_they_are_the_sentences(two_documents):
    assert texts(two_documents, sentences="lines") == ["one\ntwo", "three\nfour"]


def test_a_file_without_text_is_reported(tmp_path):
    (tmp_path / "a.txt").write_text("\n \n")
    documents, problems = read(tmp_path / "a.txt")
    assert not documents
    assert problems.counts == {"empty document": 1}


@pytest.mark.parametrize("end", ["", "\r", "\n", "\r\n"])
def test_a_file_whose_lines_end_in_carriage_returns_alone_is_refused(tmp_path, end):
    (tmp_path / "a.txt").write_bytes(b"one\r\rtwo" + end.encode())
    with pytest.raises(UserError, match=r"a\.txt: its lines end in carriage returns alone"):
        read(tmp_path / "a.txt")


def test_carriage_returns_within_lines_are_kept(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"10 %\r20 %\r\ntwo\r\n")
    assert texts(tmp_path / "a.txt") == ["10 %\r20 % two"]


def test_a_file_without_blank_lines_is_cut_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "MAX_DOCUMENT", 20)
    (tmp_path / "a.txt").write_text("\n".join(["word one", "word two", "word three", "x"]))
    documents, problems = read(tmp_path / "a.txt")
    assert [document.text for document in documents] == ["word one word two", "word three x"]
    assert [problem.line for problem in problems.kept] == [3]


def test_a_line_that_is_too_long_for_a_document_is_cut_at_spaces(tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "MAX_DOCUMENT", 20)
    lines = ["before", "one two three four five six seven", "after"]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    documents, problems = read(tmp_path / "a.txt")
    expected = [("before", 1), ("one two three four ", 2), ("five six seven after", 2)]
    assert [(document.text, document.line) for document in documents] == expected
    assert [(p.kind, p.line) for p in problems.kept] == [("long document", 2)] * 2


def test_a_pattern_gives_its_files_in_sorted_order(tmp_path):
    for name in ("b", "a", "c"):
        with gzip.open(tmp_path / f"{name}.txt.gz", "wt") as file:
            file.write(f"text {name}")
    assert texts(tmp_path / "*.txt.gz") == ["text a", "text b", "text c"]


def test_a_recursive_pattern_gives_the_files_of_all_directories(tmp_path):
    for name in ("a.txt", "b/c.txt", "b/d/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts(tmp_path / "**") == ["a.txt", "b/c.txt", "b/d/e.txt"]
    assert texts(tmp_path / "**/**") == ["a.txt", "b/c.txt", "b/d/e.txt"]
    assert texts(tmp_path / "b/*") == ["b/c.txt"]
    with pytest.raises(UserError, match=r"no file matches this pattern"):
        texts(tmp_path / "b/d*")


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["a.txt", "./a.txt"], r"^a\.txt \(\./a\.txt\): gives documents that a\.txt gives, so"),
        (["a.txt", "*.txt"], r"^a\.txt \(\*\.txt\): gives documents that a\.txt gives, so"),
        (["link.txt", "b.jsonl", "a.txt"], r"^a\.txt: gives documents that link\.txt gives, so"),
        (["b.jsonl", "b.jsonl"], r"^b\.jsonl: gives documents that b\.jsonl gives, so"),
        (["docs:json", "docs:json"], r"^docs:json: gives documents that docs:json gives, so"),
        (["docs:json,this", "docs:"], r"^docs:: gives documents that docs:json,this gives, so"),
        (["hf:a/b", "hf:a/b"], r"^hf:a/b: gives documents that hf:a/b gives, so"),
        (["hf:a/b", "hf:a/b:train"], r"^hf:a/b:train: gives documents that hf:a/b gives, so"),
        (["hf:a/b:c:test", "hf:a/b/c:test"], r"^hf:a/b/c:test: gives documents that hf:a/b:c:test"),
        (["tfds:a:train", "tfds:a"], r"^tfds:a: gives documents that tfds:a:train gives, so"),
    ],
)
def test_what_is_named_twice_is_refused(tmp_path, monkeypatch, specs, message):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.jsonl").write_text('{"text": "two"}')
    (tmp_path / "link.txt").symlink_to("a.txt")
    monkeypatch.chdir(tmp_path)
    if "*.txt" in specs:
        (tmp_path / "link.txt").unlink()
    with pytest.raises(UserError, match=message):
        resolve_sources(specs, SourceOptions())


def test_splits_and_configurations_of_a_data_set_are_sources_of_their_own():
    specs = ["hf:a/b", "hf:a/b:test", "hf:a/b:c", "hf:a/b:train[:9]", "tfds:a", "tfds:a:test"]
    assert len(resolve_sources(specs, SourceOptions())) == len(specs)


def test_files_of_several_kinds_follow_each_other(tmp_path):
    (tmp_path / "a.csv").write_text("id,body\n1,csv\n")
    (tmp_path / "b.jsonl").write_text('{"body": "json"}\n')
    (tmp_path / "c.txt").write_text("plain\n")
    names = [tmp_path / name for name in ("b.jsonl", "c.txt", "a.csv")]
    assert texts(*names, text_column="body") == ["json", "plain", "csv"]


def test_values_that_are_no_text_are_reported_with_their_lines(tmp_path):
    rows = ['{"text": "a"}', '{"text": 1}', '{"text": null}', '{"text": " "}', '{"text": ["b"]}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    documents, problems = read(tmp_path / "a.jsonl")
    assert [document.text for document in documents] == ["a"]
    assert problems.counts == {"not a string": 3, "empty document": 1}
    assert [problem.line for problem in problems.kept] == [2, 3, 4, 5]


def test_sources_can_be_read_again(two_documents):
    (source,) = resolve_sources([str(two_documents)], SourceOptions())
    first, second = (list(source.read(Problems(), no_advance)) for _ in range(2))
    assert first == second != []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("missing.txt", "no such file"),
        ("*.txt", "no file matches this pattern"),
        ("a.pdf", r"unknown kind of source; expected .txt, .jsonl"),
        ("ftp:something", "unknown kind of source ftp:"),
        (".", "a directory; name its files by a pattern"),
        ("docs:no_such_package", "no package no_such_package is installed"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, monkeypatch, spec, message):
    (tmp_path / "a.pdf").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        read(spec)


def test_docstrings_are_those_that_ast_finds():
    (document,) = (d for d in read_docs(packages=["json"]) if d.module == "json.decoder")
    assert (document.package, document.text.count("\n\n") > 3) == ("json", True)
    import json.decoder

    assert json.decoder.JSONDecoder.decode.__doc__ is not None
    by_name = {docstring.name: docstring for docstring in document.docstrings}
    decode = by_name["json.decoder.JSONDecoder.decode"]
    assert decode.text.split() == json.decoder.JSONDecoder.decode.__doc__.split()
    source = Path(document.file).read_text().split("\n")
    assert decode.text.split("\n")[0] in source[decode.line - 1]


def test_docstrings_come_in_the_order_of_the_source_from_every_depth(tmp_path, monkeypatch):
    package = tmp_path / "sample"
    package.mkdir()
    (package / "__init__.py").write_text('"""The package."""\n')
    body = [
        '"""Module."""',
        "if True:",
        "    try:",
        "        pass",
        "    except ImportError:",
        '        def first(): "First."',
        "class A:",
        '    """\n    Indented.\n\n        More.\n    """',
        '    async def b(self): "Deep."',
        "def none(): return 1",
        'raise SystemExit("modules are never run")',
    ]
    (package / "deep.py").write_text("\n".join(body))
    (package / "broken.py").write_text("print 'old'\n")
    (package / "tests").mkdir()
    (package / "tests" / "test_a.py").write_text('"""A test."""\n')
    paths = dict.fromkeys(("stdlib", "platstdlib", "purelib", "platlib"), str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)
    find_modules.cache_clear()
    problems = Problems()
    try:
        documents = list(read_docs(problems=problems))
    finally:
        find_modules.cache_clear()
    assert [document.module for document in documents] == ["sample", "sample.deep"]
    found = [(d.name.removeprefix("sample.deep"), d.text) for d in documents[1].docstrings]
    assert found == [
        ("", "Module."),
        (".first", "First."),
        (".A", "Indented.\n\n    More."),
        (".A.b", "Deep."),
    ]
    assert problems.counts == {"unreadable module": 1}
    assert problems.kept[0].file == str(package / "broken.py")


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_order_of_a_file_system_does_not_choose_among_docs(tmp_path, monkeypatch, is_reversed):
    (tmp_path / "twice").mkdir()
    (tmp_path / "twice" / "__init__.py").write_text('"""The package."""\n')
    (tmp_path / "twice.py").write_text('"""The module."""\n')
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda p: sorted(listed(p), reverse=is_reversed))
    paths = dict.fromkeys(("stdlib", "platstdlib", "purelib", "platlib"), str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)
    find_modules.cache_clear()
    try:
        assert [document.text for document in read_docs()] == ["The package."]
    finally:
        find_modules.cache_clear()


def test_a_limit_bounds_the_text_and_spreads_over_packages():
    docs._limited.cache_clear()
    first = list(read_docs(200_000))
    docs._limited.cache_clear()
    assert first == list(read_docs(200_000))
    size = sum(len(document.text.encode()) for document in first)
    assert 190_000 < size <= 200_000
    packages = [document.package for document in first]
    assert len(set(packages)) > 30
    assert {package[0].lower() for package in packages} > set("acjnst")
    modules = [(document.package, document.module) for document in first]
    assert modules == sorted(modules)


def test_docs_leave_tests_and_vendored_copies_out():
    parts = {part for module in find_modules() for part in module.name.split(".")}
    assert not parts & {"tests", "_vendor", "conftest"}
    assert len(find_modules()) > 500


def test_reading_docs_imports_nothing():
    before = set(sys.modules)
    list(read_docs(packages=["turtle", "this", "antigravity"]))
    assert not {"turtle", "this", "antigravity"} & (set(sys.modules) - before)


def test_a_long_chain_of_branches_is_no_problem():
    chain = "if x: pass\n" + "elif x: pass\n" * 300 + 'else:\n    def f(): "Found."\n'
    names = [name for name, _ in docs._described(ast.parse(chain), "m")]
    assert names == ["m", "m.f"]
