"""What sits on an encoder, as a value."""

from dataclasses import dataclass
from typing import Literal

from jaxbert.errors import UserError
from jaxbert.options import check_options

HeadKind = Literal[
    "none",
    "pretraining",
    "masked_lm",
    "next_sentence",
    "replaced_token_detection",
    "sequence_classification",
    "token_classification",
    "question_answering",
    "multiple_choice",
    "late_interaction",
]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
Pooling = Literal["cls", "mean", "max", "attention", "segments"]

POOLED: frozenset[HeadKind] = frozenset(
    {"none", "pretraining", "next_sentence", "sequence_classification", "multiple_choice"}
)
"""Heads that take one vector of a row."""
LABELLED: frozenset[HeadKind] = frozenset({"sequence_classification", "token_classification"})
"""Heads with an output for every label."""
MIXING: frozenset[HeadKind] = LABELLED | {"none", "question_answering", "multiple_choice"}
"""Heads that may read several layers."""
OUTPUTS: dict[HeadKind, int] = {
    "replaced_token_detection": 1,
    "question_answering": 2,
    "multiple_choice": 1,
}
"""Outputs of the classifiers that have no labels."""


@dataclass(frozen=True)
class LayerMixture:
    """The last layers instead of the last one alone, as in ELMo (Peters et al. 2018)."""

    num_layers: int = 4
    """How many, from the last one down."""
    how: Literal["concatenated", "weighted"] = "weighted"
    """weighted: a learnt softmax over the layers times a learnt scale."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.num_layers < 1:
            raise UserError(f"mixture.num_layers={self.num_layers}: must be at least 1")


@dataclass(frozen=True)
class Splade:
    """A masked LM's logits as one weight a text for every entry of the vocabulary.

    log(1 + relu(logit)) of its tokens (Formal et al. 2021).
    """

    pooling: Literal["max", "sum"] = "max"
    """Over the tokens of a text."""
    activation: Literal["relu", "log1p_relu"] = "relu"
    """log1p_relu: the logarithm of one plus the weight once more (Shen et al. 2025)."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class DenseLayer:
    """A dense layer behind an encoder's vectors, as sentence-transformers has one (Dense)."""

    dimensions: int
    activation: Literal["identity", "tanh"] = "tanh"
    bias: bool = True

    def __post_init__(self) -> None:
        check_options(self)
        if self.dimensions < 1:
            raise UserError(f"dense.dimensions={self.dimensions}: must be at least 1")


COLBERT = DenseLayer(128, "identity", bias=False)
"""The layer of a model of late interaction that begins anew (Khattab and Zaharia 2020)."""


@dataclass(frozen=True)
class Head:
    """What sits on the encoder. `labels` name the outputs of a classifier, in order."""

    kind: HeadKind = "none"
    labels: tuple[str, ...] = ()
    problem_type: ProblemType | None = None
    classifier_dropout: float | None = None
    """Dropout before the last layer; None: the model's own."""
    pooling: Pooling | None = None
    """How one vector comes from a row; None: as the family does it."""
    mixture: LayerMixture | None = None
    """Which layers the head reads; None: the last one."""
    thresholds: tuple[float, ...] | None = None
    """Probabilities from which on each of several labels is predicted; None: 0.5."""
    dense: DenseLayer | None = None
    """What the pooled vector goes through, or every token's of late interaction; None: nothing."""
    is_normalized: bool = False
    """The vector of a row has length 1; for encoders that pool."""
    splade: Splade | None = None
    """A masked LM gives weights of the vocabulary for a text; None: logits for its tokens."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.kind in LABELLED and not self.labels:
            raise UserError(f"a {self.kind} head needs at least one label")
        if len(set(self.labels)) != len(self.labels):
            raise UserError(
                f"labels={list(self.labels)}: a label occurs twice, so that predictions could not"
                " be told apart; rename one (of a saved model: id2label in config.json)"
            )
        if self.thresholds is not None and len(self.thresholds) != len(self.labels):
            raise UserError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")
        rate = self.classifier_dropout
        if rate is not None and not 0.0 <= rate < 1.0:
            raise UserError(f"classifier_dropout={rate}: must lie in [0, 1)")
        if self.pooling is not None and self.kind not in MIXING & POOLED:
            raise UserError(f"pooling={self.pooling!r}: a {self.kind} head does not choose one")
        if self.is_normalized and (self.kind != "none" or self.pooling is None):
            raise UserError("is_normalized=True: only an encoder with a pooling has such a vector")
        if self.splade is not None and self.kind != "masked_lm":
            raise UserError(f"splade: a {self.kind} head has no logits to make weights of")
        has_vectors = self.kind == "none" and self.pooling is not None
        if self.dense is not None and not has_vectors and self.kind != "late_interaction":
            raise UserError("dense: only an encoder with a pooling has a vector for it")
        if self.mixture is not None and self.kind not in MIXING:
            raise UserError(f"mixture: a {self.kind} head reads the last layer")

    @property
    def has_masked_lm(self) -> bool:
        """Whether there are parameters for logits of the vocabulary."""
        return self.kind in ("pretraining", "masked_lm")

    @property
    def predicts_tokens(self) -> bool:
        """Whether these logits are an output."""
        return self.has_masked_lm and self.splade is None

    @property
    def is_embedding(self) -> bool:
        """Whether vectors of texts are the output."""
        return self.kind in ("none", "late_interaction") or self.splade is not None

    @property
    def has_next_sentence(self) -> bool:
        """Whether the two logits for a sentence pair are computed (next sentence, or order)."""
        return self.kind in ("pretraining", "next_sentence")

    @property
    def has_labels(self) -> bool:
        """Whether there is an output for every label."""
        return self.kind in LABELLED

    def vector_size(self, hidden_size: int) -> int:
        """Components of the vectors that it makes of an encoder's."""
        return hidden_size if self.dense is None else self.dense.dimensions

    @property
    def num_outputs(self) -> int:
        """Outputs of the classifier; 0: the head has none."""
        return len(self.labels) if self.has_labels else OUTPUTS.get(self.kind, 0)
