"""One vector of a sentence or pair, and what is told from it: a class, labels or a number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbert.data.reading import Reading, encode
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.metrics.multi_label import OF_PREDICTIONS
from jaxbert.metrics.retrieval import (
    average_precision,
    mean_reciprocal_rank,
    ndcg_at,
    ranks_by_group,
)
from jaxbert.nn.head import Head, LayerMixture, Pooling
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.finetuning import Column, LabelledTask, Rows
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.sentences import SentenceColumns, Sentences, text_of
from jaxbert.tasks.tables import Table, mistakes
from jaxbert.tasks.target import Target
from jaxbert.tasks.task import WeightedSums, row_count
from jaxbert.tasks.windowed import combine_windows, first_windows
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class SequenceClassification(LabelledTask):
    """Batch: labels as the target says, and weights float32 [batch].

    Packed rows: all are [batch, examples, ...]. A text that is read in windows has a weight for
    each of them, so that it counts as much as another; without `weights` all are 1.
    """

    target: Target
    classifier_dropout: float | None = None
    pooling: Pooling | None = None
    mixture: LayerMixture | None = None
    columns_read: SentenceColumns = field(default_factory=SentenceColumns)
    tunes_thresholds: bool = False
    scored: tuple[str, ...] = ()
    """Metrics whose mean is the `glue_score`; () for none."""
    ranks: bool = False
    """Rows with the same first text are ranked among each other."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.target.labels

    @property
    def head(self) -> Head:
        """A classifier over one vector of a text; by default of [CLS] in the last layer."""
        return Head(
            "sequence_classification",
            labels=self.target.labels,
            problem_type=self.target.problem_type,
            classifier_dropout=self.classifier_dropout,
            pooling=self.pooling,
            mixture=self.mixture,
            thresholds=self.target.thresholds,
        )

    @property
    def columns(self) -> Mapping[str, Column]:
        """The label."""
        return {"labels": self.target.column}

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """The target's: rows, as weights of windows are 1 on average, or weights of classes."""
        return {"loss": self.target.weight(batch)}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Losses times weights of windows."""
        assert output.logits is not None
        losses = self.target.losses(output.logits, batch)
        return {"loss": jnp.sum(losses * batch["weights"] if "weights" in batch else losses)}

    def answer_weight(self, batch: Batch) -> Array:
        """Rows that count: weights of windows are 1 on average."""
        return row_count(batch)

    def answer_sum(
        self, output: ModelOutput, teacher: ModelOutput, batch: Batch, temperature: float
    ) -> Array:
        """Divergences times weights of windows."""
        assert output.logits is not None
        assert teacher.logits is not None
        apart = self.target.divergences(output.logits, teacher.logits, temperature)
        apart = jnp.where(batch["row_ids"] >= 0, apart, 0.0)
        return jnp.sum(apart * batch["weights"] if "weights" in batch else apart)

    def metric_sums(self, output: ModelOutput, batch: Batch) -> WeightedSums:
        """The target's; other metrics are computed from the rows."""
        assert output.logits is not None
        return self.target.metric_sums(output.logits, batch)

    def row_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """What the target makes of the logits."""
        assert output.logits is not None
        return self.target.outputs(output.logits)

    def examples(
        self, records: Sequence[Row], tokenizer: Tokenizer, reading: Reading, *, labelled: bool
    ) -> "ClassifiedSentences":
        """An example a row, or with windows several."""
        if reading.windows is not None and not self.target.brings_logits:
            raise UserError(
                f"windows: of {len(self.labels):,} classes only the most probable ones of a window "
                "are kept, which cannot be combined; use truncation=head_tail"
            )
        sentences = Sentences(records, self.columns_read)
        labels = self.target.values(sentences) if labelled else None
        encoded = encode(
            tokenizer, sentences.texts, sentences.pairs, reading, lambda row: records[row].place
        )
        return ClassifiedSentences(self, sentences, encoded, labels, reading)


@dataclass(frozen=True)
class ClassifiedSentences:
    """Examples of `SequenceClassification`; every text counts once, in however many windows."""

    task: SequenceClassification
    sentences: Sentences
    encoded: Mapping[str, Any]
    labels: np.ndarray | None
    """[texts, ...]"""
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

    @property
    def notes(self) -> tuple[str, ...]:
        """How unequal the classes are."""
        assert self.labels is not None
        return self.task.target.notes(self.labels)

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """The loss of texts, and the target's; `tuned_...`: with thresholds of these texts."""
        assert self.labels is not None
        texts, outputs = self._of_texts(rows)
        labels, target = self.labels[texts], self.task.target
        if self.reading.windows is not None:
            means = means | {"loss": target.loss(outputs["logits"], labels)}
        found = means | target.metrics(labels, outputs)
        if self.tunes:
            tuned = self._tuned_target(labels, outputs).metrics(labels, outputs)
            found |= {f"tuned_{name}": tuned[name] for name in OF_PREDICTIONS}
        if self.task.ranks:
            found |= self._ranking(texts, labels, outputs["logits"])
        if self.task.scored:
            found["glue_score"] = float(np.mean([found[name] for name in self.task.scored]))
        return found

    def _ranking(
        self, texts: np.ndarray, labels: np.ndarray, logits: np.ndarray
    ) -> dict[str, float]:
        """Of every first text how high its right rows come; texts without any do not count."""
        column = self.sentences.columns.text
        groups = [text_of(self.sentences.rows[int(number)], column) for number in texts]
        is_one = logits.shape[-1] == 1
        scores = logits[:, 0] if is_one else logits[:, 1] - logits[:, 0]
        ranks = ranks_by_group(groups, scores, (labels[:, 0] if is_one else labels) > 0.5)
        return {
            "mrr": mean_reciprocal_rank(ranks),
            "map": average_precision(ranks),
            "ndcg_at_10": ndcg_at(ranks, 10),
        }

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """The target's."""
        return self.task.target.predictions(self._of_texts(rows)[1])

    def tables(self, rows: Rows) -> tuple[Table, ...]:
        """The target's, and the texts that it is furthest from."""
        assert self.labels is not None
        texts, outputs = self._of_texts(rows)
        labels, target = self.labels[texts], self.task.target
        if self.tunes:
            target = self._tuned_target(labels, outputs)
        wrong = (
            (*self._shown(int(texts[place])), *mistake)
            for place, *mistake in target.mistakes(labels, outputs)
        )
        columns = ("row", "text", "expected", "predicted", target.measure)
        return *target.tables(labels, outputs), mistakes(columns, wrong)

    def _shown(self, number: int) -> tuple[str, str]:
        """Where a text stands, and the text."""
        row, names = self.sentences.rows[number], self.sentences.columns.inputs
        return row.place, " / ".join(text_of(row, name) for name in names)

    @property
    def tunes(self) -> bool:
        """Whether outputs for these examples fix something of the task."""
        return self.task.tunes_thresholds

    def tuned(self, rows: Rows) -> SequenceClassification:
        """The task with the thresholds that are best for these examples."""
        assert self.labels is not None
        texts, outputs = self._of_texts(rows)
        return replace(self.task, target=self._tuned_target(self.labels[texts], outputs))

    def _tuned_target(self, labels: np.ndarray, outputs: Rows) -> MultiLabel:
        assert isinstance(self.task.target, MultiLabel)
        return self.task.target.tuned(labels, outputs)

    def _of_texts(self, rows: Rows) -> tuple[np.ndarray, Rows]:
        """Numbers of the texts that have rows, and their outputs."""
        numbers = rows["row_ids"]
        if self.reading.windows is None:
            return numbers, rows
        documents = self.encoded["document_ids"][numbers]
        combined = combine_windows(rows["logits"], documents, self.reading.windows.combine)
        return documents[first_windows(documents)], {"logits": combined}
