"""BERT (Devlin et al. 2018) and the smaller models of Turc et al. 2019."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxbert.errors import UserError
from jaxbert.families.family import Family, Weight
from jaxbert.families.labels import head_from_hf, head_to_hf
from jaxbert.families.values import number
from jaxbert.nn.config import EncoderConfig, Head, HeadKind

PREFIX = "bert."


def _size(layers: int, hidden: int, vocab_size: int = 30522) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
    )


PRESETS = {
    "bert-tiny": _size(2, 128),
    "bert-mini": _size(4, 256),
    "bert-small": _size(4, 512),
    "bert-medium": _size(8, 512),
    "bert-base-uncased": _size(12, 768),
    "bert-base-cased": _size(12, 768, 28996),
    "bert-base-chinese": _size(12, 768, 21128),
    "bert-base-multilingual-uncased": _size(12, 768, 105879),
    "bert-base-multilingual-cased": _size(12, 768, 119547),
    "bert-large-uncased": _size(24, 1024),
    "bert-large-cased": _size(24, 1024, 28996),
}
# The bare name of a size means the English uncased vocabulary, as in the smaller models.
PRESETS |= {"bert-base": PRESETS["bert-base-uncased"], "bert-large": PRESETS["bert-large-uncased"]}

ARCHITECTURES: dict[str, HeadKind] = {
    "BertModel": "none",
    "BertForPreTraining": "pretraining",
    "BertForMaskedLM": "masked_lm",
    "BertForNextSentencePrediction": "next_sentence",
    "BertForSequenceClassification": "sequence_classification",
}

# transformers' spellings of the activations that are implemented.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
}

# Fields that change the mathematics, and the one value of each that is implemented.
FIXED: dict[str, Any] = {
    "is_decoder": False,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
    "chunk_size_feed_forward": 0,
    "tie_word_embeddings": True,
    "pruned_heads": {},
    "quantization_config": None,
}

_INTEGERS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_FLOATS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
    "layer_norm_eps",
)


def config_from_hf(hf: Mapping[str, Any]) -> EncoderConfig:
    """The architecture that a config.json describes; what it leaves out is BERT-base's.

    Raises UserError for a field that asks for something else than BERT's mathematics.
    """
    _refuse_what_is_not_implemented(hf)
    fields: dict[str, Any] = {}
    for name in _INTEGERS + _FLOATS:
        if name in hf:
            fields[name] = number(name, hf[name], whole=name in _INTEGERS)
    activation = hf.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        choices = ", ".join(ACTIVATIONS)
        raise UserError(f"hidden_act={activation!r} is not implemented: expected one of {choices}")
    fields["hidden_act"] = ACTIVATIONS[activation]
    if hf.get("pad_token_id") is not None:
        fields["pad_token_id"] = number("pad_token_id", hf["pad_token_id"], whole=True)
    return EncoderConfig(**fields)


def config_to_hf(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of config.json, without the dtype of the weights."""
    architecture = next(name for name, kind in ARCHITECTURES.items() if kind == head.kind)
    fields = {name: getattr(config, name) for name in _INTEGERS + _FLOATS}
    return {
        "architectures": [architecture],
        "model_type": "bert",
        **fields,
        "hidden_act": config.hidden_act,
        "pad_token_id": config.pad_token_id,
        "classifier_dropout": head.classifier_dropout,
        "tie_word_embeddings": True,
        "use_cache": True,
        **head_to_hf(head),
    }


def weights(config: EncoderConfig, head: Head) -> tuple[Weight, ...]:
    """BERT's table of names. Of all classes, BertModel alone saves the encoder unprefixed."""
    prefix = "" if head.kind == "none" else PREFIX
    table = list(_encoder(config, prefix))
    if head.has_pooler:
        table += _dense("pooler/dense", f"{prefix}pooler.dense")
    if head.has_masked_lm:
        table += _dense("masked_lm/dense", "cls.predictions.transform.dense")
        table += _norm("masked_lm/norm", "cls.predictions.transform.LayerNorm")
        table.append(Weight("masked_lm/bias", "cls.predictions.bias", "pad_vocab"))
    if head.has_next_sentence:
        table += _dense("next_sentence/dense", "cls.seq_relationship")
    if head.has_classifier:
        table += _dense("classifier/dense", "classifier")
    return tuple(table)


def canonical_key(key: str) -> str:
    """Names of TensorFlow's layer norm and of a bare BertModel in the names of today."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        key = key.removesuffix(old) + new if key.endswith(old) else key
    bare = key.startswith(("embeddings.", "encoder.", "pooler."))
    return PREFIX + key if bare else key


def _refuse_what_is_not_implemented(hf: Mapping[str, Any]) -> None:
    for name, implemented in FIXED.items():
        value = hf.get(name)
        if value is not None and value != implemented:
            raise UserError(
                f"{name}={value!r} is not implemented for bert: expected {implemented!r}"
            )
    custom = [name for name in hf.get("auto_map") or {} if name.startswith("AutoModel")]
    if custom:
        raise UserError(
            f"auto_map names custom code for {custom[0]}, so the model is not the published BERT: "
            f"take a checkpoint without custom model code"
        )


def _encoder(config: EncoderConfig, prefix: str) -> Iterator[Weight]:
    ours, theirs = "encoder/embeddings", f"{prefix}embeddings"
    yield Weight(f"{ours}/word/embedding", f"{theirs}.word_embeddings.weight", "pad_vocab")
    yield Weight(f"{ours}/position/embedding", f"{theirs}.position_embeddings.weight")
    yield Weight(f"{ours}/token_type/embedding", f"{theirs}.token_type_embeddings.weight")
    yield from _norm(f"{ours}/norm", f"{theirs}.LayerNorm")
    for index in range(config.num_hidden_layers):
        ours, theirs = f"encoder/layers/{index}", f"{prefix}encoder.layer.{index}"
        for name in ("query", "key", "value"):
            yield from _dense(f"{ours}/attention/{name}", f"{theirs}.attention.self.{name}")
        yield from _dense(f"{ours}/attention/output", f"{theirs}.attention.output.dense")
        yield from _norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm")
        yield from _dense(f"{ours}/mlp/up", f"{theirs}.intermediate.dense")
        yield from _dense(f"{ours}/mlp/down", f"{theirs}.output.dense")
        yield from _norm(f"{ours}/mlp_norm", f"{theirs}.output.LayerNorm")


def _dense(path: str, key: str) -> Iterator[Weight]:
    yield Weight(f"{path}/kernel", f"{key}.weight", "transpose")
    yield Weight(f"{path}/bias", f"{key}.bias")


def _norm(path: str, key: str) -> Iterator[Weight]:
    yield Weight(f"{path}/scale", f"{key}.weight")
    yield Weight(f"{path}/bias", f"{key}.bias")


BERT = Family(
    model_type="bert",
    tokenizer_class="BertTokenizer",
    presets=PRESETS,
    architectures=ARCHITECTURES,
    config_from_hf=config_from_hf,
    head_from_hf=head_from_hf,
    config_to_hf=config_to_hf,
    weights=weights,
    canonical_key=canonical_key,
    tied={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    buffers=frozenset({"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}),
    head_prefixes=("bert.pooler.", "cls.", "classifier.", "qa_outputs."),
)
