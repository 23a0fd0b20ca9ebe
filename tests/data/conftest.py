import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from articles import save_tokenizer_of_words, write_articles
from pairs import PAIRS


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_articles(tmp_path_factory.mktemp("corpus") / "a.jsonl")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return str(save_tokenizer_of_words(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The library in offline mode, with an empty cache."""
    module = pytest.importorskip("datasets")
    monkeypatch.setattr(module.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(module.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return module


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
