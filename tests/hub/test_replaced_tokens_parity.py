"""The joint loss of a generator and a discriminator, and its gradients, against PyTorch."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from torch_models import as_torch, make_torch_model

from jaxbert.hub.load import load_params
from jaxbert.hub.save import file_tensors
from jaxbert.nn.draws import by_row
from jaxbert.tasks.replaced_token_pair import DISCRIMINATOR, GENERATOR, ReplacedTokenPair
from jaxbert.tasks.replaced_tokens import ReplacedTokenDetection
from jaxbert.tasks.task import run_model

TASK = ReplacedTokenDetection((0, 1, 2))
WORD = "electra.embeddings.word_embeddings.weight"
KEY = jax.random.key(11)


def make_batch() -> dict[str, np.ndarray]:
    """Four rows of decreasing length with a [CLS], a [SEP] and masked tokens."""
    draws, length = np.random.default_rng(0), 33
    lengths = np.array([[33], [20], [9], [4]])
    mask = np.arange(length) < lengths
    ids = np.where(mask, draws.integers(5, 131, mask.shape), 0)
    ids[:, 0] = 1
    ids[np.arange(4), lengths[:, 0] - 1] = 2
    positions = np.zeros((4, 5), np.int32)
    labels = np.full((4, 5), -100, np.int32)
    for row, count in enumerate((5, 3, 2, 1)):
        chosen = np.sort(draws.choice(np.arange(1, lengths[row, 0] - 1), count, replace=False))
        positions[row, :count], labels[row, :count] = chosen, ids[row, chosen]
        ids[row, chosen] = 3
    return {
        "input_ids": ids.astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "token_type_ids": (mask & (np.arange(length) > lengths // 2)).astype(np.int32),
        "masked_lm_positions": positions,
        "labels": labels,
    }


def ours(pair: ReplacedTokenPair, params: Any, batch: Any) -> Any:
    """The total loss, its gradients, and what the discriminator was given."""
    batch = {name: jnp.asarray(value) for name, value in batch.items()}

    def loss(params: Any) -> Any:
        # The same key gives the same samples: here they are drawn, and below drawn again.
        output = run_model(pair.make_apply(), params, batch, KEY, inputs=TASK.model_inputs)
        sums, weights = TASK.loss_sums(output, batch), TASK.loss_weights(batch)
        losses = {name: sums[name] / weights[name] for name in sums}
        return sum(TASK.loss_factor(name) * x for name, x in losses.items()), output

    (total, output), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    sample_key = jax.random.split(KEY, 3)[2]
    sampled = by_row(jax.random.categorical, sample_key, output.generator_logits)
    filled = np.array(output.original_ids)
    for row, column in zip(*np.nonzero(np.asarray(batch["labels"]) >= 0), strict=True):
        filled[row, batch["masked_lm_positions"][row, column]] = sampled[row, column]
    return float(total), gradients, filled, np.asarray(output.original_ids)


def theirs(generator: Any, judge: Any, batch: Any, filled: np.ndarray, original: np.ndarray) -> Any:
    labels = np.full(filled.shape, -100)
    rows, columns = np.nonzero(batch["labels"] >= 0)
    at = (rows, batch["masked_lm_positions"][rows, columns])
    labels[at] = batch["labels"][rows, columns]
    inputs = as_torch({k: batch[k] for k in ("attention_mask", "token_type_ids")})
    masked = generator(
        input_ids=torch.from_numpy(batch["input_ids"]).long(),
        labels=torch.from_numpy(labels).long(),
        **inputs,
    )
    logits = judge(input_ids=torch.from_numpy(filled).long(), **inputs).logits
    counted = torch.from_numpy((batch["attention_mask"] == 1) & ~np.isin(original, (0, 1, 2)))
    is_replaced = torch.from_numpy((filled != original).astype(np.float32))
    found = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[counted], is_replaced[counted]
    )
    return masked.loss + 50 * found


@pytest.mark.parametrize("sharing", ["shared", "none", "gradient_disentangled"])
def test_the_joint_loss_and_every_gradient_match_pytorch(sharing: Any, tmp_path: Path):
    transformers.utils.logging.disable_progress_bar()
    sizes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    generator = make_torch_model("ElectraForMaskedLM", **sizes)
    judge = make_torch_model("ElectraForPreTraining", **sizes, num_hidden_layers=3)
    if sharing == "shared":
        judge.electra.embeddings = generator.electra.embeddings
    generator.save_pretrained(tmp_path / "generator")
    judge.save_pretrained(tmp_path / "judge")
    small = load_params(tmp_path / "generator", head=GENERATOR)
    big = load_params(tmp_path / "judge", head=DISCRIMINATOR)
    pair = ReplacedTokenPair(small.config, big.config, sharing)
    params = jax.tree.map(jnp.asarray, pair.joined(small.params, big.params))
    batch = make_batch()

    total, gradients, filled, original = ours(pair, params, batch)
    assert (filled != original).any()
    expected = theirs(generator, judge, batch, filled, original)
    assert total == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    judged = file_tensors(gradients["discriminator"], big.config, DISCRIMINATOR)
    assert_same(judged, judge)
    # The generator's tree lacks what it shares, whose gradient stands with the discriminator.
    whole = pair.generator_params(gradients) if sharing == "shared" else gradients["generator"]
    assert_same(file_tensors(whole, small.config, GENERATOR), generator)


def assert_same(ours: dict[str, np.ndarray], model: Any) -> None:
    largest = max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None)
    for name, parameter in model.named_parameters():
        expected = parameter.grad.numpy()
        bound = max(1e-4 * np.abs(expected).max(), 1e-6 * largest)
        assert np.abs(ours[name] - expected).max() <= bound, name
