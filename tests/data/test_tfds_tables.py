"""Data sets of TFDS, without a network."""

import sys

import numpy as np
import pytest
from pairs import PAIRS, read

from jaxbert.data.table_tfds import split_tfds_name
from jaxbert.errors import UserError


def test_tfds_values_become_plain_ones(tfds):
    rows, problems = read("tfds:glue/mrpc:2.0.0:test")
    assert tfds.asked == [("glue/mrpc:2.0.0", "test")]
    assert rows[2] == {"sentence1": "Café", "sentence2": "日本", "label": 1}
    assert type(rows[0]["label"]) is int
    assert not problems.counts


def test_tfds_text_that_is_not_utf8_is_replaced_and_counted(tfds, monkeypatch):
    monkeypatch.setattr(tfds, "data_source", lambda name, split: tfds.rows([{"text": b"\xff"}]))
    rows, problems = read("tfds:any")
    assert rows == [{"text": "\ufffd"}]
    assert problems.counts == {"invalid UTF-8": 1}


def test_tfds_sequences_and_features_of_several_are_plain_too(tfds, monkeypatch):
    """As SQuAD has its answers, a tagged sentence its words, and a text its labels."""
    words = np.array(["Café".encode(), b"."], object)
    answers = {"text": np.array([b"Paris"], object), "answer_start": np.array([11], np.int32)}
    row = {"tokens": words, "tags": np.array([3, 0]), "answers": answers, "none": np.zeros(0)}
    nested = {"choices": np.array([[b"a", b"\xff"]], object)}
    monkeypatch.setattr(tfds, "data_source", lambda name, split: tfds.rows([row | nested]))
    rows, problems = read("tfds:any")
    assert rows == [
        {
            "tokens": ["Café", "."],
            "tags": [3, 0],
            "answers": {"text": ["Paris"], "answer_start": [11]},
            "none": [],
            "choices": [["a", "\ufffd"]],
        }
    ]
    assert problems.counts == {"invalid UTF-8": 1}


def test_tfds_that_is_not_prepared_says_how_to(tfds):
    with pytest.raises(UserError) as caught:
        read("tfds:glue/cola:test")
    assert str(caught.value) == (
        "tfds:glue/cola:test: Dataset glue/cola not found; if the name is right, run `tfds build"
        " glue/cola --file_format=array_record` where TensorFlow and a network are, and copy"
        " ~/tensorflow_datasets/glue/cola here (TFDS_DATA_DIR says where to)"
    )
    with pytest.raises(UserError, match=r"Should be one of \['train'\]\.$"):
        read("tfds:glue/mrpc:dev")


def test_tfds_without_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"install jaxbert\[tfds\]"):
        read("tfds:imdb_reviews")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("imdb_reviews", ("imdb_reviews", "")),
        ("imdb_reviews:test", ("imdb_reviews", "test")),
        ("glue/mrpc:2.0.0", ("glue/mrpc:2.0.0", "")),
        ("glue/mrpc:2.0.0:train[:10%]", ("glue/mrpc:2.0.0", "train[:10%]")),
    ],
)
def test_tfds_names_may_hold_a_version(name, parts):
    assert split_tfds_name(name) == parts


def test_real_tfds_is_read_without_tensorflow(tmp_path, monkeypatch):
    library = pytest.importorskip("tensorflow_datasets")

    class Glue(library.core.GeneratorBasedBuilder):
        VERSION = library.core.Version("2.0.0")
        BUILDER_CONFIGS = [library.core.BuilderConfig(name="mrpc")]  # noqa: RUF012

        def _info(self):
            text, label = library.features.Text(), library.features.ClassLabel(num_classes=2)
            features = {"sentence1": text, "sentence2": text, "label": label}
            return library.core.DatasetInfo(
                builder=self, features=library.features.FeaturesDict(features)
            )

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index, pair in enumerate(PAIRS):
                yield index, dict(zip(("sentence1", "sentence2", "label"), pair, strict=True))

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    Glue(data_dir=tmp_path, config="mrpc", file_format="array_record").download_and_prepare()
    before = "tensorflow" in sys.modules
    rows, _ = read("tfds:glue/mrpc", columns=["sentence1", "label"])
    assert sorted(row["sentence1"] for row in rows) == sorted(one for one, _, _ in PAIRS)
    assert ("tensorflow" in sys.modules) == before
