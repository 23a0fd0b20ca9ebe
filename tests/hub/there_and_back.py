"""A family's model against transformers' class in PyTorch, there and back again."""

import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from torch_models import as_torch, make_batch, make_torch_model
from transformers.core_model_loading import revert_weight_conversion

from jaxbert.families import FAMILIES
from jaxbert.families.bert import todays_name
from jaxbert.hub.load import from_pretrained
from jaxbert.hub.save import file_tensors, save_pretrained
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import functional
from jaxbert.nn.head import HeadKind
from jaxbert.nn.model import Model, ModelOutput

Batch = dict[str, np.ndarray]
Outputs = dict[str, Any]


def batch_for(kind: HeadKind, model: Model, rows: int, length: int) -> Batch:
    """Padded rows of both sentence types; for multiple choice three choices of two rows."""
    types = max(1, model.config.type_vocab_size)
    is_choice = kind == "multiple_choice"
    batch = make_batch(6 if is_choice else rows, length, num_types=types)
    pad = model.config.pad_token_id
    batch["input_ids"] = np.where(batch["attention_mask"] == 1, batch["input_ids"], pad)
    shape = (2, 3, length) if is_choice else (rows, length)
    return {name: values.reshape(shape).astype(np.int32) for name, values in batch.items()}


def weights_for(outputs: Outputs, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Random cotangents of every output, zero at padding."""
    draws = np.random.default_rng(1)
    weights = {}
    for name, value in outputs.items():
        weight = draws.normal(size=value.shape).astype(np.float32) / np.sqrt(np.prod(value.shape))
        if value.shape[:2] == mask.shape:
            weight *= mask.reshape(mask.shape + (1,) * (weight.ndim - 2))
        weights[name] = weight
    return weights


def our_outputs(output: ModelOutput) -> Outputs:
    """Everything the model gives, flat in the rows, without what transformers hides."""
    states = {f"layer {i}": state for i, state in enumerate(output.hidden_states or ())}
    heads = {
        "pooled": output.pooled,
        "logits": output.logits,
        "relationship": output.seq_relationship_logits,
        "start": output.start_logits,
        "end": output.end_logits,
    }
    return states | {name: value for name, value in heads.items() if value is not None}


def their_outputs(output: Any) -> Outputs:
    states = {f"layer {i}": state for i, state in enumerate(output.hidden_states)}
    names = {
        "pooled": ("pooler_output",),
        "logits": ("logits", "prediction_logits"),
        "relationship": ("seq_relationship_logits", "sop_logits"),
        "start": ("start_logits",),
        "end": ("end_logits",),
    }
    heads = {
        ours: output[theirs] for ours, both in names.items() for theirs in both if theirs in output
    }
    return states | heads


def run_theirs(model: Any, batch: Batch) -> Outputs:
    taken = inspect.signature(model.forward).parameters
    inputs = {name: value for name, value in as_torch(batch).items() if name in taken}
    return their_outputs(model(**inputs, output_hidden_states=True))


def both(model: Any, ours: Model, batch: Batch) -> tuple[Outputs, Any, Outputs, Any]:
    """Outputs of both and the gradients of one weighted sum of all that both give."""
    theirs = run_theirs(model, batch)
    mask = batch["attention_mask"].reshape(-1, batch["attention_mask"].shape[-1])
    weights = weights_for(theirs, mask)
    model.zero_grad()
    sum((torch.from_numpy(weights[name]) * theirs[name]).sum() for name in theirs).backward()
    apply, params = functional(ours)

    def loss(params: Any) -> tuple[jax.Array, Outputs]:
        found = our_outputs(apply(params, **batch, capture=("hidden_states",)))
        return sum(jnp.sum(jnp.asarray(weights[name]) * found[name]) for name in theirs), found

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(params)
    table = file_tensors(gradients, ours.config, ours.head)
    # Of two tied parameters PyTorch names the one that it met first.
    tied = FAMILIES[ours.config.model_type].tied(ours.config)
    acting = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    # Under the names of files, in which some modules' parameters lie in one tensor.
    filed = revert_weight_conversion(model, acting)
    today = {todays_name(name): gradient for name, gradient in filed.items()}
    named = {tied.get(name, name): gradient for name, gradient in today.items()}
    return found, table, theirs, named


def assert_same_outputs(found: Outputs, theirs: Outputs, mask: np.ndarray) -> None:
    assert set(theirs) <= set(found)
    for name, expected in theirs.items():
        value, expected = np.asarray(found[name]), expected.detach().numpy()
        assert value.shape == expected.shape, name
        if value.shape[:2] == mask.shape:
            # What stands at padding reaches nobody, and implementations differ there.
            value, expected = value[mask], expected[mask]
        largest = max(1.0, np.abs(expected).max())
        assert np.abs(value - expected).max() <= 2e-5 * largest, name


def assert_same_gradients(ours: dict[str, np.ndarray], theirs: dict[str, Any]) -> None:
    """Of every parameter that acts."""
    acting = {name: gradient.numpy() for name, gradient in theirs.items()}
    assert set(acting) <= set(ours)
    largest = max(np.abs(gradient).max() for gradient in acting.values())
    for name, expected in acting.items():
        assert ours[name].shape == expected.shape, name
        # Some are zero in exact arithmetic, such as that of the bias of a key.
        bound = max(1e-4 * np.abs(expected).max(), 1e-6 * largest)
        assert np.abs(ours[name] - expected).max() <= bound, name


def assert_none_is_missing(report: dict[str, Any], config: EncoderConfig) -> None:
    """But for what the family leaves out."""
    family = FAMILIES[config.model_type]
    missing = map(family.canonical_key, report["missing_keys"])
    assert not [name for name in missing if not name.startswith(family.left_out)]


def assert_there_and_back(architecture: str, directory: Path, **options: Any) -> Model:
    """Outputs and gradients agree; what we save opens there, and again here, as the same model."""
    transformers.utils.logging.disable_progress_bar()
    model = make_torch_model(architecture, **options)
    model.save_pretrained(directory / "theirs")
    ours = from_pretrained(directory / "theirs")
    kind = ours.head.kind
    batch = batch_for(kind, ours, 3, 64)
    mask = batch["attention_mask"].reshape(-1, 64).astype(bool)

    found, gradients, theirs, their_gradients = both(model, ours, batch)
    assert_same_outputs(found, theirs, mask)
    assert_same_gradients(gradients, their_gradients)

    save_pretrained(ours, None, directory / "ours")
    again, report = type(model).from_pretrained(directory / "ours", output_loading_info=True)
    assert_none_is_missing(report, ours.config)
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    for name, value in run_theirs(again.eval(), batch).items():
        assert torch.abs(value - theirs[name]).max() <= 1e-6, name

    save_pretrained(from_pretrained(directory / "ours"), None, directory / "again")
    for file in ("model.safetensors", "config.json"):
        assert (directory / "again" / file).read_bytes() == (directory / "ours" / file).read_bytes()
    return ours


def assert_bfloat16_deviates_no_more_than_pytorchs(
    architecture: str, directory: Path, **options: Any
) -> None:
    """From float32, root mean square over each output, on 16 rows of 64 through five layers.

    An output of few numbers, such as a classifier's of whole rows, may deviate by chance.
    """
    model = make_torch_model(architecture, num_hidden_layers=5, **options)
    model.save_pretrained(directory)
    ours = from_pretrained(directory, dtype="bfloat16")
    batch = batch_for(ours.head.kind, ours, 16, 64)
    apply, params = functional(ours)
    call = jax.jit(lambda p, batch: apply(p, **batch, capture=("hidden_states",)))
    found = our_outputs(call(params, batch))
    assert found["layer 5"].dtype == "bfloat16"
    with torch.no_grad():
        exact = run_theirs(model, batch)
        rounded = run_theirs(model.bfloat16(), batch)
    mask = batch["attention_mask"].astype(bool)
    for name, reference in exact.items():
        theirs = rounded[name].float().numpy()
        ours = _deviation(found[name], reference, mask)
        assert ours <= _deviation(theirs, reference, mask), name


def _deviation(value: Any, reference: Any, mask: np.ndarray) -> float:
    difference = np.asarray(value, np.float32) - reference.numpy()
    if difference.shape[:2] == mask.shape:
        difference = difference[mask]
    return float(np.sqrt(np.square(difference).mean()))
