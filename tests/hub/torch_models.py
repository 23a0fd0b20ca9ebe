"""Random models of odd sizes in PyTorch, and batches that show their differences."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

LABELS = ("no", "yes", "maybe")
NAMED_LABELS: dict[str, Any] = {
    "id2label": dict(enumerate(LABELS)),
    "label2id": {label: index for index, label in enumerate(LABELS)},
}
SIZES: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
    "max_position_embeddings": 80,
}
ROBERTA_SIZES = SIZES | {"max_position_embeddings": 82, "type_vocab_size": 1}
NO_TOKENS = {f"{name}_token_id": None for name in ("bos", "eos", "cls", "sep")}
OPTIONS: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": ROBERTA_SIZES | {"hidden_act": "gelu_new"},
    "xlm-roberta": ROBERTA_SIZES,
    "camembert": ROBERTA_SIZES,
    "roberta-prelayernorm": ROBERTA_SIZES | {"layer_norm_eps": 1e-5},
    "xlm-roberta-xl": ROBERTA_SIZES,
    "data2vec-text": ROBERTA_SIZES | {"layer_norm_eps": 1e-5, "classifier_dropout": 0.2},
    "megatron-bert": SIZES,
    "ernie": SIZES | {"use_task_id": True, "type_vocab_size": 4, "classifier_dropout": 0.2},
    "mpnet": SIZES | {"max_position_embeddings": 82, "layer_norm_eps": 1e-5},
    "distilbert": {
        "vocab_size": 131,
        "dim": 24,
        "num_hidden_layers": 2,
        "n_heads": 3,
        "hidden_dim": 36,
        "max_position_embeddings": 80,
    },
    "albert": SIZES
    | {
        "embedding_size": 10,
        "num_hidden_layers": 3,
        "num_hidden_groups": 2,
        "classifier_dropout_prob": 0.2,
    },
    "electra": SIZES | {"embedding_size": 10, "hidden_act": "gelu_new"},
    "deberta": SIZES
    | {
        "type_vocab_size": 2,
        "relative_attention": True,
        "max_relative_positions": 20,
        "pos_att_type": ["p2c", "c2p"],
        "cls_dropout": 0.2,
        "pooler_dropout": 0.05,
    },
    "deberta-v2": SIZES
    | {
        "type_vocab_size": 2,
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "conv_kernel_size": 3,
        "cls_dropout": 0.2,
        "pooler_dropout": 0.05,
    },
    "modernbert": SIZES
    | {
        "num_hidden_layers": 4,
        "local_attention": 13,
        "attention_dropout": 0.1,
        "classifier_bias": True,
        "pad_token_id": 3,
    }
    | NO_TOKENS,
    "eurobert": SIZES
    | {"num_attention_heads": 6, "num_key_value_heads": 2, "pad_token_id": 3}
    | NO_TOKENS,
    "nomic_bert": SIZES | {"type_vocab_size": 2, "classifier_dropout": 0.2},
    "gte": SIZES
    | {
        "type_vocab_size": 2,
        "rope_parameters": {"rope_type": "linear", "factor": 1.5, "rope_theta": 500.0},
    },
    "jina_embeddings_v3": SIZES | {"type_vocab_size": 1, "classifier_dropout": 0.2},
    "esm": SIZES
    | {
        "position_embedding_type": "rotary",
        "token_dropout": True,
        "mask_token_id": 7,
        "pad_token_id": 1,
        "layer_norm_eps": 1e-5,
    },
}
"""What makes a family's models small, in its own words; layers go by `num_hidden_layers`."""


class Saved(NamedTuple):
    """A PyTorch model and the directory it was saved to."""

    model: Any
    directory: Path


def make_torch_model(architecture: str, **options: Any) -> Any:
    """A model whose every parameter is random and large enough to matter."""
    model_class = getattr(transformers, architecture)
    config_class = model_class.config_class
    given = dict(OPTIONS[config_class.model_type])
    if architecture.endswith(("SequenceClassification", "TokenClassification")):
        given |= NAMED_LABELS
    if architecture.endswith("SequenceClassification"):
        given["problem_type"] = "single_label_classification"
    model = model_class(config_class(**(given | options)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            *_, module, leaf = name.lower().split(".")
            is_scale = ("norm" in module or module == "ln") and leaf == "weight"
            parameter.copy_(1 + 0.1 * noise if is_scale else 0.2 * noise)
    return model.eval()


def make_batch(
    rows: int, length: int, *, vocab_size: int = 131, num_types: int = 2
) -> dict[str, np.ndarray]:
    """Rows of both sentence types, each one shorter than the last and padded; none is empty."""
    draws = np.random.default_rng(length)
    lengths = np.maximum(1, length - 3 * np.arange(rows))[:, None]
    positions = np.arange(length)
    mask = positions < lengths
    ids = draws.integers(5, vocab_size, (rows, length))
    is_second = mask & (positions >= lengths // 2) & (num_types > 1)
    return {
        "input_ids": np.where(mask, ids, 0).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "token_type_ids": is_second.astype(np.int32),
    }


def as_torch(batch: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: torch.from_numpy(values).long() for name, values in batch.items()}
