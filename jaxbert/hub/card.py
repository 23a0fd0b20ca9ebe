"""The model card: a README.md that says what a model is and how it came about."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jaxbert.errors import UserError
from jaxbert.families import family_of
from jaxbert.families.family import as_filed
from jaxbert.hub.markdown import code, table
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.head import Head

FILE = "README.md"
CARRIED = ("language", "license", "license_name", "license_link", "base_model", "datasets")
"""Keys of the front matter that hold as well of what is made of a model without training it."""
_LISTED = 100
"""Labels that a card names."""
_NOTHING: tuple[Any, ...] = ("", "null", "~", [])
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
    carried: Mapping[str, Any] = field(default_factory=dict)
    """What the card of the model that this one was made of says, by the keys of its front matter;
    what is told above goes before it."""


def read_carried(directory: Path) -> dict[str, Any]:
    """The `CARRIED` keys of a model directory's card, as they stand there; {} without a card.

    Raises UserError where its front matter cannot be read: a licence is not to be lost.
    """
    file = directory / FILE
    if not file.is_file():
        return {}
    try:
        text = file.read_text("utf-8-sig").lstrip()
        matter = text.removeprefix("---\n").partition("\n---")[0]
        # Texts alone, as they stand there: YAML takes the language `no` for false.
        found = yaml.load(matter, yaml.BaseLoader) if text.startswith("---\n") else None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file}: its front matter is not YAML ({reason}): correct it, or take a copy of the "
            "directory without it"
        ) from None
    values = found if isinstance(found, Mapping) else {}
    return {key: values[key] for key in CARRIED if values.get(key) not in (None, *_NOTHING)}


def render(
    card: Card,
    config: EncoderConfig,
    head: Head,
    *,
    library: str = "transformers",
    own: Collection[str] = (),
) -> str:
    """The card as Markdown with the YAML front matter that the Hub reads.

    `library` is the one that opens the files, which is what the Hub's snippets are made from.
    `own`: options that the family has no words for, so that it is no class of transformers.
    """
    fields = {"library_name": library, **_front_matter(card, head)}
    front = {key: value for key, value in fields.items() if value}
    matter = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{matter}---",
        f"# {card.name}",
        card.description,
        f"## Architecture\n\n{_architecture(config, head, own)}",
        f"## Data\n\n{card.data}" if card.data else "",
        f"## Results\n\n{table(('metric', 'value'), card.metrics.items())}" if card.metrics else "",
        f"## Training\n\n{table(('option', 'value'), _flat(card.training).items())}"
        if card.training
        else "",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(card: Card, head: Head) -> dict[str, Any]:
    told: dict[str, Any] = {
        "language": list(card.language),
        "license": card.license,
        "base_model": card.base_model,
        "datasets": list(card.datasets),
    }
    own = {key: value for key, value in told.items() if value}
    if card.license:
        # The name and the address of a licence belong to the one that was carried.
        own |= {"license_name": None, "license_link": None}
    merged = {**card.carried, **own}
    return {
        "pipeline_tag": PIPELINES.get(head.kind) if head.splade is None else "feature-extraction",
        **{key: merged.get(key) for key in CARRIED},
        "metrics": [name for name in card.metrics if name.isidentifier()],
        "tags": ["jaxbert"],
    }


def _architecture(config: EncoderConfig, head: Head, own: Collection[str]) -> str:
    name = None if own else family_of(config.model_type).architecture(as_filed(head).kind)
    name = name or config.model_type
    text = (
        f"`{name}` with {config.num_hidden_layers} layers, hidden size "
        f"{config.hidden_size}, {config.num_attention_heads} attention heads, a vocabulary of "
        f"{config.vocab_size:,} and at most {longest_input(config)} tokens."
    )
    if own:
        text += f" Of its own are {', '.join(map(code, own))}, as config.json has them."
    if head.pooling is not None:
        text += f" Its head pools by `{head.pooling}`."
    if head.splade is not None:
        text += f" Its logits are pooled by `{head.splade.pooling}` (SPLADE)."
    elif head.kind == "late_interaction":
        size = head.vector_size(config.hidden_size)
        text += f" It makes a vector of {size} components of every token, for late interaction."
    elif head.dense is not None:
        text += f" Behind that a dense layer makes {head.dense.dimensions} components."
    if head.mixture is not None:
        text += f" Its head reads the last {head.mixture.num_layers} layers, {head.mixture.how}."
    if head.labels:
        listed = ", ".join(map(code, head.labels[:_LISTED]))
        more = len(head.labels) - _LISTED
        text += f" Labels: {listed}{f' and {more:,} more, in config.json' if more > 0 else ''}."
    return text


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{prefix}{key}.")
        else:
            rows[prefix + key] = value
    return rows
