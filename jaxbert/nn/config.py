"""What an encoder and its head are, as values. Option names are Hugging Face's."""

from dataclasses import dataclass
from typing import Literal

from jaxbert.errors import UserError

VOCABULARY_MULTIPLE = 128
"""Rows of the word embedding come in multiples of a TPU lane, so that shards stay equal."""

HeadKind = Literal["none", "pretraining", "masked_lm", "next_sentence", "sequence_classification"]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder. The defaults are BERT-base, uncased."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Literal["gelu", "gelu_new", "relu"] = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.num_hidden_layers < 0:
            raise UserError(f"num_hidden_layers={self.num_hidden_layers}: must not be negative")
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden_size={self.hidden_size} is not a multiple of "
                f"num_attention_heads={self.num_attention_heads}: every head has the same width"
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UserError(f"{name}={getattr(self, name)}: must lie in [0, 1)")

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the word embedding as stored; those beyond `vocab_size` are zero and unused."""
        return -(-self.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


@dataclass(frozen=True)
class Head:
    """What sits on the encoder. `labels` name the outputs of a classifier, in order."""

    kind: HeadKind = "none"
    labels: tuple[str, ...] = ()
    problem_type: ProblemType | None = None
    classifier_dropout: float | None = None
    """Dropout before the classifier; None: the encoder's `hidden_dropout_prob`."""

    def __post_init__(self) -> None:
        if self.kind == "sequence_classification" and not self.labels:
            raise UserError("a sequence_classification head needs at least one label")
        if len(set(self.labels)) != len(self.labels):
            raise UserError(f"labels={list(self.labels)}: a label occurs twice")
        rate = self.classifier_dropout
        if rate is not None and not 0.0 <= rate < 1.0:
            raise UserError(f"classifier_dropout={rate}: must lie in [0, 1)")

    @property
    def has_pooler(self) -> bool:
        """Whether the pooled [CLS] vector is computed."""
        return self.kind != "masked_lm"

    @property
    def has_masked_lm(self) -> bool:
        """Whether vocabulary logits are computed."""
        return self.kind in ("pretraining", "masked_lm")

    @property
    def has_next_sentence(self) -> bool:
        """Whether the two next-sentence logits are computed."""
        return self.kind in ("pretraining", "next_sentence")

    @property
    def has_classifier(self) -> bool:
        """Whether there is a classifier over `labels`."""
        return self.kind == "sequence_classification"
