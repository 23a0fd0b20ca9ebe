"""ALBERT (Lan et al. 2019): narrow embeddings, and layers that share their parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.families.bert import (
    FIELDS,
    canonical_key,
    classifier_dropout,
    embedding_weights,
    tied_vocabulary,
    vocabulary_weights,
)
from jaxbert.families.family import Family
from jaxbert.families.fields import (
    activation,
    rate,
    read_fields,
    refuse_other_mathematics,
    write_fields,
)
from jaxbert.families.weight import Weight, classifier_key, dense, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.parts import HeadStyle, HeadStyles

PREFIX = "albert."
WORDS = f"{PREFIX}embeddings.word_embeddings.weight"

ARCHITECTURES: dict[str, HeadKind] = {
    "AlbertModel": "none",
    "AlbertForPreTraining": "pretraining",
    "AlbertForMaskedLM": "masked_lm",
    "AlbertForSequenceClassification": "sequence_classification",
    "AlbertForTokenClassification": "token_classification",
    "AlbertForQuestionAnswering": "question_answering",
    "AlbertForMultipleChoice": "multiple_choice",
}

OTHER_MATHEMATICS = {
    "position_embedding_type": "absolute",
    "inner_group_num": 1,
    # Of the original code. transformers, which reads none of them, has these values.
    "net_structure_type": 0,
    "gap_size": 0,
    "num_memory_blocks": 0,
    "down_scale_factor": 1,
}
"""Fields with the one value that is implemented."""


def head_styles(dropout: float = 0.1) -> HeadStyles:
    """ALBERT's heads; `dropout` is config.json's classifier_dropout_prob."""
    pooled = HeadStyle("tanh", dropout=dropout)
    return HeadStyles(
        next_sentence=pooled,
        sequence_classification=pooled,
        multiple_choice=pooled,
        token_classification=HeadStyle(dropout=dropout),
    )


XXLARGE = EncoderConfig(
    model_type="albert",
    vocab_size=30000,
    hidden_size=4096,
    num_attention_heads=64,
    intermediate_size=16384,
    hidden_act="gelu_new",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    embedding_size=128,
    always_projects_embeddings=True,
    num_hidden_groups=1,
    heads=head_styles(),
)
"""Also what config.json leaves out."""


def _size(layers: int, hidden: int, heads: int) -> EncoderConfig:
    return replace(
        XXLARGE,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )


def _version_1(config: EncoderConfig, dropout: float = 0.1) -> EncoderConfig:
    return replace(
        config,
        hidden_act="gelu",
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )


BASE, LARGE, XLARGE = _size(12, 768, 12), _size(24, 1024, 16), _size(24, 2048, 16)

PRESETS = {
    "albert-base-v1": _version_1(BASE),
    "albert-large-v1": _version_1(LARGE),
    "albert-xlarge-v1": _version_1(XLARGE),
    # The paper's section 4.9: without dropout from the start.
    "albert-xxlarge-v1": _version_1(XXLARGE, 0.0),
    "albert-base-v2": BASE,
    "albert-large-v2": LARGE,
    "albert-xlarge-v2": XLARGE,
    "albert-xxlarge-v2": XXLARGE,
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is that of xxlarge.

    Raises UserError for a field that asks for something else than ALBERT's mathematics.
    """
    refuse_other_mathematics(hf, "albert", OTHER_MATHEMATICS)
    names = [*FIELDS, "embedding_size", "num_hidden_groups"]
    if hf.get("pad_token_id") is not None:
        names.append("pad_token_id")
    dropout = rate(hf, "classifier_dropout_prob")
    return replace(
        XXLARGE,
        **read_fields(hf, {name: name for name in names}),
        hidden_act=activation(hf, "hidden_act", "gelu_new"),
        heads=head_styles() if dropout is None else head_styles(dropout),
    )


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of ALBERT's config.json."""
    return {
        **write_fields(config, FIELDS),
        "embedding_size": config.embedding_width,
        "num_hidden_groups": config.num_stored_layers,
        "inner_group_num": 1,
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "classifier_dropout_prob": classifier_dropout(config, head),
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """ALBERT's table of names. Of all classes, AlbertModel alone saves the encoder unprefixed."""
    prefix = "" if head.kind == "none" else PREFIX
    table = [*embedding_weights(prefix), *_layer_weights(config, f"{prefix}encoder")]
    if head.kind not in ("masked_lm", "token_classification", "question_answering"):
        table += dense("pooler/dense", f"{prefix}pooler")
    if head.has_masked_lm:
        table += dense("masked_lm/dense", "predictions.dense")
        table += norm("masked_lm/norm", "predictions.LayerNorm")
        table += vocabulary_weights(config, "predictions")
    if head.has_next_sentence:
        table += dense("next_sentence/dense", "sop_classifier.classifier")
    if head.num_outputs:
        table += dense("classifier/dense", classifier_key(head))
    return tuple(table)


def _layer_weights(config: EncoderConfig, encoder: str) -> Iterator[Weight]:
    """The projection of the embeddings and one layer for every group."""
    yield from dense("encoder/embeddings/projection", f"{encoder}.embedding_hidden_mapping_in")
    for group in range(config.num_stored_layers):
        ours = f"encoder/layers/{group}"
        theirs = f"{encoder}.albert_layer_groups.{group}.albert_layers.0"
        for name in ("query", "key", "value"):
            yield from dense(f"{ours}/attention/{name}", f"{theirs}.attention.{name}")
        yield from dense(f"{ours}/attention/output", f"{theirs}.attention.dense")
        yield from norm(f"{ours}/attention_norm", f"{theirs}.attention.LayerNorm")
        yield from dense(f"{ours}/mlp/up", f"{theirs}.ffn")
        yield from dense(f"{ours}/mlp/down", f"{theirs}.ffn_output")
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.full_layer_layer_norm")


ALBERT = Family(
    model_type="albert",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=partial(canonical_key, prefix=PREFIX),
    tied=lambda config: tied_vocabulary(config, "predictions", WORDS),
    buffers=frozenset({f"{PREFIX}embeddings.position_ids", f"{PREFIX}embeddings.token_type_ids"}),
    token_ids=("bos_token_id", "eos_token_id"),
    head_prefixes=(
        f"{PREFIX}pooler.",
        "predictions.",
        "sop_classifier.",
        "classifier.",
        "qa_outputs.",
    ),
    sentence_pairs="sentence_order",
)
