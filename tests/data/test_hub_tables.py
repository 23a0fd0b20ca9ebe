"""Data sets of the hub, without a network: saved, cached, in files, or made up."""

import json
import shutil
import socket
import sys

import pytest
from pairs import read

from jaxbert.data.lines import no_advance
from jaxbert.data.problems import Problems
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.data.table_hf import _choices
from jaxbert.data.tables import check_split, column_names
from jaxbert.errors import UnreachableError, UserError


def documents(spec):
    (source,) = resolve_sources([spec], SourceOptions())
    return [document.text for document in source.read(Problems(), no_advance)]


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


def test_what_is_evaluated_names_its_split(saved, parquet, datasets, tmp_path):
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "one"))
    for spec in ("dev.tsv", "C:/dev.tsv", "-", str(tmp_path / "one"), f"hf:{tmp_path / 'one'}"):
        check_split(spec)
    for name in (f"hf:{saved}", f"hf:{parquet}", "hf:glue/mrpc", "hf:glue:mrpc", "tfds:glue/mrpc"):
        check_split(f"{name}:test")
        with pytest.raises(UserError, match=f"^{name}: says no split.*{name}:validation$"):
            check_split(name)
    check_split("tfds:glue/mrpc:2.0.0:train[:10%]")
    for name in ("tfds:glue/mrpc:2.0.0", "hf:org/set/config", str(saved)):
        with pytest.raises(UserError, match=f"those of train.*{name}:validation$"):
            check_split(name)


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
def test_a_data_set_that_is_a_script_is_one_line_that_says_where_its_rows_are(
    datasets, tmp_path, monkeypatch, streaming
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conll2003").mkdir()
    (tmp_path / "conll2003" / "conll2003.py").write_text("import datasets")
    with pytest.raises(UserError) as caught:
        read("hf:conll2003:validation", streaming=streaming)
    message = str(caught.value)
    assert "no longer supported, but found conll2003.py" in message
    assert "--revision refs/convert/parquet conll2003 --local-dir conll2003`" in message
    assert message.endswith("as hf:conll2003/default:validation")


def test_a_data_set_that_cannot_be_made_names_what_is_wrong_in_it(datasets, tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_text('{"text": 1')
    with pytest.raises(UserError, match="JSON parse error"):
        read(f"hf:{tmp_path / 'rows'}")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "name", ["glue/mrpc", "glue:mrpc", "glue/mrpc:train", "glue/mrpc::train", "glue:mrpc:train"]
)
def test_without_a_network_the_cache_is_read(cached, name, streaming):
    rows, _ = read(f"hf:{name}", columns=["text"], streaming=streaming)
    assert rows == [{"text": "a"}, {"text": "b"}]


def test_what_the_cache_lacks_is_named_with_what_it_has(cached):
    with pytest.raises(UserError, match=r"hf:glue/cola: the hub cannot be reached") as raised:
        read("hf:glue/cola")
    # Offline is what was asked for.
    assert raised.value.status == 2
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
    message = "hf:big, after row 1000: cannot be read on: reset by peer"
    # So that whoever restarts commands does it.
    with pytest.raises(UnreachableError, match=message):
        documents("hf:big")


@pytest.mark.parametrize("damage", ["missing", "cut", "state"])
def test_a_saved_dataset_that_was_copied_by_half_is_one_line(saved, damage):
    [arrow] = (saved / "train").glob("*.arrow")
    if damage == "missing":
        arrow.unlink()
    elif damage == "cut":
        arrow.write_bytes(arrow.read_bytes()[:40])
    else:
        (saved / "train" / "state.json").write_text('{"_data_f')
    with pytest.raises(UserError, match=r"after row 0: cannot be read on") as caught:
        read(f"hf:{saved}:train")
    assert "\n" not in str(caught.value)


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
    with pytest.raises(UserError, match="hf:glue/mrpc: the hub cannot be reached") as raised:
        read("hf:glue/mrpc")
    assert raised.value.status == 1
    # The library would ask again and again for half a minute.
    assert len(asked) == 1
    assert not datasets.config.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_the_hub_without_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"install jaxbert\[hub\]"):
        read("hf:imdb")
