import json

import pytest

from jaxbert.cli import main
from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import train_wordpiece


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(train_wordpiece(["alpha beta gamma delta , ."] * 9, 200), directory)
    (directory / "config.json").write_text('{"max_position_embeddings": 12}')
    return str(directory)


def inspected(directory, words):
    assert main(["inspect-tokenizer", *map(str, words), "--out", str(directory)]) == 0
    assert (directory / "lengths.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((directory / "inspection.json").read_text())


def test_documents_are_counted_and_drawn(tokenizer, tmp_path, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Alpha beta, gamma.\n\nalpha\n\n" + "delta ? " * 10, encoding="utf-8")
    found = inspected(tmp_path / "out", [tokenizer, corpus])
    assert (found["rows"], found["tokens"], found["unknown_tokens"]) == (3, 5 + 1 + 20, 10)
    assert found["unknown_characters"] == [["?", 10]]
    assert (found["words"]["words"], found["words"]["types"]) == (14, 4)
    assert found["words"]["kept_whole"] == 1.0
    assert found["lengths"]["percentiles"]["100"] == 22
    assert found["lengths"]["recommended"] == found["lengths"]["model_limit"] == 12
    assert found["entries"] - found["entries_never_used"] == 6
    assert "documents to judge by" in found["new_vocabulary"]["not_compared"]
    out = capsys.readouterr().out
    assert "recommended maximum length: 12, all that the model takes" in out
    assert "unknown characters: '?' 10" in out


def test_a_file_whose_name_is_no_unicode_is_inspected(tokenizer, tmp_path):
    corpus = tmp_path / "\udcff $\\x$.txt"
    corpus.write_text("alpha beta\n", encoding="utf-8")
    found = inspected(tmp_path / "out", [tokenizer, corpus])
    assert (found["rows"], found["sources"]) == (1, [str(corpus)])


def test_rows_of_pairs_are_as_long_as_the_model_sees_them(tokenizer, tmp_path):
    table = tmp_path / "pairs.tsv"
    table.write_text("a\tb\nalpha\tbeta gamma\n\t\ndelta delta\talpha\n", encoding="utf-8")
    words = [tokenizer, table, "--text-column", "a", "--text-pair-column", "b"]
    found = inspected(tmp_path / "out", words)
    assert found["lengths"]["special_tokens"] == 3
    assert found["lengths"]["percentiles"] == {
        "50": 6,
        "75": 6,
        "90": 6,
        "95": 6,
        "99": 6,
        "100": 6,
    }
    assert found["lengths"]["mean"] == 5.0
    assert found["words"]["words"] == 6


def test_pairs_of_the_hub_are_read_as_a_stream(tokenizer, tmp_path, monkeypatch):
    """Else a limit of a megabyte would download all of a data set."""
    asked = []

    def read(name, reading):
        asked.append((name, reading.streaming))
        yield 1, {"a": "alpha", "b": "beta"}

    monkeypatch.setattr("jaxbert.data.tables.read_hf", read)
    words = [tokenizer, "hf:pairs:test", "--text-column", "a", "--text-pair-column", "b"]
    assert inspected(tmp_path / "out", words)["rows"] == 1
    assert asked == [("pairs:test", True)]


def test_a_limit_stops_reading_and_a_new_vocabulary_is_compared_when_asked(
    tokenizer, tmp_path, capsys
):
    table = tmp_path / "table.jsonl"
    with open(table, "w", encoding="utf-8") as file:
        for _ in range(2000):
            file.write(json.dumps({"text": "lambda" * 2 + " lambda" * 6}) + "\n")
        file.write('{"text": 3}\n')
    words = [tokenizer, table, "--limit-mb", "0.03", "--compare-new"]
    found = inspected(tmp_path / "few", words)
    assert (found["rows"], found["characters"], found["problems"]) == (556, 556 * 54, {})
    assert found["new_vocabulary"]["pays"]
    assert found["new_vocabulary"]["new_tokens"] * 2 <= found["new_vocabulary"]["current_tokens"]
    assert "a new vocabulary would pay (from 10% fewer tokens" in capsys.readouterr().out
    found = inspected(tmp_path / "all", [tokenizer, table, "--no-compare-new"])
    assert (found["rows"], found["problems"]) == (2000, {"not a string": 1})
    assert "1 x not a string in the sources" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.txt"], "missing.txt: no such file"),
        (["{table}", "--text-column", "c"], "no column c; the columns are: a, b"),
        (["{text}", "--text-pair-column", "b"], "--text-pair-column b: needs tables"),
        (["{empty}"], "no text in there"),
        (["{table}", "--out", "{text}"], "cannot be made"),
        (["{table}", "--out", "gs://bucket/a"], "gs://bucket/a: a URL, where only a path"),
    ],
)
def test_what_cannot_be_inspected_is_one_line(tokenizer, tmp_path, capsys, words, message):
    files = {"table": "a,b\nx,y\n", "text": "alpha\n", "empty": "\n\n"}
    places = {}
    for name, text in files.items():
        places[name] = tmp_path / f"{name}{'.csv' if name == 'table' else '.txt'}"
        places[name].write_text(text, encoding="utf-8")
    words = [word.format(**places) for word in words]
    assert main(["inspect-tokenizer", tokenizer, *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("jaxbert inspect-tokenizer: ")
    assert message in last
