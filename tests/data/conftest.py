import pytest
from articles import save_tokenizer_of_words, write_articles


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_articles(tmp_path_factory.mktemp("corpus") / "a.jsonl")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return str(save_tokenizer_of_words(tmp_path_factory.mktemp("tokenizer")))
