"""The section `task` of a configuration for sentences and pairs of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt, MinLen

from jaxbert.data.tables import Row
from jaxbert.errors import UserError, nearest
from jaxbert.metrics.balance import balanced_weights, label_log_odds
from jaxbert.nn.head import Head, LayerMixture, Pooling
from jaxbert.tasks.glue import GLUE, GLUE_COLUMNS, GlueName, read_glue
from jaxbert.tasks.labels import class_indices, label_names, label_set_names
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sentences import SentenceColumns, Sentences, read_sentences
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.target import Target


@dataclass(frozen=True)
class SequenceClassificationConfig:
    """A class, several labels or a number for every sentence or sentence pair."""

    of_training: ClassVar[tuple[str, ...]] = (
        *("labels", "regression", "multi_label", "prior_bias", "label_smoothing"),
        *("class_weights", "classifier_dropout", "pooling", "mixture"),
    )

    kind: Literal["sequence_classification"] = "sequence_classification"
    glue: GlueName | None = None
    """A task of the GLUE benchmark: its columns and labels, for its files or hf:glue/NAME."""
    columns: SentenceColumns = field(default_factory=SentenceColumns)
    labels: Annotated[tuple[str, ...], MinLen(1)] | None = None
    """Names in order, for which data may have the numbers 0, 1, ...; null: as a data set of the hub
    or of TFDS names them, else as training has them, sorted. Of two the second is the positive
    class, whose F1 the metric `f1` is."""
    regression: bool = False
    """Labels are numbers; the loss is the squared error."""
    multi_label: bool = False
    """Any number of labels a row; the loss is the binary cross-entropy."""
    threshold: Annotated[float, Gt(0), Lt(1)] | Literal["tuned"] = 0.5
    """Probability from which on one of several labels is predicted; tuned: for each label the one
    with the best F1 on the validation data, kept in the model's config.json."""
    prior_bias: bool = False
    """A new classifier of several labels begins with the labels' log-odds in training as its bias
    (Lin et al. 2017, section 3.3), one of regression with their mean. A bias of 0, as transformers
    has it, gives every row half of all labels, and unlearning that can cost most of an epoch."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Of one class a row; evaluation's loss is without it."""
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Ge(0)]] | None = None
    """Of one class a row, 1 for those not named; balanced: as rare as a class is in training."""
    top_k: Annotated[int, Ge(1)] = 5
    """Of more than 128 classes so many are predicted, the most probable ones."""
    ranking: bool = False
    """Rows with the same first text are candidates for it (a reranker's query): evaluation also
    tells how high those with the one label of multi_label, or of the second of two classes, come:
    mrr, map, ndcg_at_10. Texts that have none do not count."""
    classifier_dropout: float | None = None
    """null: what the model's config.json says of classifiers, else its hidden_dropout_prob."""
    pooling: Pooling | None = None
    """How one vector comes from the tokens; null: as the model's family does it."""
    mixture: LayerMixture | None = None
    """Which layers the classifier reads; null: the last one."""

    def __post_init__(self) -> None:
        if self.regression and self.labels is not None:
            raise UserError("labels name classes, and regression has none: give one of the two")
        if self.regression and self.multi_label:
            raise UserError("regression and multi_label: a row has a number or labels; drop one")
        if self.glue is not None:
            _check_alone(self)
            object.__setattr__(self, "columns", GLUE_COLUMNS[self.glue])
        if not self.multi_label:
            _check_no_option_of_several_labels(self)
        if self.multi_label or self._is_regression:
            _check_no_option_of_one_class(self)
        else:
            _check_no_option_of_many_values(self)

    @property
    def _is_regression(self) -> bool:
        return self.regression or (self.glue is not None and GLUE[self.glue].labels is None)

    def read(self, spec: str, *, labelled: bool) -> Iterator[Row]:
        """Rows of a table."""
        if self.glue is not None:
            return read_glue(spec, self.glue, labelled=labelled)
        return read_sentences(spec, self.columns, labelled=labelled)

    def records(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Themselves."""
        return iter(rows)

    def task(self, records: Sequence[Row]) -> SequenceClassification:
        """With the labels that occur, where none are given."""
        if self._is_regression:
            return self._task(Regression())
        sentences = Sentences(records, self.columns)
        if self.multi_label:
            return self._task(self._several(self.labels or label_set_names(sentences), records))
        labels = self._named or label_names(sentences)
        if len(labels) < 2:
            raise UserError(
                f"{records[0].file}: only one class, {labels[0]!r}: nothing to tell apart"
            )
        weights = _class_weights(self.class_weights, sentences, labels)
        return self._task(SingleLabel(labels, weights, self.label_smoothing, self.top_k))

    def first_bias(self, task: SequenceClassification, records: Sequence[Row]) -> np.ndarray | None:
        """float32 [outputs] of a new classifier; None: zeros."""
        if not self.prior_bias:
            return None
        values = task.target.values(Sentences(records, self.columns))
        if self._is_regression:
            return np.array([np.mean(values, dtype=np.float64)], np.float32)
        return label_log_odds(values)

    def task_of(self, head: Head) -> SequenceClassification:
        """As the model's config.json says it, but for a threshold that is another now."""
        target = _target_of(head, self.top_k)
        self._check_ranks(target)
        if isinstance(target, MultiLabel) and self.multi_label and self.threshold != "tuned":
            target = MultiLabel(head.labels, (float(self.threshold),) * len(head.labels))
        return SequenceClassification(
            target, columns_read=self.columns, scored=self._scored, ranks=self.ranking
        )

    def assumed(self) -> tuple[SequenceClassification, tuple[str, ...]]:
        """With two labels, where none are given."""
        if self._is_regression:
            return self._task(Regression()), ()
        kind = MultiLabel if self.multi_label else SingleLabel
        if self._named is not None:
            return self._task(kind(self._named)), ()
        return self._task(kind(("LABEL_0", "LABEL_1"))), ("task.labels: two classes",)

    @property
    def _named(self) -> tuple[str, ...] | None:
        return self.labels if self.glue is None else GLUE[self.glue].labels

    @property
    def _scored(self) -> tuple[str, ...]:
        return () if self.glue is None else GLUE[self.glue].metrics

    def _several(self, labels: tuple[str, ...], records: Sequence[Row]) -> MultiLabel:
        if not labels:
            raise UserError(f"{records[0].file}: no row has a label: nothing to learn")
        if self.threshold in ("tuned", 0.5):
            return MultiLabel(labels)
        return MultiLabel(labels, (float(self.threshold),) * len(labels))

    def _check_ranks(self, target: Target) -> None:
        if self.ranking and self.columns.text_pair is None:
            raise UserError(
                "task.ranking: rows with the same first text are ranked by their second, and "
                "columns.text_pair is null: name its column"
            )
        count = len(target.labels)
        is_several = isinstance(target, MultiLabel)
        if self.ranking and (isinstance(target, Regression) or count != (1 if is_several else 2)):
            raise UserError(
                "task.ranking: rows are ranked by one label (multi_label=true with "
                "columns.label=[relevant]) or by the second of two classes, and here "
                f"{'numbers are told' if isinstance(target, Regression) else f'are {count} labels'}"
            )

    def _task(self, target: Target) -> SequenceClassification:
        self._check_ranks(target)
        return SequenceClassification(
            target,
            self.classifier_dropout,
            self.pooling,
            self.mixture,
            columns_read=self.columns,
            tunes_thresholds=self.threshold == "tuned",
            scored=self._scored,
            ranks=self.ranking,
        )


def _target_of(head: Head, top_k: int) -> Target:
    if head.problem_type == "multi_label_classification":
        return MultiLabel(head.labels, head.thresholds)
    # transformers: one output of no stated kind is a number, not the only class.
    is_lone = head.problem_type is None and len(head.labels) == 1
    if is_lone or head.problem_type == "regression":
        return Regression(head.labels)
    return SingleLabel(head.labels, top_k=top_k)


def _class_weights(
    asked: Literal["balanced"] | Mapping[str, float] | None,
    sentences: Sentences,
    labels: tuple[str, ...],
) -> tuple[float, ...] | None:
    if asked is None:
        return None
    if asked == "balanced":
        counts = np.bincount(class_indices(sentences, labels), minlength=len(labels))
        return tuple(balanced_weights(counts).tolist())
    for name in asked:
        if name not in labels:
            raise UserError(f"task.class_weights: no class {name!r}: {nearest(name, labels)}")
    if not any(asked.get(name, 1.0) for name in labels):
        raise UserError("task.class_weights: 0 for every class: nothing to learn; weigh one")
    return tuple(float(asked.get(name, 1.0)) for name in labels)


def _check_alone(config: SequenceClassificationConfig) -> None:
    given = {"regression": config.regression, "multi_label": config.multi_label}
    assert config.glue is not None
    is_own = config.columns not in (SentenceColumns(), GLUE_COLUMNS[config.glue])
    given |= {"labels": config.labels is not None, "columns": is_own}
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"glue={config.glue} says what {name} are: drop task.{name}")


def _check_no_option_of_several_labels(config: SequenceClassificationConfig) -> None:
    if config.threshold != 0.5:
        raise UserError(f"threshold={config.threshold} is for several labels: set multi_label=true")
    if not isinstance(config.columns.label, str):
        raise UserError("columns.label: several columns are for multi_label=true; name one")


def _check_no_option_of_many_values(config: SequenceClassificationConfig) -> None:
    if config.prior_bias:
        raise UserError("prior_bias is for multi_label=true or regression=true: drop it")


def _check_no_option_of_one_class(config: SequenceClassificationConfig) -> None:
    for name in ("label_smoothing", "class_weights"):
        if getattr(config, name):
            raise UserError(f"{name} is for one class a row, not multi_label or regression")
