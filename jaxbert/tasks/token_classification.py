"""A tag for every word: entities, or classes such as parts of speech."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import MinLen

from jaxbert.data.reading import Reading
from jaxbert.data.tables import Row
from jaxbert.data.tagged import Format, TagColumns, TaggedSentence, read_tagged, untagged
from jaxbert.data.tagging import scheme_of_labels
from jaxbert.data.word_windows import word_windows
from jaxbert.errors import UserError
from jaxbert.nn.head import Head, LayerMixture
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.finetuning import Column, LabelledTask
from jaxbert.tasks.losses import counts, cross_entropy_sum, divergences, label_count
from jaxbert.tasks.tagged_words import TaggedWords
from jaxbert.tasks.word_tags import Broken, Given, label_names, tag_indices
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Array, Batch

LabelPieces = Literal["first", "all"]


@dataclass(frozen=True)
class TokenClassificationConfig:
    """A tag for every word: entities, or classes such as parts of speech."""

    of_training: ClassVar[tuple[str, ...]] = ("train_as", "labels", "classifier_dropout", "mixture")

    kind: Literal["token_classification"] = "token_classification"
    format: Format = "auto"
    """conll: a word a line in columns; conllu; table: lists of words and tags; auto: by the file's
    name. text: a text a line, for prediction."""
    columns: TagColumns = field(default_factory=TagColumns)
    scheme: Given = "auto"
    """How entities are tagged in the data: bio, iob1, bioes, bilou; none: tags are classes."""
    train_as: Literal["bio", "bioes"] | None = None
    """The scheme to train in; null: that of the training data, and BIO for IOB1."""
    broken_tags: Broken = "error"
    """What is to happen to tags that break the scheme; repair: read them as conlleval does."""
    labels: Annotated[tuple[str, ...], MinLen(1)] | None = None
    """Names of the tags in order; null: those that the training data need."""
    label_pieces: LabelPieces = "first"
    """Which pieces of a word have its label in training: B goes on as I."""
    classifier_dropout: float | None = None
    """null: what the model's config.json says of classifiers, else its hidden_dropout_prob."""
    mixture: LayerMixture | None = None
    """Which layers the classifier reads; null: the last one."""

    def __post_init__(self) -> None:
        if self.labels is not None and self.train_as is not None:
            raise UserError("labels name the tags, and train_as a scheme for others: drop one")

    def read(self, spec: str, *, labelled: bool) -> Iterator[TaggedSentence]:
        """Sentences of a file or data set."""
        return read_tagged(spec, self.columns, self.format, labelled=labelled)

    def records(self, rows: Iterable[Row]) -> Iterator[TaggedSentence]:
        """Words of rows, or of their texts."""
        return (untagged(row, self.columns) for row in rows)

    def task(self, records: Sequence[TaggedSentence]) -> "TokenClassification":
        """With the labels that the sentences need, where none are given."""
        labels = self.labels
        if labels is None:
            labels = label_names(records, self.scheme, self.broken_tags, self.train_as)
        if len(labels) < 2:
            raise UserError(f"{records[0].file}: only the tags {[*labels]}: nothing to tell apart")
        return self._task(labels)

    def task_of(self, head: Head) -> "TokenClassification":
        """As the model's config.json says it."""
        return TokenClassification(head.labels, self.scheme, self.broken_tags, self.label_pieces)

    def assumed(self) -> tuple["TokenClassification", tuple[str, ...]]:
        """With the nine tags of CoNLL-2003, where none are given."""
        if self.labels is not None:
            return self._task(self.labels), ()
        return self._task(tuple(f"LABEL_{i}" for i in range(9))), ("task.labels: nine tags",)

    def _task(self, labels: tuple[str, ...]) -> "TokenClassification":
        return TokenClassification(
            labels,
            self.scheme,
            self.broken_tags,
            self.label_pieces,
            self.classifier_dropout,
            self.mixture,
        )


@dataclass(frozen=True)
class TokenClassification(LabelledTask):
    """Batch: labels int32 [batch, seq], of each word's first piece or all; -100 does not count.

    The loss is the mean over the tokens that count, as transformers' models for token
    classification have it; packed rows differ in nothing.
    """

    labels: tuple[str, ...]
    scheme: Given = "auto"
    broken_tags: Broken = "error"
    label_pieces: LabelPieces = "first"
    classifier_dropout: float | None = None
    mixture: LayerMixture | None = None

    @property
    def head(self) -> Head:
        """A classifier over every token."""
        return Head(
            "token_classification",
            labels=self.labels,
            classifier_dropout=self.classifier_dropout,
            mixture=self.mixture,
        )

    @property
    def columns(self) -> Mapping[str, Column]:
        """The label of every token."""
        return {"labels": Column(per_token=True)}

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Tokens that count."""
        return {"loss": label_count(batch["labels"])}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Cross-entropy of the tokens that count."""
        assert output.logits is not None
        return {"loss": cross_entropy_sum(output.logits, batch["labels"])}

    def answer_weight(self, batch: Batch) -> Array:
        """Tokens that count."""
        return label_count(batch["labels"])

    def answer_sum(
        self, output: ModelOutput, teacher: ModelOutput, batch: Batch, temperature: float
    ) -> Array:
        """Divergences of the tokens that count."""
        assert output.logits is not None
        assert teacher.logits is not None
        apart = divergences(output.logits, teacher.logits, temperature)
        return jnp.sum(jnp.where(counts(batch["labels"]), apart, 0.0))

    def token_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """The likeliest tag of every token and its probability: logits stay on the device."""
        assert output.logits is not None
        logits = output.logits.astype(jnp.float32)
        probabilities = jnp.exp(jnp.max(logits, axis=-1) - jax.nn.logsumexp(logits, axis=-1))
        tags = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return {"tags": tags, "probabilities": probabilities}

    def examples(
        self,
        records: Sequence[TaggedSentence],
        tokenizer: Tokenizer,
        reading: Reading,
        *,
        labelled: bool,
    ) -> TaggedWords:
        """An example a sentence, or several windows where it is longer than a row."""
        tags = None
        if labelled:
            tags = tag_indices(records, self.labels, self.scheme, self.broken_tags)
        windows = word_windows(tokenizer, [record.words for record in records], reading)
        scheme = "none" if self.scheme == "none" else scheme_of_labels(self.labels)
        is_all = self.label_pieces == "all"
        return TaggedWords(self.labels, records, windows, tags, scheme, is_all)
