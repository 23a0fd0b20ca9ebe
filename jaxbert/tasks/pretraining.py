"""Masked language modelling alone, or with a task over sentence pairs.

The task is next-sentence prediction (Devlin et al. 2018) or sentence order (Lan et al. 2019).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jaxbert.data.pairs import SentencePairs
from jaxbert.metrics.perplexity import perplexity
from jaxbert.nn.head import Head
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.losses import (
    correct_sum,
    counts,
    cross_entropy_sum,
    divergences,
    label_count,
)
from jaxbert.tasks.task import Task, WeightedSums
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class MaskedLanguageModelling(Task):
    """Batch: labels [batch, predictions] at masked_lm_positions; next_sentence_label [batch].

    Packed rows: positions are columns of the row, next_sentence_label is [batch, examples]. What
    is -100 does not count.
    """

    sentence_pairs: SentencePairs = "next_sentence"
    """Also what the names of its loss and accuracy begin with."""

    @property
    def head(self) -> Head:
        """Vocabulary logits, and those of the sentence pairs where they are trained."""
        return Head("masked_lm" if self.sentence_pairs == "none" else "pretraining")

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Masked positions; examples that are pairs."""
        weights = {"masked_lm_loss": label_count(batch["labels"])}
        if self.sentence_pairs != "none":
            weights[f"{self.sentence_pairs}_loss"] = label_count(batch["next_sentence_label"])
        return weights

    def loss_sums(self, output: ModelOutput, batch: Batch) -> dict[str, Array]:
        """Cross-entropy over masked positions; over examples."""
        assert output.logits is not None
        sums = {"masked_lm_loss": cross_entropy_sum(output.logits, batch["labels"])}
        if self.sentence_pairs != "none":
            pairs, labels = output.seq_relationship_logits, batch["next_sentence_label"]
            assert pairs is not None
            sums[f"{self.sentence_pairs}_loss"] = cross_entropy_sum(pairs, labels)
        return sums

    def answer_weight(self, batch: Batch) -> Array:
        """Masked positions."""
        return label_count(batch["labels"])

    def answer_sum(
        self, output: ModelOutput, teacher: ModelOutput, batch: Batch, temperature: float
    ) -> Array:
        """Divergences over masked positions; a teacher need not know of sentence pairs."""
        assert output.logits is not None
        assert teacher.logits is not None
        # One of them may have rows beyond the last token.
        known = min(output.logits.shape[-1], teacher.logits.shape[-1])
        ours, theirs = (logits[..., :known] for logits in (output.logits, teacher.logits))
        apart = divergences(ours, theirs, temperature)
        return jnp.sum(jnp.where(counts(batch["labels"]), apart, 0.0))

    def metric_sums(self, output: ModelOutput, batch: Batch) -> WeightedSums:
        """Accuracy of both objectives."""
        assert output.logits is not None
        labels = batch["labels"]
        sums = {"masked_lm_accuracy": (correct_sum(output.logits, labels), label_count(labels))}
        if self.sentence_pairs != "none":
            pairs, labels = output.seq_relationship_logits, batch["next_sentence_label"]
            assert pairs is not None
            correct = correct_sum(pairs, labels)
            sums[f"{self.sentence_pairs}_accuracy"] = (correct, label_count(labels))
        return sums

    def metrics(self, means: dict[str, float], rows: Mapping[str, Any]) -> dict[str, float]:
        """The means, and the perplexity of the masked positions."""
        return means | {"perplexity": perplexity(means["masked_lm_loss"])}
