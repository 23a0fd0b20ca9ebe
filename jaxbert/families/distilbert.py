"""DistilBERT (Sanh et al. 2019): BERT without sentence types and pooler, in half the layers."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.families.bert import canonical_key
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

PREFIX = "distilbert."
WORDS = f"{PREFIX}embeddings.word_embeddings.weight"

ARCHITECTURES: dict[str, HeadKind] = {
    "DistilBertModel": "none",
    "DistilBertForMaskedLM": "masked_lm",
    "DistilBertForSequenceClassification": "sequence_classification",
    "DistilBertForTokenClassification": "token_classification",
    "DistilBertForQuestionAnswering": "question_answering",
    "DistilBertForMultipleChoice": "multiple_choice",
}

FIELDS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "hidden_size": "dim",
    "intermediate_size": "hidden_dim",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "initializer_range": "initializer_range",
    "tie_word_embeddings": "tie_word_embeddings",
}

RENAMED = {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}
"""Names of other families by which transformers reads DistilBERT's fields too, and first."""


CLASSIFIER_DROPOUT, SPANS_DROPOUT = 0.2, 0.1


def head_styles(
    classification: float = CLASSIFIER_DROPOUT, spans: float = SPANS_DROPOUT
) -> HeadStyles:
    """DistilBERT's heads, with config.json's seq_classif_dropout and qa_dropout."""
    classifier = HeadStyle("relu", dropout=classification)
    return HeadStyles(
        pooler=None,
        sequence_classification=classifier,
        multiple_choice=classifier,
        question_answering=HeadStyle(dropout=spans),
    )


BASE = EncoderConfig(
    model_type="distilbert",
    num_hidden_layers=6,
    type_vocab_size=0,
    attention_output_dropout_prob=0.0,
    heads=head_styles(),
)
"""Also what config.json leaves out."""

PRESETS = {
    "distilbert-base-uncased": BASE,
    "distilbert-base-cased": replace(BASE, vocab_size=28996),
    "distilbert-base-multilingual-cased": replace(BASE, vocab_size=119547),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is DistilBERT's own.

    sinusoidal_pos_embds says how the positions were initialised: a file holds them either way.
    Raises UserError for a field that asks for something else than DistilBERT's mathematics.
    """
    refuse_other_mathematics(hf, "distilbert", {})
    hf = {**hf, **{own: hf[other] for other, own in RENAMED.items() if other in hf}}
    fields = read_fields(hf, FIELDS)
    if hf.get("pad_token_id") is not None:
        fields |= read_fields(hf, {"pad_token_id": "pad_token_id"})
    classification, spans = rate(hf, "seq_classif_dropout"), rate(hf, "qa_dropout")
    heads = head_styles(
        CLASSIFIER_DROPOUT if classification is None else classification,
        SPANS_DROPOUT if spans is None else spans,
    )
    return replace(BASE, **fields, hidden_act=activation(hf, "activation", "gelu"), heads=heads)


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of DistilBERT's config.json. Token classification goes by `dropout` alone."""
    styles, own = config.heads, head.classifier_dropout
    is_spans = head.kind == "question_answering"
    has_classifier = head.kind in ("sequence_classification", "multiple_choice")
    return {
        **write_fields(config, FIELDS),
        "activation": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "seq_classif_dropout": (
            own if has_classifier and own is not None else styles.sequence_classification.dropout
        ),
        "qa_dropout": own if is_spans and own is not None else styles.question_answering.dropout,
        "sinusoidal_pos_embds": False,
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """DistilBERT's table of names. Of all classes, DistilBertModel alone is saved unprefixed."""
    prefix = "" if head.kind == "none" else PREFIX
    return (*_encoder_weights(config, prefix), *_head_weights(config, head))


def _encoder_weights(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    ours, theirs = "encoder/embeddings", f"{prefix}embeddings"
    yield Weight(f"{ours}/word/embedding", f"{theirs}.word_embeddings.weight", "pad_vocab")
    yield Weight(f"{ours}/position/embedding", f"{theirs}.position_embeddings.weight")
    yield from norm(f"{ours}/norm", f"{theirs}.LayerNorm")
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}transformer.layer.{index}"
        for name in ("query", "key", "value"):
            yield from dense(f"{ours}/attention/{name}", f"{theirs}.attention.{name[0]}_lin")
        yield from dense(f"{ours}/attention/output", f"{theirs}.attention.out_lin")
        yield from norm(f"{ours}/attention_norm", f"{theirs}.sa_layer_norm")
        yield from dense(f"{ours}/mlp/up", f"{theirs}.ffn.lin1")
        yield from dense(f"{ours}/mlp/down", f"{theirs}.ffn.lin2")
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.output_layer_norm")


def _head_weights(config: EncoderConfig, head: Head) -> Iterator[Weight]:
    if head.kind in ("sequence_classification", "multiple_choice"):
        yield from dense("pooler/dense", "pre_classifier")
    if head.has_masked_lm:
        yield from dense("masked_lm/dense", "vocab_transform")
        yield from norm("masked_lm/norm", "vocab_layer_norm")
        yield Weight("masked_lm/bias", "vocab_projector.bias", "pad_vocab")
        if not config.tie_word_embeddings:
            yield Weight("masked_lm/decoder", "vocab_projector.weight", "pad_vocab")
    if head.num_outputs:
        yield from dense("classifier/dense", classifier_key(head))


DISTILBERT = Family(
    model_type="distilbert",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=partial(canonical_key, prefix=PREFIX, bare=("embeddings.", "transformer.")),
    tied=lambda config: {"vocab_projector.weight": WORDS} if config.tie_word_embeddings else {},
    buffers=frozenset({f"{PREFIX}embeddings.position_ids"}),
    head_prefixes=("vocab_", "pre_classifier.", "classifier.", "qa_outputs."),
)
