"""RoBERTa (Liu et al. 2019), and XLM-R and CamemBERT: RoBERTa with other vocabularies."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jaxbert.families.bert import (
    FIELDS,
    POST_NORM,
    NormKeys,
    canonical_key,
    config_to_hf,
    encoder_weights,
    tied_vocabulary,
    vocabulary_weights,
)
from jaxbert.families.family import Family
from jaxbert.families.fields import (
    activation,
    rate,
    read_fields,
    refuse_other_mathematics,
)
from jaxbert.families.weight import Weight, classifier_key, dense, norm
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.parts import HeadStyle, HeadStyles

PREFIX = "roberta."

ARCHITECTURES: dict[str, HeadKind] = {
    "Model": "none",
    "ForMaskedLM": "masked_lm",
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
    "ForMultipleChoice": "multiple_choice",
}
"""What follows the name of the family in its classes."""


def head_styles(dropout: float | None = None) -> HeadStyles:
    """RoBERTa's heads; `dropout` is config.json's classifier_dropout.

    The masked LM's activation is GELU whatever the encoder's is, and multiple choice goes by the
    encoder's dropout, as in transformers.
    """
    return HeadStyles(
        sequence_classification=HeadStyle("tanh", dense_dropout=None, dropout=dropout),
        token_classification=HeadStyle(dropout=dropout),
        masked_lm=HeadStyle("gelu", norm=True, dropout=0.0),
    )


DEFAULTS = EncoderConfig(
    model_type="roberta",
    vocab_size=50265,
    pad_token_id=1,
    position_embedding_type="after_padding",
    heads=head_styles(),
)
"""What config.json leaves out; the published models state their own positions, types and eps."""

BASE = replace(DEFAULTS, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
LARGE = replace(
    BASE, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)


def config_from_hf(defaults: EncoderConfig, hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is that of `defaults`.

    Raises UserError for a field that asks for something else than RoBERTa's mathematics.
    """
    fixed = {"position_embedding_type": "absolute"}
    refuse_other_mathematics(hf, defaults.model_type, fixed)
    return replace(
        defaults,
        **read_fields(hf, FIELDS | {"pad_token_id": "pad_token_id"}),
        hidden_act=activation(hf, "hidden_act", "gelu"),
        heads=head_styles(rate(hf, "classifier_dropout")),
    )


def weights(
    config: EncoderConfig, head: Head, *, prefix: str = PREFIX, norms: NormKeys = POST_NORM
) -> tuple[Weight, ...]:
    """RoBERTa's table of names. Of all classes, the plain encoder alone is saved unprefixed."""
    prefix = "" if head.kind == "none" else prefix
    return (*encoder_weights(config, prefix, norms), *head_weights(config, head, prefix))


def head_weights(config: EncoderConfig, head: Head, prefix: str) -> Iterator[Weight]:
    """Rows of every head; `prefix` is the encoder's, which has the pooler."""
    if head.kind == "sequence_classification":
        yield from dense("pooler/dense", "classifier.dense")
        yield from dense("classifier/dense", "classifier.out_proj")
        return
    if head.kind in ("none", "multiple_choice"):
        yield from dense("pooler/dense", f"{prefix}pooler.dense")
    if head.has_masked_lm:
        yield from dense("masked_lm/dense", "lm_head.dense")
        yield from norm("masked_lm/norm", "lm_head.layer_norm")
        yield from vocabulary_weights(config, "lm_head")
    if head.num_outputs:
        yield from dense("classifier/dense", classifier_key(head))


def family(
    name: str,
    defaults: EncoderConfig,
    presets: Mapping[str, EncoderConfig],
    *,
    prefix: str = PREFIX,
    norms: NormKeys = POST_NORM,
) -> Family:
    """RoBERTa under the name that a family's classes begin with.

    `prefix` and `norms`: what files call the encoder and its norms.
    """
    bare = ["embeddings.", "encoder.", "pooler."]
    bare += [] if norms.final is None else [f"{norms.final}."]
    return Family(
        model_type=defaults.model_type,
        presets=presets,
        architectures={f"{name}{rest}": kind for rest, kind in ARCHITECTURES.items()},
        config_from_hf=partial(config_from_hf, defaults),
        config_to_hf=config_to_hf,
        weights=partial(weights, prefix=prefix, norms=norms),
        canonical_key=partial(canonical_key, prefix=prefix, bare=tuple(bare)),
        tied=lambda config: tied_vocabulary(
            config, "lm_head", f"{prefix}embeddings.word_embeddings.weight"
        ),
        buffers=frozenset(
            f"{prefix}embeddings.{name}" for name in ("position_ids", "token_type_ids")
        ),
        token_ids=("bos_token_id", "eos_token_id"),
        head_prefixes=(f"{prefix}pooler.", "lm_head.", "classifier.", "qa_outputs."),
    )


ROBERTA = family(
    "Roberta",
    DEFAULTS,
    {
        "roberta-base": BASE,
        "roberta-large": LARGE,
        # Sanh et al. 2019: every second layer of base.
        "distilroberta-base": replace(BASE, num_hidden_layers=6),
    },
)
# Conneau et al. 2019.
XLM_ROBERTA = family(
    "XLMRoberta",
    replace(DEFAULTS, model_type="xlm-roberta", vocab_size=30522),
    {
        "xlm-roberta-base": replace(BASE, model_type="xlm-roberta", vocab_size=250002),
        "xlm-roberta-large": replace(LARGE, model_type="xlm-roberta", vocab_size=250002),
    },
)
# Martin et al. 2019.
CAMEMBERT = family(
    "Camembert",
    replace(DEFAULTS, model_type="camembert", vocab_size=30522),
    {"camembert-base": replace(BASE, model_type="camembert", vocab_size=32005)},
)
