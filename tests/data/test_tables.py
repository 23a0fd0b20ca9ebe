import bz2
import csv
import gzip
import json
import lzma
import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from jaxbert.data.problems import Problems
from jaxbert.data.tables import column_names, is_table, read_rows, whole_rows
from jaxbert.errors import UserError

DATA = Path(os.environ.get("JAXBERT_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "glue_mrpc").is_dir(), reason="the real data sets are not here (JAXBERT_DATA)"
)


COMPRESS = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pyarrow.Codec("zstd").compress(data, asbytes=True),
}


def read(spec, **options):
    problems = Problems()
    return list(read_rows(spec, problems=problems, **options)), problems


def values(rows):
    return [row.values for row in rows]


def write(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(COMPRESS.get(path.suffix, bytes)(data))
    return path


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_tsv_takes_quotes_for_ordinary_characters(tmp_path, suffix):
    file = write(tmp_path / f"a.tsv{suffix}", '\ufeffx\ty\n"one\ttwo\r\nthree"\t"f"our\n')
    rows, problems = read(file)
    assert values(rows) == [{"x": '"one', "y": "two"}, {"x": 'three"', "y": '"f"our'}]
    assert [row.line for row in rows] == [2, 3]
    assert not problems.counts


def test_csv_takes_quotes_commas_and_line_breaks_in_fields(tmp_path):
    file = write(tmp_path / "a.csv", 'x,y\n"a, ""b""","two\nlines"\n\nc,d\n')
    rows, problems = read(file)
    assert values(rows) == [{"x": 'a, "b"', "y": "two\nlines"}, {"x": "c", "y": "d"}]
    assert [row.line for row in rows] == [2, 5]
    assert not problems.counts


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("inner", ["two\nlines", "two\r\nlines", "\r\n", "\r", "\n\r\n\r"])
def test_line_breaks_in_csv_are_those_of_the_file(tmp_path, inner, end):
    """As csv, pandas and datasets give them: places in a text count them."""
    file = write(tmp_path / "a.csv", f'x,y{end}a,"{inner}"{end}"{inner}",b{end}'.encode())
    rows, problems = read(file)
    with open(file, newline="") as lines:
        assert values(rows) == list(csv.DictReader(lines))
    assert values(rows) == [{"x": "a", "y": inner}, {"x": inner, "y": "b"}]
    assert not problems.counts


def test_a_carriage_return_without_quotes_is_called_so(tmp_path):
    rows, problems = read(write(tmp_path / "a.csv", "x,y\na\rb,c\nd,e\n"))
    assert values(rows) == [{"x": "d", "y": "e"}]
    detail = "a carriage return in a field without quotes; row left out"
    assert (problems.first["invalid CSV"].line, problems.first["invalid CSV"].detail) == (2, detail)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_an_empty_line_is_a_row_where_there_is_one_column_but_not_at_the_end(tmp_path, name):
    rows, problems = read(write(tmp_path / name, "text\none\n\nthree\r\n\r\n"))
    assert [(row.line, row.values["text"]) for row in rows] == [(2, "one"), (3, ""), (4, "three")]
    assert not problems.counts


def test_an_unclosed_quotation_mark_is_refused_with_its_line(tmp_path):
    file = write(tmp_path / "a.csv", 'x,y\na,b\nc,"d\ne,f\n')
    with pytest.raises(UserError, match=r"a.csv, line 3: a quotation mark opens here"):
        read(file)


def test_a_stray_quotation_mark_costs_one_counted_row(tmp_path):
    rows, problems = read(write(tmp_path / "a.csv", 'x,y\n"a"b,c\nd,e\n'))
    assert values(rows) == [{"x": "d", "y": "e"}]
    assert problems.first["invalid CSV"].line == 2


def test_a_csv_field_of_ten_megabytes_is_read(tmp_path):
    rows, problems = read(write(tmp_path / "a.csv", "x\n" + "word " * 2_000_000 + "\n"))
    assert len(rows[0].values["x"]) == 10_000_000
    assert problems.counts == {"long line": 1}


@pytest.mark.parametrize(("name", "comma"), [("a.csv", ","), ("a.tsv", "\t")])
def test_rows_with_another_number_of_fields_are_counted(tmp_path, name, comma):
    text = "\n".join(comma.join(fields) for fields in ("xy", "ab", "abc", "a", "cd"))
    rows, problems = read(write(tmp_path / name, text))
    assert values(rows) == [{"x": "a", "y": "b"}, {"x": "c", "y": "d"}]
    assert problems.counts == {"wrong number of fields": 2}
    assert [(p.line, p.detail[:19]) for p in problems.kept] == [
        (3, "3 fields, expected "),
        (4, "1 fields, expected "),
    ]


def test_a_file_without_header_takes_given_names(tmp_path):
    rows, _ = read(write(tmp_path / "a.tsv", "1\tgood\n"), names=["label", "text"])
    assert values(rows) == [{"label": "1", "text": "good"}]
    assert rows[0].line == 1


def test_a_wanted_column_that_is_there_twice_is_refused(tmp_path):
    file = write(tmp_path / "a.csv", "text,x,x,text\n1,2,3,4\n")
    with pytest.raises(UserError, match="several columns are called text"):
        read(file, columns=["text"])


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_missing_column_is_refused_with_those_there_are(tmp_path, name):
    file = write(tmp_path / name, "x\n1\n")
    with pytest.raises(UserError, match=r"no column text; the columns are: x: .*--text-column"):
        read(file, columns=["text"])


def test_a_carriage_return_too_many_is_none_of_the_table(tmp_path):
    """What csv writes on Windows to a file that was opened without newline=""."""
    rows, problems = read(write(tmp_path / "a.csv", "x,y\r\r\na,b\r\r\n"))
    assert (values(rows), problems.counts) == ([{"x": "a", "y": "b"}], {})


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_lines_that_end_in_carriage_returns_alone_are_refused_with_the_remedy(tmp_path, name):
    file = write(tmp_path / name, "text\rone\rtwo\r")
    with pytest.raises(UserError, match=r"end in carriage returns alone.* \(tr '.r' '.n'\)"):
        read(file, columns=["text"])


def test_an_empty_table_is_refused(tmp_path):
    with pytest.raises(UserError, match="the file is empty"):
        read(write(tmp_path / "a.csv", ""))


def test_malformed_json_lines_are_counted_and_the_others_read(tmp_path):
    lines = ['{"text": "a"}', "{broken", "", "[1]", '{"other": 1}', "[" * 100_000, '{"text": "b"}']
    rows, problems = read(write(tmp_path / "a.jsonl", "\n".join(lines)), columns=["text"])
    assert values(rows) == [{"text": "a"}, {"text": "b"}]
    assert problems.counts == {"invalid JSON": 3, "missing column": 1}
    assert [problem.line for problem in problems.kept] == [2, 4, 5, 6]


def test_json_lines_that_all_lack_the_column_are_refused(tmp_path):
    file = write(tmp_path / "a.jsonl", '{"body": "a", "id": 1}\n{"body": "b"}\n')
    with pytest.raises(UserError, match="no row has the column text; the first row has: body, id"):
        read(file, columns=["text"])


@pytest.mark.parametrize("text", ['[{"text": "a"}]', '[\n{"text": "a"}\n]'])
def test_a_json_array_is_refused_with_the_remedy(tmp_path, text):
    with pytest.raises(UserError, match="one JSON array; expected one object a line"):
        read(write(tmp_path / "a.json", text))


def test_half_a_surrogate_pair_is_replaced_and_counted(tmp_path):
    rows, problems = read(write(tmp_path / "a.jsonl", '{"text": "a\\ud800b \\ud83d\\ude00"}\n'))
    assert values(rows) == [{"text": "a\ufffdb \U0001f600"}]
    assert problems.counts == {"invalid Unicode": 1}


def test_half_a_surrogate_pair_is_replaced_within_lists_and_objects(tmp_path):
    line = r'{"words": ["a", "\ud800b", "\ud83d\ude00"], "answers": {"text": ["\udc00"]}, "n": NaN}'
    rows, problems = read(write(tmp_path / "a.jsonl", line + "\n"))
    (row,) = values(rows)
    assert row["words"] == ["a", "\ufffdb", "\U0001f600"]
    assert row["answers"] == {"text": ["\ufffd"]}
    assert problems.counts == {"invalid Unicode": 2}


def test_invalid_utf8_is_replaced_and_counted(tmp_path):
    rows, problems = read(write(tmp_path / "a.tsv", b"x\ncaf\xe9\nok\n"))
    assert values(rows) == [{"x": "caf\ufffd"}, {"x": "ok"}]
    assert (problems.first["invalid UTF-8"].line, problems.counts.total()) == (2, 1)


def test_utf16_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match="UTF-16; convert it to UTF-8"):
        read(write(tmp_path / "a.csv", "x\n1\n".encode("utf-16")))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_cut_off_compressed_file_is_refused(tmp_path, suffix):
    rng = np.random.default_rng(0)
    text = "x\n" + "\n".join(map(str, rng.integers(0, 10**9, 50_000)))
    file = write(tmp_path / f"a.tsv{suffix}", text)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(UserError, match=r"after line \d+: the compressed file is damaged"):
        read(file)


def test_what_is_not_compressed_at_all_is_refused(tmp_path):
    for suffix in COMPRESS:
        file = tmp_path / f"a.tsv{suffix}"
        file.write_text("x\n1\n")
        with pytest.raises(UserError, match="the compressed file is damaged"):
            read(file)


def test_a_zstandard_window_beyond_the_library_is_refused_with_the_remedy(tmp_path):
    # A frame's header: magic number, no checksum or size, a window of 2^28 bytes.
    frame = bytes.fromhex("28b52ffd00" + f"{(28 - 10) << 3:02x}" + "010000")
    with pytest.raises(UserError, match=r"a.tsv.zst: .*; compress it again without --long"):
        read(write(tmp_path / "a.tsv", frame).rename(tmp_path / "a.tsv.zst"))


def test_parquet_reads_the_wanted_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": ["a", None, "c"], "label": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    rows, _ = read(tmp_path / "a.parquet", columns=["text"])
    assert values(rows) == [{"text": "a"}, {"text": None}, {"text": "c"}]
    assert [row.line for row in rows] == [1, 2, 3]
    with pytest.raises(UserError, match=r"no column body; the columns are: text, label"):
        read(tmp_path / "a.parquet", columns=["body"])


def test_a_broken_parquet_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read(write(tmp_path / "a.parquet", "PAR1 no"))


def test_a_parquet_file_that_is_damaged_within_says_after_which_row(tmp_path):
    texts = [f"{number} " * 200 for number in range(2000)]
    table, file = pyarrow.table({"text": texts}), tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table, file, row_group_size=1000, compression="snappy")
    data = bytearray(file.read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 2000] = bytes(2000)
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"a.parquet, after row \d+: damaged \(.*\); fetch or"):
        read(file)
    binary = pyarrow.array([b"\xff"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": binary}), file)
    with pytest.raises(UserError, match=r"a.parquet, after row 0: damaged"):
        read(file)


def test_a_line_of_column_names_that_is_no_csv_is_not_passed_over(tmp_path):
    with pytest.raises(UserError, match=r"a.csv:1: the line of column names is invalid CSV"):
        read(write(tmp_path / "a.csv", '"text"x,label\nA,B\n'))


def test_a_misspelt_file_is_answered_with_the_nearest(tmp_path):
    write(tmp_path / "train.csv", "x\n1\n")
    with pytest.raises(UserError, match=r"trian.csv: no such file; did you mean .*train.csv\?"):
        read(tmp_path / "trian.csv")


def test_the_old_spelling_of_the_hub_is_answered_with_the_new(tmp_path):
    with pytest.raises(UserError, match=r"hub:glue:mrpc: written hf:glue:mrpc now"):
        read("hub:glue:mrpc")


def test_an_unknown_kind_of_table_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a.xlsx: not a table; expected .csv, .tsv"):
        read(write(tmp_path / "a.xlsx", "x"))


def test_progress_adds_up_to_the_size_of_the_file(tmp_path):
    lines = "".join(json.dumps({"text": "word " * i}) + "\n" for i in range(700))
    for suffix in ("", *COMPRESS):
        file = write(tmp_path / f"a.jsonl{suffix}", lines)
        seen: list[int] = []
        list(read_rows(file, problems=Problems(), advance=seen.append))
        assert sum(seen) == file.stat().st_size
        assert min(seen) >= 0


@needs_data
@pytest.mark.parametrize(("name", "count"), [("train", 3668), ("dev", 408), ("test", 1725)])
def test_mrpc_has_its_published_number_of_rows(name, count):
    rows, problems = read(DATA / "glue_mrpc" / f"{name}.tsv", columns=["#1 String", "#2 String"])
    assert (len(rows), problems.counts.total()) == (count, 0)


@needs_data
def test_banking_and_pricerunner_have_their_published_numbers_of_rows():
    assert len(read(DATA / "cls_banking77" / "train.csv", columns=["text"])[0]) == 10_003
    prices = DATA / "cls_pricerunner_products" / "pricerunner_aggregate.csv"
    assert len(read(prices, names=list("abcdefg"))[0]) == 35_311


WINDOWS = "text,label\nfine,a\nCafé,b\nnaïve,a\n".encode("cp1252")


def test_labelled_rows_in_another_encoding_are_refused_with_the_remedy(tmp_path):
    file = write(tmp_path / "a.csv", WINDOWS)
    with pytest.raises(UserError, match=r"a.csv:3: not UTF-8; convert the file \(iconv -f cp1252"):
        list(whole_rows(file, columns=["text"], labelled=True))


def test_rows_to_be_predicted_in_another_encoding_are_warned_of_once(tmp_path, caplog):
    file = write(tmp_path / "a.csv", WINDOWS)
    rows = list(whole_rows(file, columns=["text"], labelled=False))
    assert values(rows)[1]["text"] == "Caf\ufffd"
    [warning] = caplog.messages
    assert "a.csv:3: invalid UTF-8 in 2 lines, this one the first" in warning


def test_fields_of_a_tsv_that_look_quoted_are_warned_of(tmp_path, caplog):
    text = 'text\tlabel\n"Whole."\ta\n"He said ""no"""\tb\nhe said ""no""\ta\n'
    rows = list(whole_rows(write(tmp_path / "a.tsv", text), columns=["text"], labelled=True))
    assert [row.values["text"] for row in rows] == [
        '"Whole."',
        '"He said ""no"""',
        'he said ""no""',
    ]
    [warning] = caplog.messages
    assert "a.tsv:3: quoted field in 1 lines" in warning
    assert "write the file without them, or as .csv" in warning


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.csv", "text,x\na,b\nc\n", 3),
        ("a.csv", 'text,x\n"a"b,c\n', 2),
        ("a.jsonl", '{"text": "a"}\n[]\n', 2),
        ("a.jsonl", '{"text": "a"}\n{"x": "a"}\n', 2),
    ],
)
def test_where_every_row_counts_none_is_called_left_out(tmp_path, name, text, line):
    with pytest.raises(UserError, match=f"{name}:{line}: .*; correct or remove the row") as error:
        list(whole_rows(write(tmp_path / name, text), columns=["text"], labelled=True))
    assert "left out" not in str(error.value)


def test_the_files_of_a_pattern_are_one_table(tmp_path: Path):
    write(tmp_path / "b.csv", "text,label\nc,1\n")
    write(tmp_path / "a.csv", "label,text\n0,a\n1,b\n")
    pattern = str(tmp_path / "*.csv")
    found = list(whole_rows(pattern, columns=["text"], labelled=True))
    assert [row.values["text"] for row in found] == ["a", "b", "c"]
    places = [(Path(row.file).name, row.line) for row in found]
    assert places == [("a.csv", 2), ("a.csv", 3), ("b.csv", 2)]
    assert column_names(pattern) == ("label", "text")
    assert is_table(pattern)
    write(tmp_path / "c.csv", "words,label\nd,0\n")
    with pytest.raises(UserError, match=r"c\.csv: no column text; the columns are: words, label"):
        list(whole_rows(pattern, columns=["text"], labelled=True))
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(UserError, match=r"\*\.json: no file matches this pattern"):
        list(whole_rows(str(tmp_path / "*.json"), columns=["text"], labelled=True))


def test_a_url_is_no_table_and_a_name_with_brackets_no_pattern(tmp_path: Path):
    message = r"^gs://bucket/\*\.csv: tables are files on this machine, .* copy it"
    with pytest.raises(UserError, match=message):
        list(whole_rows("gs://bucket/*.csv", columns=["text"], labelled=True))
    named = write(tmp_path / "[1].csv", "text\na\n")
    assert len(list(whole_rows(named, columns=["text"], labelled=True))) == 1
