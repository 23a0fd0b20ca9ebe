"""A tokenizer trained on the text of sources."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jaxbert.data.duplicates import ExactDuplicates
from jaxbert.data.filters import Filters
from jaxbert.data.problems import Problems
from jaxbert.data.quality import Quality
from jaxbert.data.sources.document import Filter, Source, utf8_size
from jaxbert.data.watch import Watch
from jaxbert.errors import UserError
from jaxbert.text.inspection.sample import Sample
from jaxbert.text.residues import RESIDUES
from jaxbert.text.sentences import pieces
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import (
    FAMILIES,
    TokenizerFamily,
    TokenizerKind,
    residue_tokenizer,
    train_byte_level_bpe,
    train_unigram,
    train_wordpiece,
)

_TRAINING_PIECE = 2**20


@dataclass(frozen=True)
class VocabularyConfig:
    """A tokenizer to be trained; `kind=None` is that of the family, or else wordpiece.

    `family=None` is the usual one of the kind, `lowercase=None` lowercase where the family can.
    With `sample_bytes` it learns from a sample of at most so much text (UTF-8), held in memory.
    """

    size: int
    kind: TokenizerKind | None = None
    family: TokenizerFamily | None = None
    lowercase: bool | None = None
    sample_bytes: int | None = None

    def chosen(self) -> tuple[TokenizerKind, TokenizerFamily]:
        """The kind and the family, or a UserError where they do not fit."""
        if self.family is None:
            kind = self.kind or "wordpiece"
            return kind, next(iter(FAMILIES[kind]))
        for kind, families in FAMILIES.items():
            if self.family in families and self.kind in (None, kind):
                return kind, self.family
        kinds = [self.kind] if self.kind else list(FAMILIES)
        known = ", ".join(name for kind in kinds for name in FAMILIES[kind])
        of = f" of --tokenizer-kind {self.kind}" if self.kind else ""
        raise UserError(f"--tokenizer-family {self.family}: none{of}; expected {known}")

    def check(self) -> None:
        """Raises UserError where the options contradict each other."""
        kind, family = self.chosen()
        if self.lowercase and "do_lower_case" not in FAMILIES[kind][family].settings:
            raise UserError(f"{kind} of {family} keeps case; drop --lowercase")
        if kind == "residues" and self.size != len(RESIDUES):
            raise UserError(
                f"--vocab-size {self.size}: {kind} of {family} are the {len(RESIDUES)} tokens of"
                f" ESM-2, whatever the text; give --vocab-size {len(RESIDUES)}"
            )
        if self.sample_bytes is not None and self.sample_bytes < 1:
            raise UserError(f"vocabulary: sample_bytes is {self.sample_bytes}; expected at least 1")


def train_on_sources(
    sources: Sequence[Source], config: VocabularyConfig, filters: Filters, watch: Watch
) -> Tokenizer:
    """Train a tokenizer.

    What `filters` drop for its quality, or as an exact duplicate, is left out. Near duplicates are
    not looked for: that is the slowest filter by far, and every pass would need it.
    """
    kind, family = config.chosen()
    stages = ["vocabulary"] if kind == "byte_level_bpe" else ["characters", "vocabulary"]
    texts: Iterable[str]
    if config.sample_bytes is None:
        texts = _TrainingTexts(sources, filters, watch, *stages)
    else:
        texts = _sample(_TrainingTexts(sources, filters, watch, "sample"), config.sample_bytes)
        watch.start("vocabulary", None)
    return _train(family, texts, config.size, lowercase=config.lowercase is not False)


def _sample(texts: Iterable[str], max_bytes: int) -> list[str]:
    sample = Sample(max_bytes, utf8_size)
    for text in texts:
        sample.add(text)
    if not (sample.texts or sample.is_whole):
        raise UserError(
            f"vocabulary: a sample of {max_bytes / 1e6:g} MB holds no document; take more"
        )
    return sample.texts


def _train(
    family: TokenizerFamily, texts: Iterable[str], size: int, *, lowercase: bool
) -> Tokenizer:
    match family:
        case "esm":
            return residue_tokenizer()
        case "bert" | "mpnet":
            return train_wordpiece(texts, size, family=family, lowercase=lowercase)
        case "roberta" | "modernbert" | "deberta":
            return train_byte_level_bpe(texts, size, family=family)
        case "albert" | "deberta-v2" | "xlm-roberta":
            return train_unigram(texts, size, family=family, lowercase=lowercase)


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
