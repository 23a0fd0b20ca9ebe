"""The dropout of a run, where it is not that of the model."""

from dataclasses import dataclass, fields, replace
from typing import Annotated

from annotated_types import Ge, Lt

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import dropped_of_256
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA
from jaxbert.nn.model import head_dropout

Rate = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class DropoutConfig:
    """Rates by site; null: the model's. A classifier's own is `task.classifier_dropout`."""

    hidden: Rate | None = None
    """Wherever no other site says otherwise: embeddings, outputs of blocks, heads."""
    attention: Rate | None = None
    """Of attention weights; kernels that never hold these need 0."""
    embeddings: Rate | None = None
    """Of the embeddings."""
    attention_output: Rate | None = None
    """After the output projection of attention."""
    mlp: Rate | None = None
    """Between the two products of the feed-forward network."""
    mlp_output: Rate | None = None
    """After its second product."""


_FIELDS = {
    "hidden": "hidden_dropout_prob",
    "attention": "attention_probs_dropout_prob",
    "embeddings": "embedding_dropout_prob",
    "attention_output": "attention_output_dropout_prob",
    "mlp": "mlp_dropout_prob",
    "mlp_output": "mlp_output_dropout_prob",
}


def with_dropout(encoder: EncoderConfig, dropout: DropoutConfig) -> EncoderConfig:
    """The encoder to train with. What is exported keeps the rates that the model came with.

    They belong to the run, whose config.yaml has them, and not every family's config.json has a
    place for every site.
    """
    rates = {_FIELDS[site.name]: getattr(dropout, site.name) for site in fields(dropout)}
    return replace(encoder, **{name: rate for name, rate in rates.items() if rate is not None})


def drops_out(encoder: EncoderConfig, head: Head, lora: LoRA | None = None) -> bool:
    """Whether a model that is called with a key leaves anything out."""
    rates = [getattr(encoder, name) for name in _FIELDS.values()]
    # Heads that have no classifier drop nothing before it.
    rates += head_dropout(encoder, head) if head.num_outputs else ()
    rates += () if lora is None else (lora.dropout,)
    return any(dropped_of_256(rate) for rate in rates if rate is not None)
