"""The model card: a README.md that says what a model is and how it came about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from jaxbert.families import family_of
from jaxbert.hub.markdown import table
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import Head

PIPELINES = {
    "masked_lm": "fill-mask",
    "sequence_classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
    "multiple_choice": "multiple-choice",
}


@dataclass(frozen=True)
class Card:
    """What only the person or the run that made a model can say about it."""

    name: str
    description: str = ""
    language: tuple[str, ...] = ()
    """ISO 639 codes."""
    license: str = ""
    """The Hub's identifier, such as "apache-2.0"."""
    base_model: str = ""
    datasets: tuple[str, ...] = ()
    """Names on the Hub; other data is told in `data`."""
    data: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    """The configuration of the run."""
    metrics: Mapping[str, float] = field(default_factory=dict)


def render(card: Card, config: EncoderConfig, head: Head, *, library: str = "transformers") -> str:
    """The card as Markdown with the YAML front matter that the Hub reads.

    `library` is the one that opens the files, which is what the Hub's snippets are made from.
    """
    fields = {"library_name": library, **_front_matter(card, head)}
    front = {key: value for key, value in fields.items() if value}
    matter = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{matter}---",
        f"# {card.name}",
        card.description,
        f"## Architecture\n\n{_architecture(config, head)}",
        f"## Data\n\n{card.data}" if card.data else "",
        f"## Results\n\n{table(('metric', 'value'), card.metrics.items())}" if card.metrics else "",
        f"## Training\n\n{table(('option', 'value'), _flat(card.training).items())}"
        if card.training
        else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(card: Card, head: Head) -> dict[str, Any]:
    return {
        "pipeline_tag": PIPELINES.get(head.kind),
        "language": list(card.language),
        "license": card.license,
        "base_model": card.base_model,
        "datasets": list(card.datasets),
        "metrics": [name for name in card.metrics if name.isidentifier()],
        "tags": ["jaxbert"],
    }


def _architecture(config: EncoderConfig, head: Head) -> str:
    name = family_of(config.model_type).architecture(head.kind) or config.model_type
    text = (
        f"`{name}` with {config.num_hidden_layers} layers, hidden size "
        f"{config.hidden_size}, {config.num_attention_heads} attention heads, a vocabulary of "
        f"{config.vocab_size:,} and at most {longest_input(config)} tokens."
    )
    if head.pooling is not None:
        text += f" Its head pools by `{head.pooling}`."
    if head.mixture is not None:
        text += f" Its head reads the last {head.mixture.num_layers} layers, {head.mixture.how}."
    if head.labels:
        text += f" Labels: {', '.join(f'`{label}`' for label in head.labels)}."
    return text


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{prefix}{key}.")
        else:
            rows[prefix + key] = value
    return rows
