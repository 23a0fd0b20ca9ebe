"""Weights of the vocabulary whose products say what a query looks for (Formal et al. 2021)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from jaxbert.data.reading import Reading
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.metrics.retrieval import ranks_by_product
from jaxbert.metrics.sparse import active_dims, as_matrix, products_of_a_pair, sparse_vectors
from jaxbert.nn.head import Head, Splade
from jaxbert.nn.model import ModelOutput
from jaxbert.nn.placement import sum_of_all_rows
from jaxbert.tasks import contrast
from jaxbert.tasks.finetuning import Column, LabelledTask, Rows
from jaxbert.tasks.prompts import Prompts
from jaxbert.tasks.tables import Table
from jaxbert.tasks.task import row_count
from jaxbert.tasks.text_rows import (
    EmbeddingColumns,
    Search,
    Which,
    check_prompt,
    encoded_texts,
    ranking_metrics,
    read_rows,
    search,
    worst_ranked,
)
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Array, Batch

RANKING, OF_QUERIES, OF_DOCUMENTS = "ranking_loss", "query_flops_loss", "document_flops_loss"


@dataclass(frozen=True)
class SparseEmbeddingConfig:
    """In-batch negatives by dot product, and the FLOPs of a search (Paria et al. 2020)."""

    of_training: ClassVar[tuple[str, ...]] = ("pooling", "activation")

    kind: Literal["sparse_embedding"] = "sparse_embedding"
    columns: EmbeddingColumns = field(default_factory=EmbeddingColumns)
    """As of sentence_embedding, without a label."""
    pooling: Literal["max", "sum"] | None = None
    """Over the tokens of a text; null: as the model has it, else max."""
    activation: Literal["relu", "log1p_relu"] | None = None
    """Of logits; log1p_relu damps them twice. null: as the model has it, else relu."""
    query_flops_weight: Annotated[float, Ge(0)] = 5e-5
    """Of the sum over the vocabulary of the squared mean weight in the batch's anchors."""
    document_flops_weight: Annotated[float, Ge(0)] = 3e-5
    """The same of positives and negatives. The larger, the fewer words a text has."""
    flops_warmup_steps: Annotated[int, Ge(0)] = 0
    """Both weights rise with the square of the step until so many are done. From the first step on
    at their height they may leave no words at all."""
    scale: Annotated[float, Gt(0)] = 1.0
    """Of dot products before the softmax over the batch."""
    symmetric: bool = False
    """Also the anchor among all anchors, for every positive."""
    spare_duplicates: bool = True
    """A text that the row has itself, or that belongs to an equal anchor, is no negative."""
    recall_at: tuple[Annotated[int, Ge(1)], ...] = (1, 5, 10)
    """Of retrieval."""
    prompts: Prompts | None = None
    """What is put before texts; null: nothing. The model keeps it."""
    prompt: Which | None = None
    """Which of them is put before texts that are predicted; null: the default one."""

    def __post_init__(self) -> None:
        check_prompt(self.prompt, self.prompts)
        if self.columns.label is not None:
            raise UserError(
                f"columns.label={self.columns.label!r}: a sparse embedding learns from texts that "
                "belong together: leave it out, or take task.kind=sentence_embedding"
            )

    def read(self, spec: str, *, labelled: bool) -> Iterator[Row]:
        """Rows of a table."""
        return read_rows(spec, self.columns, labelled=labelled)

    def records(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Themselves."""
        return iter(rows)

    def task(self, records: Sequence[Row]) -> "SparseEmbedding":
        """The same for all data."""
        return SparseEmbedding(self)

    def task_of(self, head: Head) -> "SparseEmbedding":
        """The model pools as it does."""
        return SparseEmbedding(self, head)

    def assumed(self) -> tuple["SparseEmbedding", tuple[str, ...]]:
        """Nothing is left open."""
        return SparseEmbedding(self), ()


@dataclass(frozen=True)
class SparseEmbedding(LabelledTask):
    """Batch: text_ids as of `SentenceEmbedding`; in training with a warm-up step, int32 [batch].

    Negatives, and the means whose squares are the FLOPs, are those of the global batch, on however
    many devices and in however many microbatches; in evaluation those of an evaluation batch.
    Losses have their weights in them already, so that what is minimised is their sum.
    """

    config: SparseEmbeddingConfig = field(default_factory=SparseEmbeddingConfig)
    own: Head | None = None
    """The model's; None: the configuration's."""

    @property
    def head(self) -> Head:
        """That of a masked LM."""
        if self.own is not None:
            return self.own
        usual, config = Splade(), self.config
        how = Splade(config.pooling or usual.pooling, config.activation or usual.activation)
        return Head("masked_lm", splade=how)

    @property
    def columns(self) -> Mapping[str, Column]:
        """Which text stands where."""
        return {"text_ids": Column(texts=2 + len(self.config.columns.negatives))}

    @property
    def compares_rows(self) -> bool:
        """In-batch negatives are other rows' texts, and FLOPs are of their means."""
        return True

    def compared(self, output: ModelOutput) -> ModelOutput:
        """Its vectors, of no tokens."""
        return ModelOutput(output.last_hidden_state[:, :0], pooled=output.pooled)

    @property
    def counts_steps(self) -> bool:
        """Where weights rise with them."""
        return self.config.flops_warmup_steps > 0 and bool(self._flops_weights())

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Rows that count; queries; documents."""
        counts = {OF_QUERIES: row_count(batch), OF_DOCUMENTS: jnp.sum(_documents(batch), dtype="f")}
        return {RANKING: row_count(batch)} | {name: counts[name] for name in self._flops_weights()}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Cross-entropies, and FLOPs as many times as there are texts of the kind."""
        vectors, is_real = _vectors(output), batch["row_ids"] >= 0
        losses = contrast.ranking_losses(
            vectors,
            batch["text_ids"],
            is_real,
            scale=self.config.scale,
            symmetric=self.config.symmetric,
            spare_duplicates=self.config.spare_duplicates,
            dimensions=(vectors.shape[-1],),
            of_length_1=False,
        )
        texts = {
            OF_QUERIES: (vectors[..., :1, :], is_real[..., None]),
            OF_DOCUMENTS: (vectors[..., 1:, :], _documents(batch)),
        }
        warmth = _warmth(batch, self.config.flops_warmup_steps)
        flops = {
            name: weight * warmth * flops_sum(*texts[name])
            for name, weight in self._flops_weights().items()
        }
        return {RANKING: jnp.sum(losses), **flops}

    def _flops_weights(self) -> dict[str, float]:
        """Of the losses that there are, at their height."""
        config = self.config
        weights = {
            OF_QUERIES: config.query_flops_weight,
            OF_DOCUMENTS: config.document_flops_weight,
        }
        return {name: weight for name, weight in weights.items() if weight}

    def answer_weight(self, batch: Batch) -> Array:
        """Rows that count."""
        return row_count(batch)

    def answer_sum(
        self, output: ModelOutput, teacher: ModelOutput, batch: Batch, temperature: float
    ) -> Array:
        """Squared differences, as of `SentenceEmbedding`."""
        ours, theirs = _vectors(output), _vectors(teacher)
        # One of them may have rows beyond the last token.
        known = min(ours.shape[-1], theirs.shape[-1])
        return contrast.squared_differences(ours[..., :known], theirs[..., :known], batch)

    def row_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """The vectors of all texts, or of the one that there is."""
        return {"embeddings": _vectors(output)}

    def kept(self, rows: dict[str, Any]) -> dict[str, Any]:
        """`SparseVector`s in the place of the vectors."""
        return {**rows, "embeddings": sparse_vectors(rows["embeddings"])}

    def examples(
        self, records: Sequence[Row], tokenizer: Tokenizer, reading: Reading, *, labelled: bool
    ) -> "EncodedSparseTexts":
        """With labels a row's texts, without them its first text alone."""
        config = self.config
        features, text_ids = encoded_texts(
            *(records, config.columns, tokenizer, reading, config.prompts, config.prompt),
            labelled=labelled,
        )
        return EncodedSparseTexts(self, records, features, text_ids, tokenizer)


@dataclass(frozen=True)
class EncodedSparseTexts:
    """Examples of `SparseEmbedding`."""

    task: SparseEmbedding
    records: Sequence[Row]
    encoded: Mapping[str, Any]
    text_ids: NDArray[np.int32] | None
    """[rows, texts]"""
    tokenizer: Tokenizer

    @property
    def features(self) -> Mapping[str, Any]:
        """Tokens of all texts, and which is which."""
        ids = {} if self.text_ids is None else {"text_ids": self.text_ids}
        return {**self.encoded, **ids}

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """How well positives are found, and what a search costs.

        `loss` is the sum of the losses; retrieval is that of `Search`, by dot product. Of its
        queries and of its documents the mean number of words, `query_active_dims` and
        `document_active_dims`; `flops`: how many a query and a document are expected to share.
        """
        found = self._search(rows)
        queries, documents = self._matrices(rows, found)
        ranks = ranks_by_product(queries, documents, found.relevant, found.left_out)
        return {
            **means,
            "loss": sum(means.values()),
            **ranking_metrics(ranks, self.task.config.recall_at),
            "query_active_dims": active_dims(queries),
            "document_active_dims": active_dims(documents),
            "flops": products_of_a_pair(queries, documents),
        }

    def tables(self, rows: Rows) -> tuple[Table, ...]:
        """The anchors ranked worst."""
        found = self._search(rows)
        ranks = ranks_by_product(*self._matrices(rows, found), found.relevant, found.left_out)
        numbers = rows["row_ids"][found.queries].tolist()
        return (worst_ranked(self.records, self.task.config.columns, numbers, ranks),)

    def _search(self, rows: Rows) -> Search:
        assert self.text_ids is not None
        return search(self.text_ids[rows["row_ids"]])

    def _matrices(self, rows: Rows, found: Search) -> tuple[Any, Any]:
        """Queries and documents."""
        vectors = rows["embeddings"]
        documents = vectors[:, 1:].reshape(-1)[found.documents]
        return as_matrix(vectors[found.queries, 0]), as_matrix(documents)

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """`embedding`: tokens and their weights, the largest first."""
        tokens = self.tokenizer.vocab()
        for vector in rows["embeddings"]:
            order = np.argsort(-vector.values, kind="stable")
            places, values = vector.places[order].tolist(), vector.values[order].tolist()
            names = [_name(tokens, place) for place in places]
            yield {"embedding": dict(zip(names, values, strict=True))}


def flops_sum(
    vectors: Float[Array, "batch *examples texts vocab"],
    is_there: Bool[Array, "batch *examples texts"],
) -> Array:
    """The part that these rows have in n times the FLOPs of all n texts of the global batch.

    FLOPs are the sum over the vocabulary of the squared mean weight, which is smooth where the
    number of texts with a word is not (Paria et al. 2020).
    """
    axes = tuple(range(is_there.ndim))
    own = jnp.sum(jnp.where(is_there[..., None], vectors, 0.0), axis=axes)
    count = sum_of_all_rows(jnp.sum(is_there, dtype=jnp.float32))
    # Of one device's sum times that of all, the parts add up to the square.
    return jnp.sum(own * sum_of_all_rows(own)) / jnp.maximum(count, 1.0)


def _warmth(batch: Batch, steps: int) -> Array:
    """What the weights of the FLOPs are multiplied by."""
    if "step" not in batch or not steps:
        return jnp.ones(())
    return jnp.square(jnp.minimum(batch["step"].reshape(-1)[0] / steps, 1.0))


def _documents(batch: Batch) -> Bool[Array, "batch *examples documents"]:
    """Which positives and negatives are there."""
    return (batch["row_ids"] >= 0)[..., None] & (batch["text_ids"][..., 1:] >= 0)


def _vectors(output: ModelOutput) -> Array:
    assert output.pooled is not None
    return output.pooled


def _name(tokens: Sequence[str], place: int) -> str:
    """A model may have more entries than its tokenizer has tokens."""
    return (tokens[place] if place < len(tokens) else "") or f"<{place}>"
