"""ERNIE (Sun et al. 2019, 2020, 2021): BERT, and where config.json says so with embedded tasks."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.families.bert import (
    BERT,
    FIELDS,
    canonical_key,
    config_to_hf,
    tied_vocabulary,
    with_classifier_dropout,
)
from jaxbert.families.bert import weights as bert_weights
from jaxbert.families.fields import (
    activation,
    flag,
    number,
    padding_of,
    rate,
    read_fields,
    refuse_other_mathematics,
)
from jaxbert.families.weight import Weight
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head

PREFIX = "ernie."
_TASKS = 3

DEFAULTS = EncoderConfig(model_type="ernie")
"""What config.json leaves out."""

FIRST = replace(
    DEFAULTS,
    vocab_size=18000,
    hidden_act="relu",
    max_position_embeddings=513,
    layer_norm_eps=1e-5,
)
THIRD = replace(
    DEFAULTS,
    vocab_size=40000,
    max_position_embeddings=2048,
    type_vocab_size=4,
    task_type_vocab_size=_TASKS,
    layer_norm_eps=1e-5,
)
PRESETS = {
    "ernie-1.0-base-zh": FIRST,
    "ernie-2.0-base-en": replace(DEFAULTS, type_vocab_size=4, layer_norm_eps=1e-5),
    "ernie-3.0-base-zh": THIRD,
    "ernie-3.0-medium-zh": replace(THIRD, num_hidden_layers=6, task_type_vocab_size=16),
    "ernie-3.0-nano-zh": replace(
        THIRD,
        hidden_size=312,
        num_hidden_layers=4,
        intermediate_size=1248,
        task_type_vocab_size=16,
    ),
    "ernie-3.0-xbase-zh": replace(
        THIRD,
        hidden_size=1024,
        num_hidden_layers=20,
        num_attention_heads=16,
        intermediate_size=4096,
        task_type_vocab_size=16,
    ),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is `DEFAULTS`.

    Raises UserError for a field that asks for something else than ERNIE's mathematics.
    """
    refuse_other_mathematics(hf, "ernie", {"position_embedding_type": "absolute"})
    name = "task_type_vocab_size"
    tasks = int(number(name, hf.get(name, _TASKS), whole=True))
    return replace(
        DEFAULTS,
        **(read_fields(hf, FIELDS) | padding_of(hf)),
        task_type_vocab_size=tasks if flag("use_task_id", hf.get("use_task_id", False)) else 0,
        hidden_act=activation(hf, "hidden_act", "gelu"),
        heads=with_classifier_dropout(DEFAULTS.heads, rate(hf, "classifier_dropout")),
    )


def _config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of ERNIE's config.json."""
    tasks = config.task_type_vocab_size
    return {
        **config_to_hf(config, head),
        "use_task_id": tasks > 0,
        "task_type_vocab_size": tasks or _TASKS,
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """BERT's table of names with another prefix, and the tasks."""
    table = bert_weights(config, head, prefix=PREFIX)
    if not config.task_type_vocab_size:
        return table
    prefix = "" if head.kind == "none" else PREFIX
    key = f"{prefix}embeddings.task_type_embeddings.weight"
    return (*table, Weight("encoder/embeddings/task_type/embedding", key))


ERNIE = replace(
    BERT,
    model_type="ernie",
    presets=PRESETS,
    architectures={
        name.replace("Bert", "Ernie"): kind for name, kind in BERT.architectures.items()
    },
    config_from_hf=config_from_hf,
    config_to_hf=_config_to_hf,
    weights=weights,
    canonical_key=partial(canonical_key, prefix=PREFIX),
    tied=lambda config: tied_vocabulary(
        config, "cls.predictions", f"{PREFIX}embeddings.word_embeddings.weight"
    ),
    buffers=frozenset(f"{PREFIX}embeddings.{name}" for name in ("position_ids", "token_type_ids")),
    head_prefixes=(f"{PREFIX}pooler.", "cls.", "classifier.", "qa_outputs."),
)
