"""A tokenizer trained on the text of sources."""

from collections.abc import Iterator, Sequence
from typing import Literal

from jaxbert.data.duplicates import ExactDuplicates
from jaxbert.data.filters import Filters
from jaxbert.data.problems import Problems
from jaxbert.data.quality import Quality
from jaxbert.data.sources.document import Filter, Source, utf8_size
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
    filters: Filters,
    watch: Watch,
) -> Tokenizer:
    """Train a tokenizer of a kind (None: wordpiece; `lowercase=None`: where the kind can).

    What `filters` drop for its quality, or as an exact duplicate, is left out. Near duplicates are
    not looked for: that is the slowest filter by far, and every pass would need it.
    """
    if kind == "byte_level_bpe":
        texts = _TrainingTexts(sources, filters, watch, "vocabulary")
        return train_byte_level_bpe(texts, vocab_size)
    texts = _TrainingTexts(sources, filters, watch, "characters", "vocabulary")
    train = train_unigram if kind == "unigram" else train_wordpiece
    return train(texts, vocab_size, lowercase=lowercase is not False)


class _TrainingTexts:
    """The text that is kept of all sources, gone through once for each stage."""

    def __init__(self, sources: Sequence[Source], filters: Filters, watch: Watch, *stages: str):
        self._sources, self._filters, self._watch = sources, filters, watch
        self._stages = iter(stages)

    def __iter__(self) -> Iterator[str]:
        self._watch.start(next(self._stages), total_size(self._sources))
        # Problems are counted when the store is written.
        problems = Problems()
        filters = _of_documents(self._filters)
        for source in self._sources:
            for document in source.read(problems, self._watch.advance):
                if all(reason_to_drop(document) is None for reason_to_drop in filters):
                    yield from pieces(document.text, _TRAINING_PIECE)
                self._watch.took(utf8_size(document.text))
                problems.take()


def _of_documents(filters: Filters) -> list[Filter]:
    """Filters that judge documents one by one, for one pass: they remember what they have seen."""
    found: list[Filter] = []
    if filters.quality is not None:
        found.append(Quality(filters.quality))
    # Near duplicates are looked for among them too, and what is equal is near.
    if filters.exact_duplicates or filters.near_duplicates is not None:
        found.append(ExactDuplicates())
    return found


def total_size(sources: Sequence[Source]) -> int | None:
    """What all that `advance` gets adds up to, if known."""
    sizes = [source.size for source in sources]
    return None if None in sizes else sum(size for size in sizes if size is not None)
