"""Files of tagged words as people have them, and what is said of those that cannot be read."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxbert.data import tables
from jaxbert.data.tagged import TagColumns, TaggedSentence, read_tagged
from jaxbert.data.words import split_words
from jaxbert.errors import UserError

CONLL_2003 = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O

Peter NNP I-NP I-PER
"""
CONLLU = """# sent_id = 1
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVBP\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
2.1\tunseen\t_\tVERB\t_\t_\t_\t_\t_\t_
3\tof course\tgo\tVERB\tVB\t_\t0\troot\t_\t_

"""


def written(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


USUAL = TagColumns()


def read(spec: str, columns: TagColumns = USUAL, **options) -> list[TaggedSentence]:
    return list(read_tagged(spec, columns, **{"labelled": True, **options}))


def shown(sentences: list[TaggedSentence]) -> list[tuple]:
    return [(sentence.words, sentence.tags) for sentence in sentences]


def test_columns_of_conll_2003_without_its_documents(tmp_path):
    spec = written(tmp_path / "eng.testa", CONLL_2003)
    found = read(spec)
    assert shown(found) == [(("EU", "rejects"), ("I-ORG", "O")), (("Peter",), ("I-PER",))]
    assert found[1].where(0) == f"{spec}:6"
    assert shown(read(spec, TagColumns(label=1)))[1] == (("Peter",), ("NNP",))
    assert read(spec, TagColumns(label="1")) == read(spec, TagColumns(label=1))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_of_blanks_end_a_sentence_and_odd_words_stay_whole(tmp_path, end, mark):
    lines = ["a\u2028b\tO", "\t", "no\u00a0break\tB-x", "#\tO", "\tI-x", " \t ", "", '"\tO']
    found = read(written(tmp_path / "wnut.conll", mark + end.join(lines)))
    assert shown(found) == [
        (("a\u2028b",), ("O",)),
        (("no\u00a0break", "#", ""), ("B-x", "O", "I-x")),
        (('"',), ("O",)),
    ]


def test_conllu_without_ranges_and_empty_nodes(tmp_path):
    spec = written(tmp_path / "dev.conllu", CONLLU)
    words = ("do", "n't", "of course")
    assert shown(read(spec)) == [(words, ("AUX", "PART", "VERB"))]
    assert shown(read(spec, TagColumns(label="XPOS"))) == [(words, ("VBP", "RB", "VB"))]
    assert shown(read(spec, labelled=False)) == [(words, None)]


def test_an_underscore_within_a_tag_of_conllu_is_its_own(tmp_path):
    spec = written(tmp_path / "dev.conllu", CONLLU.replace("VBP", "_SP_"))
    assert read(spec, TagColumns(label="xpos"))[0].tags == ("_SP_", "RB", "VB")
    with pytest.raises(UserError, match=r"dev.conllu:3: the word has no tag"):
        read(written(tmp_path / "dev.conllu", CONLLU.replace("VBP", "_")), TagColumns(label="xpos"))


def test_a_table_has_lists_by_name_or_number(tmp_path):
    rows = [{"tokens": ["a", "b"], "ner_tags": [0, 3]}, {"tokens": [], "ner_tags": []}]
    spec = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    found = read(spec)
    assert shown(found) == [(("a", "b"), (0, 3)), ((), ())]
    assert found[0].where(1) == f"{spec}:1"
    assert shown(read(spec, labelled=False))[0] == (("a", "b"), None)
    columns = TagColumns(words="ner_tags")
    with pytest.raises(UserError, match="a word is 0, expected text"):
        read(spec, columns, labelled=False)


def test_classes_of_a_saved_data_set_have_its_names(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["O", "B-x", "I-x"])
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(names)}
    )
    rows = {"tokens": [["a", "b"], []], "ner_tags": [[2, 0], []]}
    datasets.Dataset.from_dict(rows, features).save_to_disk(tmp_path / "saved")
    monkeypatch.setenv("HOME", str(tmp_path))
    for spec in (str(tmp_path / "saved"), "~/saved"):
        assert shown(read(spec)) == [(("a", "b"), ("I-x", "O")), ((), ())]


def test_classes_of_tfds_have_its_names_too(tfds, monkeypatch):
    sentence = {"tokens": np.array([b"a", b"b"], object), "ner_tags": np.array([2, 0])}
    monkeypatch.setattr(tfds, "data_source", lambda name, split: tfds.rows([sentence]))
    names = SimpleNamespace(names=["O", "B-x", "I-x"])
    tfds.info.features["ner_tags"] = SimpleNamespace(feature=names)
    assert shown(read("tfds:conll:train")) == [(("a", "b"), ("I-x", "O"))]


def test_texts_are_split_as_berts_basic_tokenizer_splits(tmp_path):
    text = "Don't  go,中文x\u00a0(now)."
    words = ["Don", "'", "t", "go", ",", "中", "文", "x", "(", "now", ")", "."]
    assert [text[start:stop] for start, stop in split_words(text)] == words
    spec = written(tmp_path / "a.jsonl", json.dumps({"text": text}))
    [found] = read(spec, labelled=False)
    assert list(found.words) == words
    assert found.text == text
    spec = written(tmp_path / "a.txt", f"{text}\n\n")
    lines = read(spec, form="text", labelled=False)
    assert [sentence.words for sentence in lines] == [tuple(words), ()]
    assert read(spec, labelled=False) == lines


def test_standard_input_holds_words_or_texts(tmp_path, monkeypatch):
    def piped(text: str, columns: TagColumns = USUAL) -> list[TaggedSentence]:
        file = Path(written(tmp_path / "piped", text))
        monkeypatch.setattr(tables, "STANDARD_INPUT_FILE", file)
        return read("-", columns, labelled=False)

    rows: list[dict] = [{"tokens": ["a.b", "c"]}, {"text": "a.b c"}, {"tokens": [], "text": "d"}]
    found = piped("\n".join(map(json.dumps, rows)))
    assert [sentence.words for sentence in found] == [("a.b", "c"), ("a", ".", "b", "c"), ()]
    assert [sentence.text for sentence in found] == [None, "a.b c", None]
    assert [sentence.text for sentence in piped("a.b c\n\nd")] == ["a.b c", "", "d"]
    [sentence] = piped(json.dumps(rows[2]), TagColumns(text="text"))
    assert sentence.words == ("d",)
    with pytest.raises(UserError, match=r"piped:2: neither 'tokens' nor 'text' among a, b; name"):
        piped('{"text": "a"}\n{"a": 1, "b": 2}\n')
    with pytest.raises(UserError, match=r"piped:1: no 'body' among text; name"):
        piped('{"text": "a"}\n', TagColumns(text="body"))
    with pytest.raises(UserError, match=r"piped:1: 'tokens' is str, expected a list of words"):
        piped('{"tokens": "a b"}\n')


@pytest.mark.parametrize("text", [CONLL_2003, "a X\nb X\n\nc O\n", "a\tb\nc\td", "a\nb\n\nc\n"])
def test_a_text_file_with_columns_is_no_text(tmp_path, text):
    found = read(written(tmp_path / "test.txt", text), labelled=False)
    assert found[0].text is None
    assert all(" " not in word for sentence in found for word in sentence.words)


@pytest.mark.parametrize("text", ["a b c\n", "a b\nc d\n", "a b\n\nc\n", "\n", "a b\n\n"])
def test_lines_of_words_are_texts(tmp_path, text):
    found = read(written(tmp_path / "texts.txt", text), labelled=False)
    assert [sentence.text for sentence in found] == text.removesuffix("\n").split("\n")


@pytest.mark.parametrize(
    ("name", "text", "columns", "message"),
    [
        ("a.conll", "a\tO\nb\n", {}, r"a.conll:2: 1 columns, but 2 before"),
        ("a.conll", "a\n", {}, r"a.conll:1: words and tags are both in column 0 of 1"),
        ("a.conll", "a\tO\nb\t\n", {}, r"a.conll:2: the word has no tag"),
        ("a.conll", "a O\n", {"label": 2}, r"columns.label=2, but the file has 2 columns"),
        ("a.conll", "a O\n", {"label": "tags"}, r"columns.label='tags': the columns of a CoNLL"),
        ("a.conll", "\n \n", {}, r"a.conll: no sentences"),
        ("a.conllu", "1\ta\n", {}, r"a.conllu:1: 2 columns, expected the 10 of CoNLL-U"),
        ("a.conllu", CONLLU, {"label": "uposs"}, r"no column of CoNLL-U: did you mean 'upos'"),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": []}', {}, r"a.jsonl:1: 1 words and 0 of"),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": [null]}', {}, r"a.jsonl:1: a tag is None"),
        ("a.jsonl", '{"tokens": "a", "ner_tags": []}', {}, r"'tokens' is str, expected a list"),
        ("a.csv", "tokens,ner_tags\na,O\n", {}, r"a.csv:2: 'tokens' is str, expected a list"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, name, text, columns, message):
    spec = written(tmp_path / name, text)
    with pytest.raises(UserError, match=message) as caught:
        read(spec, TagColumns(**columns))
    assert "\n" not in str(caught.value)


def test_a_text_has_no_tags(tmp_path):
    with pytest.raises(UserError, match="format=text has no tags"):
        read(written(tmp_path / "a.txt", "a b\n"), form="text")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.conll", "I O\nCafé B-LOC\n", 2),
        ("a.conllu", "1\tCafé\t_\tNOUN\t_\t_\t_\t_\t_\t_\n", 1),
    ],
)
def test_tagged_words_in_another_encoding_are_refused_or_warned_of(
    tmp_path, caplog, name, text, line
):
    file = tmp_path / name
    file.write_bytes(text.encode("cp1252"))
    with pytest.raises(UserError, match=f"{name}:{line}: not UTF-8; convert the file"):
        read(str(file))
    assert read(str(file), labelled=False)[0].words[-1] == "Caf\ufffd"
    [warning] = caplog.messages
    assert f"{name}:{line}: invalid UTF-8 in 1 lines" in warning


def test_texts_in_another_encoding_are_warned_of(tmp_path, caplog):
    file = tmp_path / "a.txt"
    file.write_bytes("A café here.\n".encode("cp1252"))
    assert read(str(file), labelled=False)[0].words == ("A", "caf\ufffd", "here", ".")
    [warning] = caplog.messages
    assert "a.txt:1: invalid UTF-8 in 1 lines" in warning
