"""One label per sentence or sentence pair: classes or a number."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxbert.data.reading import Reading, encode
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.metrics.classification import accuracy, f1, matthews_correlation
from jaxbert.metrics.regression import pearson_correlation, spearman_correlation
from jaxbert.nn.head import Head, LayerMixture, Pooling
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.finetuning import Column, Rows
from jaxbert.tasks.losses import cross_entropies, label_count
from jaxbert.tasks.sentences import (
    SentenceColumns,
    Sentences,
    class_indices,
    label_names,
    label_values,
    read_sentences,
)
from jaxbert.tasks.task import MODEL_INPUTS, WeightedSums
from jaxbert.tasks.windowed import combine_windows, first_windows
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class SequenceClassificationConfig:
    """One label per sentence or sentence pair."""

    kind: Literal["sequence_classification"] = "sequence_classification"
    columns: SentenceColumns = field(default_factory=SentenceColumns)
    labels: tuple[str, ...] | None = None
    """Names of the classes in order; null: those of the training data."""
    regression: bool = False
    """Labels are numbers; the loss is the squared error."""
    classifier_dropout: float | None = None
    """null: the model's hidden_dropout_prob."""
    pooling: Pooling | None = None
    """How one vector comes from the tokens; null: as the model's family does it."""
    mixture: LayerMixture | None = None
    """Which layers the classifier reads; null: the last one."""

    def __post_init__(self) -> None:
        if self.regression and self.labels is not None:
            raise UserError("labels name classes, and regression has none: give one of the two")

    def read(self, spec: str, *, labelled: bool) -> Iterator[Row]:
        """Rows of a table."""
        return read_sentences(spec, self.columns, labelled=labelled)

    def records(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Themselves."""
        return iter(rows)

    def task(self, records: Sequence[Row]) -> "SequenceClassification":
        """With the labels that occur, where none are given."""
        if self.regression:
            return self._task(("LABEL_0",))
        labels = self.labels or label_names(Sentences(records, self.columns))
        if len(labels) < 2:
            raise UserError(
                f"{records[0].file}: only one class, {labels[0]!r}: nothing to tell apart"
            )
        return self._task(labels)

    def task_of(self, head: Head) -> "SequenceClassification":
        """As the model's config.json says it."""
        if head.problem_type == "multi_label_classification":
            raise UserError(
                f"several labels a row (problem_type={head.problem_type!r}) are not implemented: "
                "expected one label a row, or regression"
            )
        # transformers: one output of no stated kind is a number, not the only class.
        is_lone = head.problem_type is None and len(head.labels) == 1
        is_regression = is_lone or head.problem_type == "regression"
        return SequenceClassification(head.labels, is_regression, columns_read=self.columns)

    def assumed(self) -> tuple["SequenceClassification", tuple[str, ...]]:
        """With two classes, where none are given."""
        if self.regression:
            return self._task(("LABEL_0",)), ()
        if self.labels is not None:
            return self._task(self.labels), ()
        return self._task(("LABEL_0", "LABEL_1")), ("task.labels: two classes",)

    def _task(self, labels: tuple[str, ...]) -> "SequenceClassification":
        return SequenceClassification(
            labels,
            self.regression,
            self.classifier_dropout,
            self.pooling,
            self.mixture,
            columns_read=self.columns,
        )


@dataclass(frozen=True)
class SequenceClassification:
    """Batch: labels int32 [batch], -100 = does not count, and weights float32 [batch].

    Regression: labels float32 [batch]; rows count where `row_ids` >= 0. Packed rows: all are
    [batch, examples]. A text that is read in windows has a weight for each of them, so that it
    counts as much as another; without `weights` all are 1.
    """

    labels: tuple[str, ...]
    is_regression: bool = False
    classifier_dropout: float | None = None
    pooling: Pooling | None = None
    mixture: LayerMixture | None = None
    columns_read: SentenceColumns = field(default_factory=SentenceColumns)

    @property
    def head(self) -> Head:
        """A classifier over one vector of a text; by default of [CLS] in the last layer."""
        return Head(
            "sequence_classification",
            labels=self.labels,
            problem_type="regression" if self.is_regression else "single_label_classification",
            classifier_dropout=self.classifier_dropout,
            pooling=self.pooling,
            mixture=self.mixture,
        )

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """Every model's."""
        return MODEL_INPUTS

    @property
    def loss_factors(self) -> Mapping[str, float]:
        """None: every loss counts as it is."""
        return {}

    @property
    def columns(self) -> Mapping[str, Column]:
        """The label."""
        return {"labels": Column(np.float32 if self.is_regression else np.int32)}

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Rows that count; weights of windows are 1 on average over all, not in every batch."""
        if self.is_regression:
            return {"loss": jnp.sum(batch["row_ids"] >= 0, dtype=jnp.float32)}
        return {"loss": label_count(batch["labels"])}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Cross-entropy, or squared error, times weights."""
        assert output.logits is not None
        labels = batch["labels"]
        if self.is_regression:
            errors = jnp.square(output.logits[..., 0] - labels.astype(jnp.float32))
            losses = jnp.where(batch["row_ids"] >= 0, errors, 0.0)
        else:
            losses = cross_entropies(output.logits, labels)
        return {"loss": jnp.sum(losses * batch["weights"] if "weights" in batch else losses)}

    def metric_sums(self, output: ModelOutput, batch: Batch) -> WeightedSums:
        """None: every metric here is computed from the rows."""
        return {}

    def row_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """The logits."""
        assert output.logits is not None
        return {"logits": output.logits}

    def token_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """None."""
        return {}

    def examples(
        self, records: Sequence[Row], tokenizer: Tokenizer, reading: Reading, *, labelled: bool
    ) -> "ClassifiedSentences":
        """An example a row, or with windows several."""
        sentences = Sentences(records, self.columns_read)
        labels = None
        if labelled:
            values = label_values if self.is_regression else self._class_indices
            labels = values(sentences)
        encoded = encode(tokenizer, sentences.texts, sentences.pairs, reading)
        return ClassifiedSentences(self, encoded, labels, reading)

    def _class_indices(self, sentences: Sentences) -> np.ndarray:
        return class_indices(sentences, self.labels)


@dataclass(frozen=True)
class ClassifiedSentences:
    """Examples of `SequenceClassification`; every text counts once, in however many windows."""

    task: SequenceClassification
    encoded: Mapping[str, Any]
    labels: np.ndarray | None
    """[texts]"""
    reading: Reading

    @cached_property
    def features(self) -> Mapping[str, Any]:
        """Tokens, and the label of every window's text."""
        if self.labels is None:
            return self.encoded
        documents = self.encoded.get("document_ids")
        return {
            **self.encoded,
            "labels": self.labels if documents is None else self.labels[documents],
        }

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """Loss, and accuracy, F1 and Matthews, or Pearson and Spearman."""
        assert self.labels is not None
        texts, logits = self._of_texts(rows)
        labels = self.labels[texts]
        if self.reading.windows is not None:
            means = means | {"loss": self._loss(logits, labels)}
        if self.task.is_regression:
            return means | {
                "pearson": pearson_correlation(labels, logits[:, 0]),
                "spearman": spearman_correlation(labels, logits[:, 0]),
            }
        predicted = logits.argmax(axis=-1)
        return means | {
            "accuracy": accuracy(labels, predicted),
            "f1": f1(labels, predicted, len(self.task.labels)),
            "matthews_correlation": matthews_correlation(labels, predicted),
        }

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """`label` and `probabilities`, or the predicted `value`."""
        for logits in self._of_texts(rows)[1].astype(np.float64):
            if self.task.is_regression:
                yield {"value": float(logits[0])}
                continue
            probabilities = scipy.special.softmax(logits).tolist()
            yield {
                "label": self.task.labels[int(logits.argmax())],
                "probabilities": dict(zip(self.task.labels, probabilities, strict=True)),
            }

    def _of_texts(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the texts that have rows, and their logits."""
        numbers, logits = rows["row_ids"], rows["logits"]
        if self.reading.windows is None:
            return numbers, logits
        documents = self.encoded["document_ids"][numbers]
        combined = combine_windows(logits, documents, self.reading.windows.combine)
        return documents[first_windows(documents)], combined

    def _loss(self, logits: np.ndarray, labels: np.ndarray) -> float:
        if self.task.is_regression:
            return float(np.mean(np.square(logits[:, 0] - labels)))
        chosen = np.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
        return float(np.mean(scipy.special.logsumexp(logits, axis=-1) - chosen))
