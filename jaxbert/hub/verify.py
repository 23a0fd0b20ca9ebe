"""Checking an exported directory against transformers' PyTorch model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbert.errors import UserError
from jaxbert.hub.config_file import read_description
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import functional
from jaxbert.nn.model import Model, ModelOutput

TOLERANCE = 2e-5
"""Two float32 implementations of one model agree to this, for values of magnitude one."""


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
    described = read_description(Path(directory), head=model.head)
    architecture = described.family.architecture(model.head.kind)
    if architecture is None:
        raise UserError(f"{directory}: transformers has no class for its {model.head.kind} head")
    torch_model, missing, unexpected = _open_with_transformers(architecture, directory)
    inputs = random_inputs(model.config, seed)
    ours = _run_ours(model, inputs)
    theirs = _run_theirs(torch_model, inputs, has_encoder=model.head.kind != "none")
    outputs = tuple(_difference(name, ours[name], theirs[name]) for name in ours)
    return Differences(architecture, outputs, missing, unexpected)


def random_inputs(config: EncoderConfig, seed: int) -> dict[str, np.ndarray]:
    """A batch of four rows of decreasing length, int32 [4, seq], the first one full."""
    draws = np.random.default_rng(seed)
    length = min(64, config.max_position_embeddings)
    shape, positions = (4, length), np.arange(length)
    lengths = np.array([length, length // 2, length // 4, 1])[:, None].clip(1)
    is_second = (positions >= lengths // 2) & (config.type_vocab_size > 1)
    return {
        "input_ids": draws.integers(0, config.vocab_size, shape, dtype=np.int32),
        "attention_mask": (positions < lengths).astype(np.int32),
        "token_type_ids": is_second.astype(np.int32),
    }


def _run_ours(model: Model, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    apply, params = functional(model)

    @jax.jit
    def run(params: Any, inputs: Any) -> ModelOutput:
        return apply(params, **inputs, capture=("hidden_states",))

    with jax.default_matmul_precision("highest"):
        output = run(params, inputs)
    named = {
        "hidden states": np.stack(output.hidden_states or ()),
        "pooled": output.pooled,
        "logits": output.logits,
        "next-sentence logits": output.seq_relationship_logits,
    }
    return {name: np.asarray(value) for name, value in named.items() if value is not None}


def _run_theirs(
    torch_model: Any, inputs: dict[str, np.ndarray], *, has_encoder: bool
) -> dict[str, Any]:
    """The same outputs; heads do not return the pooled vector, so it is caught on its way."""
    import torch

    caught: list[Any] = []
    encoder = torch_model.base_model if has_encoder else torch_model
    if encoder.pooler is not None:
        encoder.pooler.register_forward_hook(lambda module, args, result: caught.append(result))
    with torch.no_grad():
        tensors = {name: torch.from_numpy(value).long() for name, value in inputs.items()}
        output = torch_model(**tensors, output_hidden_states=True)
    values = {"hidden states": torch.stack(output.hidden_states)}
    if caught:
        values["pooled"] = caught[0]
    for name in ("logits", "prediction_logits"):
        if name in output:
            values["logits"] = output[name]
    if "seq_relationship_logits" in output:
        values["next-sentence logits"] = output.seq_relationship_logits
    return {name: value.numpy() for name, value in values.items()}


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
    largest = float(np.abs(ours - theirs).max())
    return Difference(name, largest, float(np.abs(theirs).max()))


def _open_with_transformers(
    architecture: str, directory: str | Path
) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(
            f"verifying needs PyTorch and transformers ({error}): pip install 'jaxbert[parity]'"
        ) from None
    with _quiet(transformers):
        model, report = getattr(transformers, architecture).from_pretrained(
            str(directory), dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    missing = tuple(sorted(report["missing_keys"]))
    return model.eval(), missing, tuple(sorted(report["unexpected_keys"]))


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
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
