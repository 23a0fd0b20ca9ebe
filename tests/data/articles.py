"""Articles of ten words, some malformed lines among them, and a tokenizer of the words."""

import json
import random
from pathlib import Path

from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import train_wordpiece

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()  # noqa: SIM905


def write_articles(path: Path) -> Path:
    """Six thousand documents, but for three broken lines and an empty text."""
    rng = random.Random(0)
    lines = [json.dumps({"text": article(rng)}) for _ in range(6000)]
    for number in (10, 1500, 1999):
        lines[number] = "{broken"
    lines[20] = json.dumps({"text": "\u0007"})
    path.write_text("\n".join(lines))
    return path


def article(rng: random.Random) -> str:
    sentences = [" ".join(rng.choices(WORDS, k=8)).capitalize() + "." for _ in range(6)]
    return " ".join(sentences)


def save_tokenizer_of_words(directory: Path) -> Path:
    save_tokenizer(train_wordpiece([" ".join(WORDS) + " . café x"] * 5, 120), directory)
    return directory
