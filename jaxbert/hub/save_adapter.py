"""Writing a LoRA adapter as peft saves it."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.families import family_of
from jaxbert.families.weight import Weight, joined
from jaxbert.hub.adapter import DOWN, FILE, MERGED, PREFIX, TASKS, UP, WEIGHTS
from jaxbert.hub.config_file import write_config
from jaxbert.hub.replace import whole_directory
from jaxbert.hub.safetensors_io import write_file
from jaxbert.hub.save import config_fields, file_tensors
from jaxbert.hub.sentence_prompts import write_prompts
from jaxbert.hub.sparse_modules import write_sparse_modules
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head
from jaxbert.nn.lora import LoRA, factors_of
from jaxbert.tree import flat
from jaxbert.typing import Params


def save_adapter(
    params: Params,
    lora: LoRA,
    config: EncoderConfig,
    head: Head,
    base: str,
    directory: str | Path,
    *,
    prompts: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the factors in `params` and the head, which peft puts onto the model `base`.

    Beside peft's two files there is a folder with a config.json, which has the labels, and with the
    `prompts`. Where a module of transformers applies several kernels as one (ModernBERT's Wqkv), so
    are their factors: A's one below the other, and B's in blocks, whose rank is the sum of theirs.
    `params` are those of `adapt.lora.with_factors`. Raises UserError where `directory` is not empty
    (`overwrite` replaces a model or an adapter).
    """
    leaves, family = flat(jax.device_get(params)), family_of(config.model_type)
    table, tensors, ranks = family.weights(config, head), {}, {}
    for key, rows in _rows(leaves, table).items():
        module = family.module_key(key).removesuffix(".weight")
        tensors[f"{module}{DOWN}"], tensors[f"{module}{UP}"] = _factors(rows, leaves)
        ranks[module] = len(rows)
    of_head = {name: tree for name, tree in params.items() if name != "encoder"}
    filed = file_tensors(of_head, config, head) if of_head else {}
    heads = {family.module_key(key): tensor for key, tensor in filed.items()}
    encoder = [weight.key for weight in table if weight.path.startswith("encoder/")]
    fields = {
        "peft_type": "LORA",
        "task_type": next((task for task, kind in TASKS.items() if kind == head.kind), None),
        "base_model_name_or_path": base,
        "inference_mode": True,
        **_of_ranks(lora, ranks),
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rslora,
        "bias": "none",
        "target_modules": sorted(ranks),
        "modules_to_save": sorted({_module(key, encoder) for key in heads}) or None,
    }
    with whole_directory(directory, overwrite=overwrite) as new:
        whole = {PREFIX + key: tensor for key, tensor in (tensors | heads).items()}
        write_file(whole, new / next(iter(WEIGHTS)))
        text = json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False)
        (new / FILE).write_text(text + "\n", encoding="utf-8")
        (new / MERGED).mkdir()
        write_config(config_fields(config, head), new / MERGED)
        write_prompts(prompts or {}, new / MERGED)
        if head.splade is not None:
            # config.json names a masked LM.
            write_sparse_modules(head.splade, new / MERGED)


def _rows(leaves: dict[str, Any], table: tuple[Weight, ...]) -> dict[str, list[Weight]]:
    """The kernels that have factors, by the tensor of the module that applies them."""
    rows: dict[str, list[Weight]] = defaultdict(list)
    for weight in sorted(table, key=lambda weight: weight.part):
        if weight.path.endswith("/kernel") and factors_of(weight.path)[0] in leaves:
            alone = weight.apart is not None
            weight = replace(weight, part=0, parts=1) if alone else weight
            rows[weight.apart or weight.key].append(weight)
    return rows


def _factors(rows: list[Weight], leaves: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """peft's A [rank, in] and B [out, rank] of one tensor."""
    pairs = [[leaves[path].T for path in factors_of(weight.path)] for weight in rows]
    down = np.concatenate([a for a, _ in pairs])
    height, rank = pairs[0][1].shape
    ups = np.zeros((rows[0].parts, height, len(down)), np.float32)
    for place, (weight, (_, b)) in enumerate(zip(rows, pairs, strict=True)):
        ups[weight.part, :, place * rank : (place + 1) * rank] = b
    return down, joined(list(ups), rows[0].runs)


def _of_ranks(lora: LoRA, ranks: dict[str, int]) -> dict[str, Any]:
    """peft's ranks and alphas, of which those of several kernels in one give the same scale."""
    several = {module: count for module, count in ranks.items() if count > 1}

    def alpha(count: int) -> float | int:
        found = lora.alpha * (math.sqrt(count) if lora.rslora else count)
        return int(found) if float(found).is_integer() else found

    return {
        "r": lora.rank,
        "lora_alpha": alpha(1),
        "rank_pattern": {module: lora.rank * count for module, count in several.items()},
        "alpha_pattern": {module: alpha(count) for module, count in several.items()},
    }


def _module(key: str, encoder: list[str]) -> str:
    """The largest module that a head's tensor is in and none of the encoder's."""
    parts = key.split(".")
    prefixes = (".".join(parts[:end]) for end in range(1, len(parts)))
    return next(p for p in prefixes if not any(k.startswith(f"{p}.") for k in encoder))
