"""Vectors of tokens whose largest products say how well a document answers a query (ColBERT)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt

from jaxbert.data.reading import Reading
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.metrics.max_sim import max_sims
from jaxbert.metrics.retrieval import ranks_by_scores
from jaxbert.nn.head import COLBERT, Head
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.finetuning import Column, LabelledTask, Rows
from jaxbert.tasks.max_sim import late_losses
from jaxbert.tasks.prompts import Prompts
from jaxbert.tasks.sentences import text_of
from jaxbert.tasks.sides import QueryExpansion, Side, Sides
from jaxbert.tasks.tables import Table
from jaxbert.tasks.task import row_count
from jaxbert.tasks.text_rows import (
    EmbeddingColumns,
    Search,
    numbered,
    ranking_metrics,
    read_rows,
    search,
    texts_of,
    worst_ranked,
)
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class LateInteractionConfig:
    """Khattab and Zaharia 2020, with in-batch negatives; documents have max_seq_length tokens."""

    of_training: ClassVar[tuple[str, ...]] = ("dimensions",)

    kind: Literal["late_interaction"] = "late_interaction"
    columns: EmbeddingColumns = field(default_factory=EmbeddingColumns)
    """`text`: the query; `text_pair`: its document; without `label`."""
    dimensions: Annotated[int, Ge(1)] | None = None
    """Of the vector of a token; null: as the model has it, else 128."""
    scale: Annotated[float, Gt(0)] = 1.0
    """Of scores before the softmax over the batch: 1 / temperature."""
    spare_duplicates: bool = True
    """A text that the row has itself, or that belongs to an equal query, is no negative."""
    recall_at: tuple[Annotated[int, Ge(1)], ...] = (1, 5, 10)
    """Of retrieval."""
    prompts: Prompts | None = None
    """Before queries and documents; ColBERT's are "[unused0] " and "[unused1] ". One that the
    vocabulary has is one token. null: nothing. The model keeps it."""
    query_length: Annotated[int, Ge(3)] | None = 32
    """Tokens to which queries are cut; null: as documents."""
    query_expansion: QueryExpansion | None = field(default_factory=QueryExpansion)
    """null: queries are their own tokens alone."""
    skiplist_words: tuple[str, ...] | Literal["punctuation"] = "punctuation"
    """Tokens that are not scored."""
    skiplist_tasks: tuple[Side, ...] = ("document",)
    """In texts of which side."""
    side: Side = "document"
    """What texts are that are predicted."""

    def __post_init__(self) -> None:
        if self.columns.label is not None:
            raise UserError(
                f"columns.label={self.columns.label}: late interaction learns from texts that "
                "belong together: give columns.text_pair and perhaps columns.negatives alone"
            )
        if self.prompts is not None and self.prompts.default:
            raise UserError(
                "prompts.default: every text is a query or a document: give prompts.query and "
                "prompts.document alone"
            )
        expansion, length = self.query_expansion, self.query_length
        if expansion is not None and length is not None and expansion.length > length:
            raise UserError(
                f"query_expansion.length={expansion.length}: queries are cut to query_length="
                f"{length}: give a length that is no smaller"
            )

    @property
    def sides(self) -> Sides:
        """How either is read."""
        return Sides(
            self.prompts or Prompts(),
            self.query_length,
            self.query_expansion,
            self.skiplist_words,
            self.skiplist_tasks,
        )

    def read(self, spec: str, *, labelled: bool) -> Iterator[Row]:
        """Rows of a table."""
        return read_rows(spec, self.columns, labelled=labelled)

    def records(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Themselves."""
        return iter(rows)

    def task(self, records: Sequence[Row]) -> "LateInteraction":
        """The same for all data."""
        return LateInteraction(self)

    def task_of(self, head: Head) -> "LateInteraction":
        """With the model's own projection."""
        return LateInteraction(self, head)

    def assumed(self) -> tuple["LateInteraction", tuple[str, ...]]:
        """Nothing is left open."""
        return LateInteraction(self), ()


@dataclass(frozen=True)
class LateInteraction(LabelledTask):
    """Batch: text_ids int32 [batch, texts] as of `SentenceEmbedding`; scored int32
    [batch, texts, seq], 1 where a token's vector counts. Rows count where `row_ids` >= 0.

    In-batch negatives are those of the global batch, on however many devices and in however many
    microbatches; in evaluation those of an evaluation batch, so that the loss (not the metrics)
    depends on its size.
    """

    config: LateInteractionConfig = field(default_factory=LateInteractionConfig)
    own: Head | None = None
    """The model's; None: one that begins anew."""

    @property
    def head(self) -> Head:
        """A projection of every token."""
        if self.own is not None:
            return self.own
        width = self.config.dimensions or COLBERT.dimensions
        return Head("late_interaction", dense=replace(COLBERT, dimensions=width))

    @property
    def columns(self) -> Mapping[str, Column]:
        """Which text stands where, and what of it is attended to and scored."""
        texts = Column(texts=2 + len(self.config.columns.negatives))
        per_token = Column(per_token=True)
        return {"text_ids": texts, "attention_mask": per_token, "scored": per_token}

    @property
    def compares_rows(self) -> bool:
        """In-batch negatives are other rows' texts."""
        return True

    def compared(self, output: ModelOutput) -> ModelOutput:
        """Its vectors of tokens, which are narrow, and no hidden states."""
        return ModelOutput(output.last_hidden_state[:, :0], token_vectors=output.token_vectors)

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Rows that count."""
        return {"loss": row_count(batch)}

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Cross-entropies."""
        assert output.token_vectors is not None
        sides = self.config.sides
        longest = output.token_vectors.shape[2]
        fills = 0 if sides.expansion is None else sides.expansion.length
        losses = late_losses(
            output.token_vectors,
            batch["scored"] > 0,
            batch["text_ids"],
            batch["row_ids"] >= 0,
            query_length=max(sides.query_length or longest, fills),
            scale=self.config.scale,
            spare_duplicates=self.config.spare_duplicates,
        )
        return {"loss": jnp.sum(losses)}

    def token_outputs(self, output: ModelOutput) -> dict[str, Array]:
        """The vectors of all tokens, of which evaluation takes those that are scored."""
        assert output.token_vectors is not None
        return {"token_vectors": output.token_vectors.astype(jnp.float32)}

    def examples(
        self, records: Sequence[Row], tokenizer: Tokenizer, reading: Reading, *, labelled: bool
    ) -> "EncodedSides":
        """With labels a row's texts, without them its first text alone, as `side` says."""
        if reading.windows is not None:
            raise UserError("windows: late interaction reads a text in one row: take a truncation")
        columns, sides = self.config.columns, self.config.sides
        if not labelled:
            texts = [text_of(row, columns.text) for row in records]
            features = sides.encode(texts, self.config.side, tokenizer, reading)
            return EncodedSides(self, records, features, None)
        grid = [texts_of(row, columns) for row in records]
        width = 2 + len(columns.negatives)
        read = [(text, side) for row in grid for text, side in zip(row, _sides(width), strict=True)]
        encoded, place = _encoded(read, sides, tokenizer, reading)
        features = {
            name: [values[place[each]] if each[0] is not None else [] for each in read]
            for name, values in encoded.items()
        }
        # A text is the same text on the other side, with other tokens.
        ids = np.array(numbered([text for text, _ in read]), np.int32).reshape(len(records), width)
        return EncodedSides(self, records, features, ids)


def _sides(width: int) -> tuple[Side, ...]:
    """Of a row's texts."""
    others: list[Side] = ["document"] * (width - 1)
    return ("query", *others)


def _encoded(
    read: Sequence[tuple[str | None, Side]], sides: Sides, tokenizer: Tokenizer, reading: Reading
) -> tuple[dict[str, list[Any]], dict[tuple[str | None, Side], int]]:
    """Every different text of either side once, and where it is."""
    place: dict[tuple[str | None, Side], int] = {}
    parts = []
    for side in _sides(2):
        texts = [*dict.fromkeys(text for text, its in read if text is not None and its == side)]
        for text in texts:
            place[text, side] = len(place)
        parts.append(sides.encode(texts, side, tokenizer, reading))
    return {name: [*parts[0][name], *parts[1][name]] for name in parts[0]}, place


@dataclass(frozen=True)
class EncodedSides:
    """Examples of `LateInteraction`."""

    task: LateInteraction
    records: Sequence[Row]
    encoded: Mapping[str, Any]
    text_ids: np.ndarray | None
    """int32 [rows, texts]"""

    @property
    def features(self) -> Mapping[str, Any]:
        """Tokens of all texts, and which is which."""
        ids = {} if self.text_ids is None else {"text_ids": self.text_ids}
        return {**self.encoded, **ids}

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """How well positives are found: every different query among all documents of the rows."""
        _, ranks = self._ranks(rows)
        return means | ranking_metrics(ranks, self.task.config.recall_at)

    def tables(self, rows: Rows) -> tuple[Table, ...]:
        """The queries whose document is ranked worst."""
        found, ranks = self._ranks(rows)
        numbers = rows["row_ids"][found.queries].tolist()
        return (worst_ranked(self.records, self.task.config.columns, numbers, ranks),)

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """`token_vectors`: of every token that is scored, in the order of the text."""
        for vectors in rows["token_vectors"]:
            yield {"token_vectors": vectors.tolist()}

    def _ranks(self, rows: Rows) -> tuple[Search, list[np.ndarray]]:
        assert self.text_ids is not None
        found = search(self.text_ids[rows["row_ids"]])
        texts = self._vectors(rows)
        others = [vectors for of_row in texts for vectors in of_row[1:]]
        queries = [texts[row][0] for row in found.queries]
        documents = [others[place] for place in found.documents]
        scores = max_sims(queries, documents)
        return found, ranks_by_scores(scores, found.relevant, found.left_out)

    def _vectors(self, rows: Rows) -> list[list[np.ndarray]]:
        """Of every row's texts [tokens, dimensions]."""
        counts = np.array([np.sum(each) for each in self.encoded["scored"]], np.int64)
        counts = counts.reshape(len(self.records), -1)[rows["row_ids"]]
        return [
            np.split(vectors, np.cumsum(each)[:-1])
            for vectors, each in zip(rows["token_vectors"], counts, strict=True)
        ]
