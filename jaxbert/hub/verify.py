"""Checking an exported directory against transformers' PyTorch model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.errors import UserError
from jaxbert.families import FAMILIES
from jaxbert.families.family import as_filed
from jaxbert.hub.config_file import read_description
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import functional, model_from_params
from jaxbert.nn.head import POOLED, HeadKind
from jaxbert.nn.model import Model, ModelOutput

TOLERANCE = 2e-5
"""Two float32 implementations of one model agree to this, for values of magnitude one."""

THEIRS = {
    "pooler_output": "pooled",
    "logits": "logits",
    "prediction_logits": "logits",
    "seq_relationship_logits": "sentence-pair logits",
    "sop_logits": "sentence-pair logits",
    "start_logits": "start logits",
    "end_logits": "end logits",
}
"""transformers' names of our outputs."""


@dataclass(frozen=True)
class Difference:
    """One output of both models."""

    name: str
    largest_difference: float
    """Of any element, absolute."""
    largest_value: float
    """Of any element of PyTorch's, absolute."""

    @property
    def is_within_tolerance(self) -> bool:
        """Rounding grows with the values: beyond magnitude one the tolerance is relative to it."""
        return self.largest_difference <= TOLERANCE * max(1.0, self.largest_value)


@dataclass(frozen=True)
class Differences:
    """How transformers' model in PyTorch differs from ours."""

    architecture: str
    outputs: tuple[Difference, ...]
    missing: tuple[str, ...]
    """Parameters that PyTorch's model did not find in the export."""
    unexpected: tuple[str, ...]
    """Tensors of the export for which PyTorch's model had no place."""

    @property
    def is_equivalent(self) -> bool:
        """Whether every key was used and every output is within tolerance."""
        agree = all(output.is_within_tolerance for output in self.outputs)
        return agree and not self.missing and not self.unexpected


def verify(model: Model, directory: str | Path, *, seed: int = 0) -> Differences:
    """Runs both models in float32 on random inputs with padding and, where there are, two segments.

    `model` must compute in float32; `directory` is in Hugging Face's layout. Raises UserError
    where torch or transformers is missing.
    """
    if model.head.splade is not None:
        # transformers has the masked LM.
        params, head = functional(model)[1], replace(model.head, splade=None)
        model = model_from_params(params, model.config, head)
    kind = as_filed(model.head).kind
    described = read_description(Path(directory), head=model.head)
    architecture = described.family.architecture(kind)
    if architecture is None:
        raise UserError(f"{directory}: transformers has no class for its {kind} head")
    is_own = model.head.pooling is not None or as_filed(model.head) != model.head
    has_pooler = not is_own and model.config.heads.pooler is not None
    torch_model, missing, unexpected = _open_with_transformers(
        architecture, directory, has_pooler=has_pooler
    )
    inputs = random_inputs(model.config, kind, seed)
    ours, theirs = _run_ours(model, inputs), _run_theirs(torch_model, inputs)
    mask = inputs["attention_mask"].reshape(-1, inputs["attention_mask"].shape[-1]) == 1
    outputs = tuple(
        _difference(name, *(_that_count(name, kind, found[name], mask) for found in (ours, theirs)))
        for name in theirs
    )
    return Differences(architecture, outputs, missing, unexpected)


def random_inputs(config: EncoderConfig, kind: HeadKind, seed: int) -> dict[str, np.ndarray]:
    """Four rows of decreasing length, int32 [4, seq], the first one full.

    For multiple choice they are two choices for each of two: [2, 2, seq].
    """
    draws = np.random.default_rng(seed)
    length = min(64, longest_input(config))
    positions = np.arange(length)
    lengths = np.array([length, length // 2, length // 4, 1])[:, None].clip(1)
    mask = positions < lengths
    is_second = mask & (positions >= lengths // 2) & (config.type_vocab_size > 1)
    ids = draws.integers(0, config.vocab_size, mask.shape)
    if config.token_dropout:
        # Of a row of masks alone transformers divides by zero.
        ids[:, 0] = np.where(ids[:, 0] == config.mask_token_id, 0, ids[:, 0])
    inputs = {
        "input_ids": np.where(mask, ids, config.pad_token_id),
        "attention_mask": mask,
        "token_type_ids": is_second,
    }
    shape = (2, 2, length) if kind == "multiple_choice" else mask.shape
    return {name: values.astype(np.int32).reshape(shape) for name, values in inputs.items()}


def _run_ours(model: Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    apply, params = functional(model)

    @jax.jit
    def run(params: Any, inputs: Any) -> ModelOutput:
        return apply(params, **inputs, capture=("hidden_states",))

    with jax.default_matmul_precision("highest"):
        output = run(params, inputs)
    named = {
        "pooled": output.pooled,
        "logits": output.logits,
        "sentence-pair logits": output.seq_relationship_logits,
        "start logits": output.start_logits,
        "end logits": output.end_logits,
    }
    states = {"hidden states": np.stack(output.hidden_states or (), axis=2)}
    return states | {name: np.asarray(value) for name, value in named.items() if value is not None}


def _run_theirs(torch_model: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What transformers returns of the same outputs: the pooled vector of plain encoders only."""
    import torch

    taken = signature(torch_model.forward).parameters
    with torch.no_grad():
        tensors = {k: torch.from_numpy(v).long() for k, v in inputs.items() if k in taken}
        output = torch_model(**tensors, output_hidden_states=True)
    states = {"hidden states": np.stack([state.numpy() for state in output.hidden_states], axis=2)}
    return states | {ours: output[name].numpy() for name, ours in THEIRS.items() if name in output}


def _that_count(name: str, kind: HeadKind, value: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """All of a row's outputs; of those per token, not padding's, where implementations differ."""
    has_one_a_row = kind in POOLED and kind != "pretraining"
    if name in ("pooled", "sentence-pair logits") or (name == "logits" and has_one_a_row):
        return value
    return value[mask]


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
    largest = float(np.abs(ours - theirs).max())
    return Difference(name, largest, float(np.abs(theirs).max()))


def _open_with_transformers(
    architecture: str, directory: str | Path, *, has_pooler: bool
) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(
            f"verifying needs PyTorch and transformers ({error}): pip install 'jaxbert[parity]'"
        ) from None
    model_class = getattr(transformers, architecture)
    takes = signature(model_class.__init__).parameters
    # An encoder that pools is saved without BERT's pooler, NomicBERT always.
    options = {"add_pooling_layer": has_pooler} if "add_pooling_layer" in takes else {}
    with quiet(transformers):
        model, report = model_class.from_pretrained(
            str(directory),
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
            **options,
        )
    family = FAMILIES[model.config.model_type]
    missing = tuple(
        name
        for name in sorted(report["missing_keys"])
        if not family.canonical_key(name).startswith(family.left_out)
    )
    return model.eval(), missing, tuple(sorted(report["unexpected_keys"]))


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' progress bars and reports: what they say is in `Differences`."""
    logging = transformers.utils.logging
    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()
