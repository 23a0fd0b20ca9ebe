"""Vectors of sentences whose cosine says how alike they are (Reimers and Gurevych 2019)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt

from jaxbert.data.reading import Reading
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.metrics.regression import pearson_correlation, spearman_correlation
from jaxbert.metrics.retrieval import cosines, ranks_of_relevant
from jaxbert.nn.head import Head, Pooling
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks import contrast
from jaxbert.tasks.finetuning import Column, LabelledTask, Rows
from jaxbert.tasks.labels import label_values
from jaxbert.tasks.prompts import Prompts
from jaxbert.tasks.sentences import SentenceColumns, Sentences
from jaxbert.tasks.tables import Table, mistakes
from jaxbert.tasks.task import row_count
from jaxbert.tasks.text_rows import (
    EmbeddingColumns,
    Which,
    check_prompt,
    encoded_texts,
    ranking_metrics,
    read_rows,
    search,
    shown,
    worst_ranked,
)
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class SentenceEmbeddingConfig:
    """With `columns.label` the squared difference of cosine and score, else in-batch negatives."""

    of_training: ClassVar[tuple[str, ...]] = ("pooling",)

    kind: Literal["sentence_embedding"] = "sentence_embedding"
    columns: EmbeddingColumns = field(default_factory=EmbeddingColumns)
    pooling: Pooling | None = None
    """How one vector comes from the tokens; null: as the model has it, else their mean."""
    scale: Annotated[float, Gt(0)] = 20.0
    """Of cosines before the softmax over the batch: 1 / temperature."""
    symmetric: bool = False
    """Also the anchor among all anchors, for every positive."""
    spare_duplicates: bool = True
    """A text that the row has itself, or that belongs to an equal anchor, is no negative."""
    max_label: Annotated[float, Gt(0)] = 1.0
    """Scores are divided by it: 5 for STS-B."""
    recall_at: tuple[Annotated[int, Ge(1)], ...] = (1, 5, 10)
    """Of retrieval, where there are no scores."""
    prompts: Prompts | None = None
    """What is put before texts; null: nothing. The model keeps it."""
    prompt: Which | None = None
    """Which of them is put before texts that are predicted; null: the default one."""
    dimensions: tuple[Annotated[int, Ge(1)], ...] | None = None
    """Matryoshka embeddings (Kusupati et al. 2022): the loss is the mean of those of vectors cut to
    so many first components, from most to fewest, e.g. [768, 256, 64]. Metrics are of whole vectors
    and, with the number behind their names (mrr_64), of cut ones. null: of whole ones alone."""

    def __post_init__(self) -> None:
        check_prompt(self.prompt, self.prompts)
        dimensions = self.dimensions
        if dimensions is not None and (
            not dimensions or sorted(set(dimensions), reverse=True) != [*dimensions]
        ):
            raise UserError(
                f"dimensions={[*dimensions]}: expected numbers of components, each smaller than "
                "the one before, such as [768, 256, 64]; or null"
            )

    @property
    def is_ranking(self) -> bool:
        """Whether the loss of a row depends on the other rows of the batch."""
        return self.columns.label is None

    def read(self, spec: str, *, labelled: bool) -> Iterator[Row]:
        """Rows of a table."""
        return read_rows(spec, self.columns, labelled=labelled)

    def records(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Themselves."""
        return iter(rows)

    def task(self, records: Sequence[Row]) -> "SentenceEmbedding":
        """The same for all data."""
        return SentenceEmbedding(self)

    def task_of(self, head: Head) -> "SentenceEmbedding":
        """The model pools as it does."""
        return SentenceEmbedding(self, pooled(head))

    def assumed(self) -> tuple["SentenceEmbedding", tuple[str, ...]]:
        """Nothing is left open."""
        return SentenceEmbedding(self), ()


@dataclass(frozen=True)
class SentenceEmbedding(LabelledTask):
    """Batch: text_ids int32 [batch, texts], equal where texts are, -1 for a negative that is not
    there; with scores labels float32 [batch]. Rows count where `row_ids` >= 0.

    Packed rows have [batch, examples] in the place of [batch]. In-batch negatives are those of the
    global batch, on however many devices and in however many microbatches; in evaluation those of
    an evaluation batch, so that the loss (not the metrics) depends on its size.
    """

    config: SentenceEmbeddingConfig = field(default_factory=SentenceEmbeddingConfig)
    own: Head | None = None
    """The model's; None: the configuration's."""

    @property
    def head(self) -> Head:
        """A pooling alone."""
        return pooled(Head(pooling=self.config.pooling)) if self.own is None else self.own

    @property
    def columns(self) -> Mapping[str, Column]:
        """Which text stands where, and the score."""
        texts = {"text_ids": Column(texts=2 + len(self.config.columns.negatives))}
        return texts if self.config.is_ranking else texts | {"labels": Column(np.float32)}

    @property
    def compares_rows(self) -> bool:
        """In-batch negatives are other rows' texts."""
        return self.config.is_ranking

    def compared(self, output: ModelOutput) -> ModelOutput:
        """Its vectors, of no tokens."""
        return ModelOutput(output.last_hidden_state[:, :0], pooled=output.pooled)

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Rows that count."""
        return {"loss": row_count(batch)}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Squared differences, or cross-entropies."""
        vectors, is_real = _vectors(output), batch["row_ids"] >= 0
        dimensions = self._dimensions(vectors.shape[-1])
        if not self.config.is_ranking:
            pairs = [(vectors[..., 0, :width], vectors[..., 1, :width]) for width in dimensions]
            errors = [jnp.square(contrast.cosines(*pair) - batch["labels"]) for pair in pairs]
            losses = jnp.mean(jnp.stack(errors), axis=0)
            return {"loss": jnp.sum(jnp.where(is_real, losses, 0.0))}
        losses = contrast.ranking_losses(
            vectors,
            batch["text_ids"],
            is_real,
            scale=self.config.scale,
            symmetric=self.config.symmetric,
            spare_duplicates=self.config.spare_duplicates,
            dimensions=dimensions,
        )
        return {"loss": jnp.sum(losses)}

    def answer_weight(self, batch: Batch) -> Array:
        """Rows that count."""
        return row_count(batch)

    def answer_sum(
        self, output: ModelOutput, teacher: ModelOutput, batch: Batch, temperature: float
    ) -> Array:
        """Mean over a row's texts and the components of their vectors of the squared differences.

        As Reimers and Gurevych 2020; vectors have no temperature.
        """
        return contrast.squared_differences(_vectors(output), _vectors(teacher), batch)

    def _dimensions(self, width: int) -> tuple[int, ...]:
        """Numbers of components of which the losses are; UserError for more than there are."""
        dimensions = self.config.dimensions or (width,)
        if dimensions[0] > width:
            raise UserError(
                f"task.dimensions={[*dimensions]}: the model's vectors have {width} components"
            )
        return dimensions

    def row_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """The vectors of all texts, or of the one that there is."""
        return {"embeddings": _vectors(output)}

    def examples(
        self, records: Sequence[Row], tokenizer: Tokenizer, reading: Reading, *, labelled: bool
    ) -> "EncodedTexts":
        """With labels a row's texts, without them its first text alone."""
        config = self.config
        features, text_ids = encoded_texts(
            *(records, config.columns, tokenizer, reading, config.prompts, config.prompt),
            labelled=labelled,
        )
        scores = self._scores(records) if labelled else None
        return EncodedTexts(self, records, features, text_ids, scores)

    def _scores(self, records: Sequence[Row]) -> np.ndarray | None:
        columns = self.config.columns
        if columns.label is None:
            return None
        read = SentenceColumns(columns.text, columns.text_pair, columns.label)
        scores = label_values(Sentences(records, read)) / self.config.max_label
        wrong = np.flatnonzero(np.abs(scores) > 1)
        if wrong.size:
            row = records[wrong[0]]
            raise UserError(
                f"{row.place}: {columns.label!r} is {row.values[columns.label]!r}, and a "
                f"cosine is at most 1: set task.max_label to the largest score there is (now "
                f"{self.config.max_label:g})"
            )
        return scores.astype(np.float32)


@dataclass(frozen=True)
class EncodedTexts:
    """Examples of `SentenceEmbedding`."""

    task: SentenceEmbedding
    records: Sequence[Row]
    encoded: Mapping[str, Any]
    text_ids: np.ndarray | None
    """int32 [rows, texts]"""
    scores: np.ndarray | None
    """float32 [rows]"""

    @property
    def features(self) -> Mapping[str, Any]:
        """Tokens of all texts, which is which, and scores."""
        columns = {"text_ids": self.text_ids, "labels": self.scores}
        there = {name: values for name, values in columns.items() if values is not None}
        return {**self.encoded, **there}

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """Correlations of cosine and score, or how well positives are found.

        Retrieval is that of `Search`. The same of vectors cut to `dimensions`, whose number stands
        behind the names: mrr_64.
        """
        metrics, vectors = means | self._metrics(rows), rows["embeddings"]
        for width in self.task.config.dimensions or ():
            if width < vectors.shape[-1]:
                found = self._metrics({**rows, "embeddings": vectors[..., :width]})
                metrics |= {f"{name}_{width}": value for name, value in found.items()}
        return metrics

    def _metrics(self, rows: Rows) -> dict[str, float]:
        if self.scores is not None:
            found, scores = self._cosines(rows), self.scores[rows["row_ids"]]
            return {
                "pearson": pearson_correlation(scores, found),
                "spearman": spearman_correlation(scores, found),
            }
        return ranking_metrics(self._ranks(rows)[1], self.task.config.recall_at)

    def tables(self, rows: Rows) -> tuple[Table, ...]:
        """The pairs whose cosine is furthest from their score, or the anchors ranked worst."""
        if self.scores is not None:
            found, scores = self._cosines(rows), self.scores[rows["row_ids"]]
            worst = np.argsort(-np.abs(found - scores), kind="stable").tolist()
            columns = ("row", "text", "pair", "score", "cosine")
            pairs = ((*self._shown(rows, i), float(scores[i]), float(found[i])) for i in worst)
            return (mistakes(columns, pairs),)
        queries, ranks = self._ranks(rows)
        numbers = rows["row_ids"][queries].tolist()
        return (worst_ranked(self.records, self.task.config.columns, numbers, ranks),)

    def _shown(self, rows: Rows, place: int) -> tuple[str, str, str]:
        return shown(self.records[int(rows["row_ids"][place])], self.task.config.columns)

    def _cosines(self, rows: Rows) -> np.ndarray:
        """float64 [rows]"""
        return cosines(rows["embeddings"][:, 0], rows["embeddings"][:, 1])

    def _ranks(self, rows: Rows) -> tuple[list[int], list[np.ndarray]]:
        """For every different anchor a place among `rows`, and the ranks of its positives."""
        assert self.text_ids is not None
        vectors, found = rows["embeddings"], search(self.text_ids[rows["row_ids"]])
        documents = vectors[:, 1:].reshape(-1, vectors.shape[-1])[found.documents]
        queries = vectors[found.queries, 0]
        return found.queries, ranks_of_relevant(queries, documents, found.relevant, found.left_out)

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """`embedding`, as it is pooled: of length 1 only where the head says so."""
        for vector in rows["embeddings"]:
            yield {"embedding": [float(value) for value in vector]}


def pooled(head: Head) -> Head:
    """The head of an encoder that is read for embeddings.

    As sentence-transformers reads a bare encoder: a pooler was trained for something else.
    """
    return replace(head, pooling="mean") if head == Head() else head


def _vectors(output: ModelOutput) -> Array:
    assert output.pooled is not None
    return output.pooled.astype(jnp.float32)
