"""BERT (Devlin et al. 2018) and the models that are BERT in other sizes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

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
from jaxbert.nn.parts import HeadStyles

PREFIX = "bert."


def _size(layers: int, hidden: int, heads: int, vocab_size: int = 30522) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )


PRESETS = {
    # Turc et al. 2019.
    "bert-tiny": _size(2, 128, 2),
    "bert-mini": _size(4, 256, 4),
    "bert-small": _size(4, 512, 8),
    "bert-medium": _size(8, 512, 8),
    "bert-base-uncased": _size(12, 768, 12),
    "bert-base-cased": _size(12, 768, 12, 28996),
    "bert-base-chinese": _size(12, 768, 12, 21128),
    "bert-base-multilingual-uncased": _size(12, 768, 12, 105879),
    "bert-base-multilingual-cased": _size(12, 768, 12, 119547),
    "bert-large-uncased": _size(24, 1024, 16),
    "bert-large-cased": _size(24, 1024, 16, 28996),
    # Whole-word masking is a way of training: the architecture is that of large.
    "bert-large-uncased-whole-word-masking": _size(24, 1024, 16),
    "bert-large-cased-whole-word-masking": _size(24, 1024, 16, 28996),
    # Wang et al. 2020: heads of 32.
    "minilm-l6-h384-uncased": _size(6, 384, 12),
    "minilm-l12-h384-uncased": _size(12, 384, 12),
    # Jiao et al. 2020: the small one has heads of 26 and its own feed-forward width.
    "tinybert-4l-312d": replace(_size(4, 312, 12), intermediate_size=1200),
    "tinybert-6l-768d": _size(6, 768, 12),
}
# The bare name of a size means the English uncased vocabulary, as in the smaller models.
PRESETS |= {"bert-base": PRESETS["bert-base-uncased"], "bert-large": PRESETS["bert-large-uncased"]}

ARCHITECTURES: dict[str, HeadKind] = {
    "BertModel": "none",
    "BertForPreTraining": "pretraining",
    "BertForMaskedLM": "masked_lm",
    "BertForNextSentencePrediction": "next_sentence",
    "BertForSequenceClassification": "sequence_classification",
    "BertForTokenClassification": "token_classification",
    "BertForQuestionAnswering": "question_answering",
    "BertForMultipleChoice": "multiple_choice",
}

FIELDS = {
    name: name
    for name in (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "type_vocab_size",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "initializer_range",
        "layer_norm_eps",
        "tie_word_embeddings",
    )
}
"""Fields that are named alike here and in the config.json of BERT and its like."""


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is BERT-base's.

    Raises UserError for a field that asks for something else than BERT's mathematics.
    """
    refuse_other_mathematics(hf, "bert", {"position_embedding_type": "absolute"})
    fields = read_fields(hf, FIELDS)
    if hf.get("pad_token_id") is not None:
        fields |= read_fields(hf, {"pad_token_id": "pad_token_id"})
    return EncoderConfig(
        **fields,
        hidden_act=activation(hf, "hidden_act", "gelu"),
        heads=with_classifier_dropout(HeadStyles(), rate(hf, "classifier_dropout")),
    )


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of BERT's config.json."""
    return {
        **write_fields(config, FIELDS),
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "classifier_dropout": classifier_dropout(config, head),
        "use_cache": True,
    }


def with_classifier_dropout(styles: HeadStyles, dropout: float | None) -> HeadStyles:
    """Styles in which every classifier has this dropout before its last layer."""
    return replace(
        styles,
        sequence_classification=replace(styles.sequence_classification, dropout=dropout),
        token_classification=replace(styles.token_classification, dropout=dropout),
        multiple_choice=replace(styles.multiple_choice, dropout=dropout),
    )


def classifier_dropout(config: EncoderConfig, head: Head) -> float | None:
    """What config.json should say: the head's own rate, else the model's."""
    own = head.classifier_dropout
    return config.heads.sequence_classification.dropout if own is None else own


@dataclass(frozen=True)
class NormKeys:
    """What a family calls its norms. The defaults are BERT's."""

    attention: str = "attention.output.LayerNorm"
    """In a layer."""
    mlp: str = "output.LayerNorm"
    final: str | None = None
    """In the encoder, behind the last layer; None: there is none."""


POST_NORM = NormKeys()


def weights(
    config: EncoderConfig, head: Head, *, prefix: str = PREFIX, norms: NormKeys = POST_NORM
) -> tuple[Weight, ...]:
    """BERT's table of names. Of all classes, BertModel alone saves the encoder unprefixed."""
    prefix = "" if head.kind == "none" else prefix
    table = list(encoder_weights(config, prefix, norms))
    if head.kind not in ("masked_lm", "token_classification", "question_answering"):
        table += dense("pooler/dense", f"{prefix}pooler.dense")
    if head.has_masked_lm:
        table += dense("masked_lm/dense", "cls.predictions.transform.dense")
        table += norm("masked_lm/norm", "cls.predictions.transform.LayerNorm")
        table += vocabulary_weights(config, "cls.predictions")
    if head.has_next_sentence:
        table += dense("next_sentence/dense", "cls.seq_relationship")
    if head.num_outputs:
        table += dense("classifier/dense", classifier_key(head))
    return tuple(table)


def encoder_weights(
    config: EncoderConfig, prefix: str, norms: NormKeys = POST_NORM
) -> Iterator[Weight]:
    """Rows of embeddings and layers, for every family that names them as BERT does."""
    yield from embedding_weights(prefix, has_norm=config.embedding_norm)
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}encoder.layer.{index}"
        for name in ("query", "key", "value"):
            yield from dense(f"{ours}/attention/{name}", f"{theirs}.attention.self.{name}")
        yield from dense(f"{ours}/attention/output", f"{theirs}.attention.output.dense")
        yield from norm(f"{ours}/attention_norm", f"{theirs}.{norms.attention}")
        yield from dense(f"{ours}/mlp/up", f"{theirs}.intermediate.dense")
        yield from dense(f"{ours}/mlp/down", f"{theirs}.output.dense")
        yield from norm(f"{ours}/mlp_norm", f"{theirs}.{norms.mlp}")
    if norms.final is not None:
        yield from norm("encoder/final_norm", f"{prefix}{norms.final}")


def embedding_weights(prefix: str, *, has_norm: bool = True) -> Iterator[Weight]:
    """Rows of the tables and their norm."""
    ours, theirs = "encoder/embeddings", f"{prefix}embeddings"
    yield Weight(f"{ours}/word/embedding", f"{theirs}.word_embeddings.weight", "pad_vocab")
    yield Weight(f"{ours}/position/embedding", f"{theirs}.position_embeddings.weight")
    yield Weight(f"{ours}/token_type/embedding", f"{theirs}.token_type_embeddings.weight")
    if has_norm:
        yield from norm(f"{ours}/norm", f"{theirs}.LayerNorm")


def vocabulary_weights(config: EncoderConfig, key: str) -> Iterator[Weight]:
    """The bias per piece and, untied, the output projection.

    Untied, transformers' decoder has a bias of its own, which acts, and saves beside it the
    head's, which does not.
    """
    if config.tie_word_embeddings:
        yield Weight("masked_lm/bias", f"{key}.bias", "pad_vocab")
        return
    yield Weight("masked_lm/decoder", f"{key}.decoder.weight", "pad_vocab")
    yield Weight("masked_lm/bias", f"{key}.decoder.bias", "pad_vocab", copy=f"{key}.bias")


def tied_vocabulary(config: EncoderConfig, key: str, embedding: str) -> Mapping[str, str]:
    """Copies of the word embedding and of the bias in the files of tied models."""
    if not config.tie_word_embeddings:
        return {}
    return {f"{key}.decoder.weight": embedding, f"{key}.decoder.bias": f"{key}.bias"}


def todays_name(key: str) -> str:
    """TensorFlow's gamma and beta of a layer norm, NVIDIA's dense_act, in the names of today."""
    key = key.replace(".dense_act.", ".dense.")
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key


def canonical_key(
    key: str,
    prefix: str = PREFIX,
    bare: tuple[str, ...] = ("embeddings.", "encoder.", "pooler."),
) -> str:
    """Today's name, with the prefix that the encoder's own class leaves away.

    `bare`: what the encoder's keys then begin with.
    """
    key = todays_name(key)
    return prefix + key if key.startswith(bare) else key


BERT = Family(
    model_type="bert",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=canonical_key,
    tied=lambda config: tied_vocabulary(
        config, "cls.predictions", "bert.embeddings.word_embeddings.weight"
    ),
    buffers=frozenset({"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}),
    head_prefixes=("bert.pooler.", "cls.", "classifier.", "qa_outputs."),
    sentence_pairs="next_sentence",
)
