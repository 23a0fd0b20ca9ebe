"""Replaced-token detection (Clark et al. 2020, ELECTRA): which tokens did a generator put in?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxbert.metrics.perplexity import perplexity
from jaxbert.nn.head import Head
from jaxbert.tasks.losses import correct_sum, cross_entropy_sum, label_count
from jaxbert.tasks.replaced_token_pair import DISCRIMINATOR, ReplacedTokenOutput
from jaxbert.tasks.task import MODEL_INPUTS, Task, WeightedSums, real_tokens
from jaxbert.typing import Array, Batch


@dataclass(frozen=True)
class ReplacedTokenDetection(Task):
    """Batch: that of masked language modelling. Special tokens are read but never judged."""

    special_ids: tuple[int, ...]
    """Ids of [CLS], [SEP] and [PAD]."""
    discriminator_weight: float = 50.0
    """Of the discriminator's loss beside the generator's (the paper's lambda)."""

    @property
    def head(self) -> Head:
        """The discriminator's."""
        return DISCRIMINATOR

    @property
    def model_inputs(self) -> tuple[str, ...]:
        """The generator's samples take the place of the labels."""
        return (*MODEL_INPUTS, "labels")

    def loss_factor(self, name: str) -> float:
        """The discriminator's loss is small and counts more."""
        return self.discriminator_weight if name == "replaced_token_loss" else 1.0

    def loss_weights(self, batch: Batch) -> dict[str, Array]:
        """Masked positions; tokens that are not special."""
        masked = label_count(batch["labels"])
        # A masked position shows [MASK], another token or its own, and is text whatever it shows.
        texts = jnp.sum(self._is_text(batch["input_ids"], batch), dtype=jnp.float32)
        return {"masked_lm_loss": masked, "replaced_token_loss": texts}

    def loss_sums(self, output: ReplacedTokenOutput, batch: Batch) -> dict[str, Array]:
        """Cross-entropy of the generator; binary cross-entropy of the discriminator."""
        signs = jnp.where(output.is_replaced, 1.0, -1.0)
        losses = jax.nn.softplus(-signs * output.logits)
        counted = self._is_text(output.original_ids, batch)
        return {
            "masked_lm_loss": cross_entropy_sum(output.generator_logits, batch["labels"]),
            "replaced_token_loss": jnp.sum(jnp.where(counted, losses, 0.0)),
        }

    def metric_sums(self, output: ReplacedTokenOutput, batch: Batch) -> WeightedSums:
        """Accuracy of both; share of replaced tokens; precision and recall of finding them."""
        labels, counted = batch["labels"], self._is_text(output.original_ids, batch)
        replaced, found = output.is_replaced & counted, (output.logits > 0) & counted

        def total(marks: Array) -> Array:
            return jnp.sum(marks, dtype=jnp.float32)

        return {
            "masked_lm_accuracy": (
                correct_sum(output.generator_logits, labels),
                label_count(labels),
            ),
            "replaced_token_accuracy": (total(counted & (replaced == found)), total(counted)),
            "replaced_share": (total(replaced), total(counted)),
            "replaced_precision": (total(replaced & found), total(found)),
            "replaced_recall": (total(replaced & found), total(replaced)),
        }

    def metrics(self, means: dict[str, float], rows: Mapping[str, Any]) -> dict[str, float]:
        """The means, and the perplexity of the generator."""
        return means | {"perplexity": perplexity(means["masked_lm_loss"])}

    def _is_text(self, input_ids: Array, batch: Batch) -> Array:
        """True for tokens that are judged; [MASK] is no special token here."""
        is_special = jnp.isin(input_ids, jnp.asarray(self.special_ids))
        return real_tokens(batch) & ~is_special
