"""The same rows and classes from the hub, from TFDS and from a file."""

from types import SimpleNamespace

import pytest
from pairs import PAIRS

from jaxbert.tasks.labels import class_indices, label_names
from jaxbert.tasks.sentences import SentenceColumns, Sentences, read_sentences


def test_one_task_reads_the_same_rows_from_the_hub_from_tfds_and_from_a_file(
    datasets, tfds, tmp_path
):
    names = ("sentence1", "sentence2", "label")
    rows = [dict(zip(names, pair, strict=True)) for pair in PAIRS]
    labels = datasets.ClassLabel(names=["not_equivalent", "equivalent"])
    saved = datasets.Dataset.from_list(rows).cast_column("label", labels)
    saved.save_to_disk(str(tmp_path / "saved"))
    lines = ["\t".join(map(str, row.values())) for row in rows]
    (tmp_path / "a.tsv").write_text("\n".join(["\t".join(names), *lines]))
    columns = SentenceColumns("sentence1", "sentence2", "label")
    found = [
        Sentences(tuple(read_sentences(spec, columns, labelled=True)), columns)
        for spec in (f"hf:{tmp_path / 'saved'}", "tfds:glue/mrpc", str(tmp_path / "a.tsv"))
    ]
    for table in found:
        assert (table.texts, table.pairs) == ([p[0] for p in PAIRS], [p[1] for p in PAIRS])
        assert class_indices(table, ("0", "1")).tolist() == [1, 0, 1]
    named = ("not_equivalent", "equivalent")
    assert [label_names(table) for table in found] == [named, ("0", "1"), ("0", "1")]
    # A model of either kind is evaluated on all three.
    for table in found:
        assert class_indices(table, named).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["sad", "glad", "calm"], ("sad", "glad", "calm")),
        # Their numbers are other ones than the rows': 1 is the first.
        (["1", "2", "3"], ("0", "1")),
    ],
)
def test_classes_are_named_as_the_data_set_names_them(tfds, datasets, tmp_path, names, expected):
    columns = SentenceColumns("sentence1", "sentence2", "label")
    tfds.info.features["label"] = SimpleNamespace(names=names)
    rows = [dict(zip(("sentence1", "sentence2", "label"), pair, strict=True)) for pair in PAIRS]
    saved = datasets.Dataset.from_list(rows)
    saved = saved.cast_column("label", datasets.ClassLabel(names=names))
    saved.save_to_disk(str(tmp_path / "saved"))
    for spec in ("tfds:glue/mrpc", f"hf:{tmp_path / 'saved'}"):
        table = Sentences(tuple(read_sentences(spec, columns, labelled=True)), columns)
        assert label_names(table) == expected
        assert class_indices(table, expected).tolist() == [1, 0, 1]
