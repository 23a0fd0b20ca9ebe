import random

import pytest
from strings import LATIN, ODD, random_strings

from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece


def _texts() -> list[str]:
    rng = random.Random(0)
    words = [*LATIN.split(), "running", "runner", "ran", "sleeping", "中文", "漢字"]
    sentences = [" ".join(rng.choices(words, k=12)) for _ in range(300)]
    return sentences + random_strings(200, seed=1) + [" ".join(ODD)]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return _texts()


@pytest.fixture(scope="session", params=["uncased", "cased"])
def tokenizer(request, texts) -> Tokenizer:
    return train_wordpiece(texts, 1200, lowercase=request.param == "uncased")
