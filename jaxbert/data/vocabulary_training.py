"""A tokenizer trained on the text of sources."""

from collections.abc import Iterator, Sequence
from typing import Literal

from jaxbert.data.problems import Problems
from jaxbert.data.sources.document import Source
from jaxbert.data.watch import Watch
from jaxbert.text.sentences import pieces
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_unigram, train_wordpiece

_TRAINING_PIECE = 2**20
TokenizerKind = Literal["wordpiece", "byte_level_bpe", "unigram"]


def train_on_sources(
    sources: Sequence[Source],
    vocab_size: int,
    kind: TokenizerKind | None,
    lowercase: bool | None,
    watch: Watch,
) -> Tokenizer:
    """Train a tokenizer of a kind (None: wordpiece; `lowercase=None`: where the kind can)."""
    if kind == "byte_level_bpe":
        return train_byte_level_bpe(_TrainingTexts(sources, watch, "vocabulary"), vocab_size)
    texts = _TrainingTexts(sources, watch, "characters", "vocabulary")
    train = train_unigram if kind == "unigram" else train_wordpiece
    return train(texts, vocab_size, lowercase=lowercase is not False)


class _TrainingTexts:
    """The text of all sources, gone through once for each stage."""

    def __init__(self, sources: Sequence[Source], watch: Watch, *stages: str):
        self._sources, self._watch = sources, watch
        self._stages = iter(stages)

    def __iter__(self) -> Iterator[str]:
        self._watch.start(next(self._stages), total_size(self._sources))
        # Problems are counted when the store is written.
        problems = Problems()
        for source in self._sources:
            for document in source.read(problems, self._watch.advance):
                yield from pieces(document.text, _TRAINING_PIECE)
                self._watch.took(utf8_size(document.text))
                problems.take()


def total_size(sources: Sequence[Source]) -> int | None:
    """What all that `advance` gets adds up to, if known."""
    sizes = [source.size for source in sources]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def utf8_size(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
