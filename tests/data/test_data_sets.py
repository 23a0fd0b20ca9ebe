"""Data sets of the hub and of TFDS, without a network: saved, cached, in files, or made up."""

import json
import shutil
import socket
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from jaxbert.data.lines import no_advance
from jaxbert.data.problems import Problems
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.data.table_hf import _choices
from jaxbert.data.table_tfds import split_tfds_name
from jaxbert.data.tables import column_names, read_rows
from jaxbert.errors import UserError
from jaxbert.tasks.labels import class_indices, label_names
from jaxbert.tasks.sentences import SentenceColumns, Sentences, read_sentences

PAIRS = [("He left.", "He went.", 1), ("One, two", 'Say "so"', 0), ("Café", "日本", 1)]


def read(spec, **options):
    problems = Problems()
    return [row.values for row in read_rows(spec, problems=problems, **options)], problems


def documents(spec):
    (source,) = resolve_sources([spec], SourceOptions())
    return [document.text for document in source.read(Problems(), no_advance)]


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The library in offline mode, with an empty cache."""
    module = pytest.importorskip("datasets")
    monkeypatch.setattr(module.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(module.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return module


@pytest.fixture
def saved(datasets, tmp_path):
    train = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    test = datasets.Dataset.from_dict({"text": ["c"], "label": [1]})
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path / "d"))
    return tmp_path / "d"


@pytest.fixture
def parquet(tmp_path):
    import pyarrow.parquet

    folder = tmp_path / "set"
    folder.mkdir()
    for split, texts in (("train", ["a", "b"]), ("test", ["c"])):
        table = pyarrow.table({"text": texts, "label": list(range(len(texts)))})
        pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
    return folder


@pytest.fixture
def cached(datasets, parquet, tmp_path):
    """What loading glue/mrpc with a network leaves in the cache."""
    builder = datasets.load_dataset_builder(str(parquet), cache_dir=tmp_path / "other")
    builder.download_and_prepare()
    target = tmp_path / "cache" / "glue" / "mrpc" / "0.0.0" / "0123abcd"
    shutil.copytree(builder.cache_dir, target)
    info = json.loads((target / "dataset_info.json").read_text())
    info |= {"config_name": "mrpc", "dataset_name": "glue"}
    (target / "dataset_info.json").write_text(json.dumps(info))
    for file in target.glob("*.arrow"):
        file.rename(target / file.name.replace("set-", "glue-"))


def test_a_saved_dataset_is_read_by_split(saved):
    assert read(saved)[0] == [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    assert read(f"hf:{saved}:test", columns=["text"])[0] == [{"text": "c"}]
    assert column_names(saved) == ("text", "label")
    assert documents(f"hf:{saved}:test") == ["c"]
    # The directory is one of the matches, beside its own files and splits.
    assert documents(f"{saved.parent}/d*/**") == ["a", "b"]
    with pytest.raises(UserError, match="no split dev; the splits are: train, test"):
        read(f"hf:{saved}:dev")
    with pytest.raises(UserError, match="no column body; the columns are: text, label"):
        read(saved, columns=["body"])


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("split", ["test", ":test", "default:test"])
def test_a_folder_of_parquet_files_is_a_data_set(datasets, parquet, streaming, split):
    assert read(f"hf:{parquet}:{split}", columns=["text"], streaming=streaming)[0] == [
        {"text": "c"}
    ]
    with pytest.raises(UserError, match=r"hf:.*'nothing' not found.*expected hf:NAME"):
        read(f"hf:{parquet}:nothing", streaming=streaming)
    with pytest.raises(UserError, match="no column body; the columns are: text, label"):
        read(f"hf:{parquet}", columns=["body"], streaming=streaming)


def test_a_corpus_is_streamed_and_leaves_nothing_in_the_cache(datasets, parquet, tmp_path):
    assert documents(f"hf:{parquet}") == ["a", "b"]
    assert not list((tmp_path / "cache").rglob("*.arrow"))


def test_a_stream_of_unknown_columns_is_asked_for_them(datasets, tmp_path):
    (tmp_path / "rows").mkdir()
    lines = [json.dumps({"text": text, "id": i}) for i, text in enumerate("ab")]
    (tmp_path / "rows" / "train.jsonl").write_text("\n".join(lines))
    assert documents(f"hf:{tmp_path / 'rows'}") == ["a", "b"]
    with pytest.raises(UserError, match="no column body; the columns are: text, id"):
        read(f"hf:{tmp_path / 'rows'}", columns=["body"], streaming=True)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "name", ["glue/mrpc", "glue:mrpc", "glue/mrpc:train", "glue/mrpc::train", "glue:mrpc:train"]
)
def test_without_a_network_the_cache_is_read(cached, name, streaming):
    rows, _ = read(f"hf:{name}", columns=["text"], streaming=streaming)
    assert rows == [{"text": "a"}, {"text": "b"}]


def test_what_the_cache_lacks_is_named_with_what_it_has(cached):
    with pytest.raises(UserError, match=r"hf:glue/cola: the hub cannot be reached"):
        read("hf:glue/cola")
    with pytest.raises(UserError, match=r"hf:glue/mrpc:dev: .*dev"):
        read("hf:glue/mrpc:dev")


@pytest.mark.parametrize(
    ("name", "streaming", "message"),
    [
        (
            "glue/mrpc:validation",
            False,
            "hf:glue/mrpc:validation: the hub cannot be reached and the data set is not in the"
            " cache; run `python -c \"import datasets; datasets.load_dataset('glue', 'mrpc')"
            ".save_to_disk('glue-mrpc')\"` (with glue/mrpc alone if that is the name) where there"
            " is a network, and name hf:glue-mrpc:validation instead",
        ),
        (
            "nyu-mll/glue/mrpc",
            False,
            "hf:nyu-mll/glue/mrpc: the hub cannot be reached and the data set is not in the cache;"
            " run `python -c \"import datasets; datasets.load_dataset('nyu-mll/glue', 'mrpc')"
            ".save_to_disk('nyu-mll-glue-mrpc')\"` where there is a network, and name"
            " hf:nyu-mll-glue-mrpc:train instead",
        ),
        (
            "wikimedia/wikipedia:20231101.de",
            True,
            "hf:wikimedia/wikipedia:20231101.de: the hub cannot be reached and the data set is not"
            " in the cache; run `hf download --repo-type dataset wikimedia/wikipedia --include"
            " '20231101.de/*' --local-dir wikimedia-wikipedia-20231101.de` where there is a"
            " network, and name the files in wikimedia-wikipedia-20231101.de instead",
        ),
    ],
)
def test_without_network_and_cache_one_line_says_what_to_download(
    datasets, name, streaming, message
):
    with pytest.raises(UserError) as caught:
        read(f"hf:{name}", streaming=streaming)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("squad", [("squad", None, "train")]),
        ("squad:test", [("squad", None, "test")]),
        ("glue:mrpc", [("glue", "mrpc", "train")]),
        ("squad::train[:9]", [("squad", None, "train[:9]")]),
        ("glue:mrpc:test", [("glue", "mrpc", "test")]),
        ("nyu-mll/glue/mrpc", [("nyu-mll/glue", "mrpc", "train")]),
        ("nyu-mll/glue/mrpc:test", [("nyu-mll/glue", "mrpc", "test")]),
        ("glue/mrpc", [("glue/mrpc", None, "train"), ("glue", "mrpc", "train")]),
        (
            "glue/mnli:validation_matched",
            [("glue/mnli", None, "validation_matched"), ("glue", "mnli", "validation_matched")],
        ),
        ("nyu-mll/glue:mrpc", [("nyu-mll/glue", "mrpc", "train")]),
        ("nyu-mll/glue:mrpc:test", [("nyu-mll/glue", "mrpc", "test")]),
        ("glue/mrpc::test", [("glue/mrpc", None, "test"), ("glue", "mrpc", "test")]),
    ],
)
def test_a_name_is_understood_in_this_order(name, choices):
    assert list(_choices(name)) == choices


def test_the_hub_is_asked_for_a_stream_and_its_choices_in_turn(datasets, monkeypatch):
    asked = []

    def load_dataset(path, config, *, split, streaming):
        asked.append((path, config, split, streaming))
        if "/" in path:
            raise datasets.exceptions.DatasetNotFoundError(f"{path} doesn't exist on the Hub")
        return datasets.Dataset.from_dict({"text": ["x"]}).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert documents("hf:glue/mrpc") == ["x"]
    assert asked == [("glue/mrpc", None, "train", True), ("glue", "mrpc", "train", True)]


def test_a_stream_that_breaks_off_says_after_which_row(datasets, monkeypatch):
    def rows():
        yield from ({"text": "x"} for _ in range(1500))
        raise ConnectionError("reset by peer")

    stream = datasets.IterableDataset.from_generator(rows)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: stream)
    with pytest.raises(UserError, match="hf:big, after row 1000: cannot be read on: reset by peer"):
        documents("hf:big")


def test_a_hub_that_has_no_address_is_not_asked(datasets, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("jaxbert.data.table_hf.getproxies", dict)

    asked = []

    def getaddrinfo(host, *_):
        asked.append(host)
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(UserError, match="hf:glue/mrpc: the hub cannot be reached"):
        read("hf:glue/mrpc")
    # The library would ask again and again for half a minute.
    assert len(asked) == 1
    assert not datasets.config.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_the_hub_without_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"install jaxbert\[hub\]"):
        read("hf:imdb")


@pytest.fixture
def tfds(monkeypatch):
    """A `tensorflow_datasets` that holds one data set, and writes down what it was asked for."""
    module = ModuleType("tensorflow_datasets")
    module.asked = []

    module.info = SimpleNamespace(features={"sentence1": object()})

    class DatasetNotFoundError(ValueError):
        pass

    class Rows(list):
        dataset_info = module.info

    def data_source(name, split):
        module.asked.append((name, split))
        if not name.startswith("glue/mrpc"):
            raise DatasetNotFoundError(f"Dataset {name} not found.\nAvailable datasets:\n- a")
        if split == "dev":
            raise ValueError("Unknown split 'dev'. Should be one of ['train'].")
        return Rows(
            {"sentence1": one.encode(), "sentence2": other.encode(), "label": np.int64(label)}
            for one, other, label in PAIRS
        )

    module.data_source, module.rows = data_source, Rows
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    return module


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
        ("imdb_reviews", ("imdb_reviews", "train")),
        ("imdb_reviews:test", ("imdb_reviews", "test")),
        ("glue/mrpc:2.0.0", ("glue/mrpc:2.0.0", "train")),
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
