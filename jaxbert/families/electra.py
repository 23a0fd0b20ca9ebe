"""ELECTRA (Clark et al. 2020): BERT with embeddings of their own width and without pooler."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.families.bert import FIELDS, canonical_key, classifier_dropout, encoder_weights
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
from jaxbert.nn.parts import Activation, HeadStyle, HeadStyles

PREFIX = "electra."
WORDS = f"{PREFIX}embeddings.word_embeddings.weight"

ARCHITECTURES: dict[str, HeadKind] = {
    "ElectraModel": "none",
    "ElectraForPreTraining": "replaced_token_detection",
    "ElectraForMaskedLM": "masked_lm",
    "ElectraForSequenceClassification": "sequence_classification",
    "ElectraForTokenClassification": "token_classification",
    "ElectraForQuestionAnswering": "question_answering",
    "ElectraForMultipleChoice": "multiple_choice",
}

SUMMARY = {"summary_type": "first", "summary_use_proj": True}
"""How multiple choice makes one vector of a row: what is implemented."""

OTHER_MATHEMATICS = {
    **SUMMARY,
    "summary_first_dropout": 0.0,
    "summary_proj_to_labels": False,
    "position_embedding_type": "absolute",
}
"""Fields with the one value that is implemented."""


def head_styles(
    dropout: float | None = None, summary: Activation = "gelu", summary_dropout: float = 0.1
) -> HeadStyles:
    """ELECTRA's heads, with config.json's classifier_dropout.

    Multiple choice goes by summary_activation and summary_last_dropout. The GELU of the other
    heads does not follow the encoder's activation, that of the discriminator does.
    """
    return HeadStyles(
        pooler=None,
        sequence_classification=HeadStyle("gelu", dense_dropout=None, dropout=dropout),
        multiple_choice=HeadStyle(summary, dropout=summary_dropout),
        token_classification=HeadStyle(dropout=dropout),
        masked_lm=HeadStyle("gelu", norm=True, dropout=0.0),
    )


SMALL = EncoderConfig(
    model_type="electra",
    embedding_size=128,
    hidden_size=256,
    num_attention_heads=4,
    intermediate_size=1024,
    heads=head_styles(),
)
"""Also what config.json leaves out."""

BASE = replace(
    SMALL, embedding_size=768, hidden_size=768, num_attention_heads=12, intermediate_size=3072
)
LARGE = replace(
    SMALL,
    embedding_size=1024,
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
)

PRESETS = {
    "electra-small-discriminator": SMALL,
    "electra-base-discriminator": BASE,
    "electra-large-discriminator": LARGE,
    # As published. The paper's small generator is a quarter as wide as its discriminator.
    "electra-small-generator": SMALL,
    "electra-base-generator": replace(SMALL, embedding_size=768),
    "electra-large-generator": replace(SMALL, embedding_size=1024, num_hidden_layers=24),
}


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is that of small.

    Raises UserError for a field that asks for something else than ELECTRA's mathematics.
    """
    refuse_other_mathematics(hf, "electra", OTHER_MATHEMATICS)
    names = [*FIELDS, "embedding_size"]
    if hf.get("pad_token_id") is not None:
        names.append("pad_token_id")
    last = rate(hf, "summary_last_dropout")
    return replace(
        SMALL,
        **read_fields(hf, {name: name for name in names}),
        hidden_act=activation(hf, "hidden_act", "gelu"),
        heads=head_styles(
            rate(hf, "classifier_dropout"),
            activation(hf, "summary_activation", "gelu"),
            0.1 if last is None else last,
        ),
    )


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of ELECTRA's config.json."""
    summary, own = config.heads.multiple_choice, head.classifier_dropout
    is_choice = head.kind == "multiple_choice"
    return {
        **write_fields(config, FIELDS),
        **SUMMARY,
        "embedding_size": config.embedding_width,
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "classifier_dropout": classifier_dropout(config, head),
        "summary_activation": summary.activation,
        "summary_last_dropout": own if is_choice and own is not None else summary.dropout,
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """ELECTRA's table of names. Of all classes, ElectraModel alone is saved unprefixed."""
    prefix = "" if head.kind == "none" else PREFIX
    table = list(encoder_weights(config, prefix))
    if config.projects_embeddings:
        table += dense("encoder/embeddings/projection", f"{prefix}embeddings_project")
    return (*table, *_head_weights(config, head))


def _head_weights(config: EncoderConfig, head: Head) -> Iterator[Weight]:
    if head.kind == "replaced_token_detection":
        yield from dense("projection/dense", "discriminator_predictions.dense")
        yield from dense("classifier/dense", "discriminator_predictions.dense_prediction")
    elif head.kind == "masked_lm":
        yield from dense("masked_lm/dense", "generator_predictions.dense")
        yield from norm("masked_lm/norm", "generator_predictions.LayerNorm")
        yield Weight("masked_lm/bias", "generator_lm_head.bias", "pad_vocab")
        if not config.tie_word_embeddings:
            yield Weight("masked_lm/decoder", "generator_lm_head.weight", "pad_vocab")
    elif head.kind == "sequence_classification":
        yield from dense("pooler/dense", "classifier.dense")
        yield from dense("classifier/dense", "classifier.out_proj")
    elif head.num_outputs:
        if head.kind == "multiple_choice":
            yield from dense("pooler/dense", "sequence_summary.summary")
        yield from dense("classifier/dense", classifier_key(head))


def _tied(config: EncoderConfig) -> Mapping[str, str]:
    return {"generator_lm_head.weight": WORDS} if config.tie_word_embeddings else {}


ELECTRA = Family(
    model_type="electra",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=partial(
        canonical_key, prefix=PREFIX, bare=("embeddings.", "embeddings_project.", "encoder.")
    ),
    tied=_tied,
    buffers=frozenset({f"{PREFIX}embeddings.position_ids", f"{PREFIX}embeddings.token_type_ids"}),
    head_prefixes=(
        "discriminator_predictions.",
        "generator_predictions.",
        "generator_lm_head.",
        "sequence_summary.",
        "classifier.",
        "qa_outputs.",
    ),
)
