"""The demo's data, from the docstrings of jaxbert's own dependencies: nothing is downloaded."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxbert.data.sources.docs import read_docs
from jaxbert.data.sources.document import Document
from jaxbert.errors import UserError

LIBRARIES = (
    *("flax", "fontTools", "huggingface_hub", "jax", "matplotlib", "numpy"),
    *("optax", "orbax", "pydantic", "pygments", "scipy", "sklearn"),
)
"""The classes; each is installed with jaxbert."""

HELD_OUT_LEAST, HELD_OUT_MOST = 0.2, 0.35
"""Share of every library's docstrings that is for testing only, whole modules at a time."""

SHORTEST = 60
"""Characters of prose below which a docstring tells nothing about its library."""

FEWEST = 5
"""Docstrings that every library must have on either side."""


@dataclass(frozen=True)
class Files:
    """What the demo trains and is tested on."""

    corpus: Path
    """JSON lines for pretraining: a module a line, none of them held out."""
    train: Path
    """JSON lines: `text` of one docstring, `label` its library; modules not held out."""
    test: Path
    """The same from the held-out modules."""
    characters: int
    modules: int
    train_rows: int
    test_rows: int
    majority: float
    """Accuracy on the test rows of always naming their most frequent library."""


def write_corpus(
    directory: Path, *, limit_mb: float, train_per_library: int, test_per_library: int
) -> Files:
    """Reads the docstrings and writes the three files; the same installation, the same files."""
    documents = list(read_docs(int(limit_mb * 1e6), LIBRARIES))
    chosen = held_out_modules(documents)
    kept = [document for document in documents if document.module not in chosen]
    train = _examples(kept)
    seen = {text for texts in train.values() for text in texts}
    test = {
        library: [text for text in texts if text not in seen]
        for library, texts in _examples(d for d in documents if d.module in chosen).items()
    }
    train_rows, test_rows = _rows(train, train_per_library), _rows(test, test_per_library)
    directory.mkdir(parents=True, exist_ok=True)
    files = Files(
        corpus=directory / "corpus.jsonl",
        train=directory / "train.jsonl",
        test=directory / "test.jsonl",
        characters=sum(len(document.text) for document in kept),
        modules=len(kept),
        train_rows=len(train_rows),
        test_rows=len(test_rows),
        majority=max(Counter(row["label"] for row in test_rows).values()) / len(test_rows),
    )
    _write(files.corpus, ({"text": document.text} for document in kept))
    _write(files.train, train_rows)
    _write(files.test, test_rows)
    return files


def held_out_modules(documents: Sequence[Document]) -> set[str]:
    """The modules for testing, of every library some, chosen by a hash of their names."""
    modules: dict[str, list[Document]] = defaultdict(list)
    for document in sorted(documents, key=lambda document: _number(document.module)):
        modules[document.package].append(document)
    chosen = set()
    for mine in modules.values():
        total, held = sum(len(document.docstrings) for document in mine), 0
        for document in mine:
            size = len(document.docstrings)
            # A module that is most of its library would leave nothing to learn from.
            if held < HELD_OUT_LEAST * total and held + size <= HELD_OUT_MOST * total:
                held += size
                chosen.add(document.module)
    return chosen


def prose(text: str) -> str:
    """A docstring without code examples, and without the names that would give its library away."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith((">>>", "..."))]
    return " ".join(re.sub(_NAMES, " ", "\n".join(lines), flags=re.IGNORECASE).split())


_NAMES = r"\b(?:" + "|".join([*LIBRARIES, "np", "jnp", "plt", "scikit-learn", "nnx"]) + r")\b\.?"


def _examples(documents: Iterable[Document]) -> dict[str, list[str]]:
    """Distinct docstrings by library, in an order that does not depend on their modules."""
    found: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        for docstring in document.docstrings:
            text = prose(docstring.text)
            if len(text) >= SHORTEST:
                found[document.package].add(text)
    return {library: sorted(texts, key=_number) for library, texts in found.items()}


def _rows(examples: dict[str, list[str]], most: int) -> list[dict[str, str]]:
    """At most `most` examples of every library, in an order without regard to libraries."""
    rows = []
    for library in LIBRARIES:
        texts = examples.get(library, [])
        if len(texts) < FEWEST:
            raise UserError(
                f"demo: only {len(texts)} docstrings of {library}, {FEWEST} are needed: is it "
                "installed with its sources?"
            )
        rows += [{"text": text, "label": library} for text in texts[:most]]
    return sorted(rows, key=lambda row: _number(row["text"]))


def _number(text: str) -> float:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _write(path: Path, rows: Iterable[dict[str, str]] | Sequence[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
