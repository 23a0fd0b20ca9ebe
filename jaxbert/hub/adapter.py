"""LoRA adapters as peft saves them, read onto the weights of the model that they were made for."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.errors import UserError
from jaxbert.hub.config_file import FILE as CONFIG
from jaxbert.hub.config_file import Description
from jaxbert.hub.huggingface import canonical_names
from jaxbert.hub.safetensors_io import open_safetensors
from jaxbert.hub.tensors import Tensors
from jaxbert.hub.torch_bin import open_torch
from jaxbert.nn.head import HeadKind
from jaxbert.text.vocabulary import read_object

FILE = "adapter_config.json"
WEIGHTS = {"adapter_model.safetensors": open_safetensors, "adapter_model.bin": open_torch}
"""Files of tensors and who reads them; the first that is there is taken."""
MERGED = "merged"
"""A folder of ours beside them, with the config.json of the merged model (its labels, its pooling)
and its prompts.

Beside the adapter's own files transformers would take it for that of a whole model.
"""
PREFIX = "base_model.model."
"""What peft puts before the names of the model's own modules."""
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
TABLE_DOWN, TABLE_UP = ".lora_embedding_A", ".lora_embedding_B"
"""Of an embedding, whose factors are those of the table turned over."""
FACTORS = {DOWN: UP, TABLE_DOWN: TABLE_UP}
TASKS: dict[str, HeadKind] = {
    "SEQ_CLS": "sequence_classification",
    "TOKEN_CLS": "token_classification",
    "QUESTION_ANS": "question_answering",
    "FEATURE_EXTRACTION": "none",
}
"""peft's words for the heads that it has one for."""

_READ = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora")
_OF_TRAINING = (
    *("peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision"),
    *("auto_mapping", "inference_mode", "lora_dropout", "target_modules", "exclude_modules"),
    *("modules_to_save", "layers_to_transform", "layers_pattern", "megatron_core"),
    *("qalora_group_size", "eva_config"),
)
"""What says how an adapter came about, or which tensors it has, which its file says as well."""
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    # Others (pissa, olora, loftq, corda) change the weights of the base.
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}


@dataclass(frozen=True)
class Adapter:
    """What adapter_config.json says."""

    directory: Path
    base: str
    """Directory or hub id of its model; its own directory where that holds a whole model."""
    revision: str | None
    """Of a hub id."""
    kind: HeadKind | None
    """The head; None: the base's."""
    fields: Mapping[str, Any]

    def scale(self, module: str, rank: int) -> float:
        """What the product of a module's factors is multiplied by."""
        expected = self._of("rank_pattern", module, self.fields.get("r", 8))
        if rank != expected:
            raise UserError(
                f"{self.directory}: the factors of {module} have rank {rank}, and {FILE} says "
                f"{expected}: save the adapter anew"
            )
        alpha = self._of("alpha_pattern", module, self.fields.get("lora_alpha", 8))
        return float(alpha / (math.sqrt(rank) if self.fields.get("use_rslora") else rank))

    def _of(self, patterns: str, module: str, otherwise: Any) -> Any:
        # As peft looks: the first pattern that fits the end of the name, in whole words.
        for pattern, value in (self.fields.get(patterns) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        return otherwise


def read_adapter(directory: Path) -> Adapter:
    """Raises UserError for an adapter that is not plain LoRA, or names no base."""
    file = directory / FILE
    fields = read_object(file)
    kind = fields.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{file}: peft_type={kind!r}: only LORA is read: merge it with peft")
    for name, value in fields.items():
        is_plain = value in _PLAIN[name] if name in _PLAIN else not value
        if name not in (*_READ, *_OF_TRAINING) and not is_plain:
            raise UserError(
                f"{file}: {name}={value!r} is more than plain LoRA: merge the adapter with peft "
                "(merge_and_unload), and take the model that it saves"
            )
    task = TASKS.get(str(fields.get("task_type")))
    if (directory / CONFIG).is_file():
        # As transformers reads it: a model with an adapter in it.
        return Adapter(directory, str(directory), None, task, fields)
    base = fields.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(f"{file}: base_model_name_or_path={base!r}: name the adapter's base there")
    if (Path(expanduser(base)) / FILE).is_file():
        raise upon_another(directory, base)
    return Adapter(directory, base, fields.get("revision"), task, fields)


def upon_another(directory: Path, base: str) -> UserError:
    """What to say of an adapter whose base is one itself."""
    return UserError(
        f"{directory}: its base, {base}, is an adapter itself: merge that first, with `jaxbert "
        f"convert {base} DEST`, and name DEST in {FILE}"
    )


def adapter_tensors(adapter: Adapter) -> Tensors:
    """Its tensors by the names of the base's modules; UserError where there is no file of them."""
    file = next((f for name in WEIGHTS if (f := adapter.directory / name).is_file()), None)
    if file is None:
        raise UserError(f"{adapter.directory} holds no {next(iter(WEIGHTS))}: fetch it again")
    opened = WEIGHTS[file.name](file)
    names = {key.removeprefix(PREFIX): key for key in opened.shapes}
    known = (*FACTORS, *FACTORS.values())
    odd = [key for name, key in names.items() if "lora_" in name and not name.endswith(known)]
    if odd:
        raise UserError(
            f"{file}: {odd[0]} is of no layer in plain LoRA: merge the adapter with peft "
            "(merge_and_unload), and take the model that it saves"
        )
    shapes = {name: opened.shapes[key] for name, key in names.items()}
    return Tensors(shapes, lambda name: opened.read(names[name]))


@dataclass(frozen=True)
class _Change:
    """What a pair of factors adds to a tensor of the base."""

    rows: slice
    down: str
    up: str
    scale: float
    is_table: bool

    def read(self, own: Tensors) -> np.ndarray:
        """Of the rows."""
        down, up = (np.asarray(own.read(name), np.float32) for name in (self.down, self.up))
        product = up @ down * np.float32(self.scale)
        return product.T if self.is_table else product


def with_adapter(
    base: Tensors, adapter: Adapter, described: Description, directory: Path
) -> Tensors:
    """The tensors of the merged model; `directory` is the base's, for messages.

    weight + B @ A * scale in float32, and in place of the base's the modules that were saved whole.
    """
    own, family = adapter_tensors(adapter), described.family
    keys = canonical_names(family, base.shapes, directory)
    table = family.weights(described.config, described.head)
    parts = {family.canonical_key(row.apart): row for row in table if row.apart is not None}
    shapes, whole = dict(base.shapes), {}
    changes: dict[str, list[_Change]] = defaultdict(list)
    for name in own.shapes:
        end = next((end for end in FACTORS if name.endswith(end)), None)
        if end is None:
            key = keys.get(family.canonical_key(name), name)
            if not name.endswith(tuple(FACTORS.values())):
                whole[key], shapes[key] = name, own.shapes[name]
            continue
        module, is_table = name.removesuffix(end), end == TABLE_DOWN
        wanted, (rank, inputs) = family.canonical_key(f"{module}.weight"), own.shapes[name]
        part = None if wanted in keys else parts.get(wanted)
        key = keys.get(wanted if part is None else family.canonical_key(part.key), "")
        outputs = own.shapes.get(f"{module}{FACTORS[end]}", (0,))[0]
        fused = (outputs * (1 if part is None else part.parts), inputs)
        if base.shapes.get(key) != (fused[::-1] if is_table else fused):
            raise UserError(
                f"{adapter.directory}: its factors of {module}, from {inputs} to {outputs}, fit no "
                f"layer of {directory}: name the model that it was made for in {FILE}"
            )
        if is_table and wanted in family.tied(described.config).values():
            _check_table(adapter, module, described)
        first = 0 if part is None else part.part * outputs
        rows = slice(None) if is_table else slice(first, first + outputs)
        scale = adapter.scale(module, rank)
        changes[key].append(_Change(rows, name, f"{module}{FACTORS[end]}", scale, is_table))

    def read(key: str) -> np.ndarray:
        if key in whole:
            return own.read(whole[key])
        if key not in changes:
            return base.read(key)
        tensor = np.array(base.read(key), np.float32)
        for change in changes[key]:
            tensor[change.rows] += change.read(own)
        return tensor

    return Tensors(shapes, read)


def _check_table(adapter: Adapter, module: str, described: Description) -> None:
    """Raises UserError where the table is also the output projection, which peft leaves alone."""
    if described.head.has_masked_lm:
        raise UserError(
            f"{adapter.directory}: its factors of {module} are not those of the output projection, "
            "to which it is tied: pass head='none' (jaxbert convert --head none)"
        )
