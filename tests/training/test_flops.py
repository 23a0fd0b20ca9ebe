from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.families import preset
from jaxbert.nn import head_by_head
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import abstract_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.optim.groups import group_labels
from jaxbert.training.flops import PEAK_FLOPS, peak_flops, share_computed, train_flops


def host_batch(rows: int, length: int, predictions: int) -> dict[str, np.ndarray]:
    return {
        "attention_mask": np.ones((rows, length), np.int32),
        "masked_lm_positions": np.zeros((rows, predictions), np.int32),
        "labels": np.ones((rows, predictions), np.int32),
    }


@pytest.mark.parametrize(
    "name",
    [
        "bert-base-uncased",
        "albert-base-v2",
        "mpnet-base",
        "deberta-base",
        "deberta-v2-xlarge",
        "deberta-v3-base",
        "modernbert-base",
        "eurobert-610m",
        "nomic-bert-2048",
        "gte-base-en-v1.5",
        "esm2_t6_8M",
    ],
)
@pytest.mark.parametrize(("length", "predictions"), [(128, 20), (512, 76)])
def test_the_count_is_xlas_for_full_rows(
    name: str, length: int, predictions: int, monkeypatch: pytest.MonkeyPatch
):
    """XLA also counts what is no matrix product, and DeBERTa multiplies with every distance."""
    # What a loop does, as over the heads of long rows on a CPU, XLA counts once.
    monkeypatch.setattr(head_by_head, "TOGETHER", 2**40)
    config = replace(preset(name), num_hidden_layers=2, layer_types=None)
    head = Head("masked_lm")
    apply = make_apply(config, head)

    def loss(params: Any, ids: jax.Array, positions: jax.Array) -> jax.Array:
        return jnp.sum(apply(params, ids, masked_lm_positions=positions).logits ** 2)

    integers = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)  # noqa: E731
    arguments = (abstract_params(config, head), integers(4, length), integers(4, predictions))
    counted = jax.jit(jax.grad(loss)).lower(*arguments).cost_analysis()["flops"]
    ours = train_flops(config, host_batch(4, length, predictions))
    assert 1.0 <= counted / ours <= (1.06 if "deberta" in name else 1.03)


@pytest.mark.parametrize("window", [0, 1, 6, 7, 8, 100])
def test_a_window_counts_the_pairs_inside_it(window: int):
    full = EncoderConfig(num_hidden_layers=3)
    types = ("full_attention", "sliding_attention", "sliding_attention")
    local = replace(full, layer_types=types, local_attention=window)
    lengths = (9, 4, 1, 0)
    batch = {"attention_mask": np.arange(9)[None] < np.array(lengths)[:, None]}
    apart = np.abs(np.arange(9)[:, None] - np.arange(9)) > window // 2
    outside = sum(int(apart[:length, :length].sum()) for length in lengths)
    assert train_flops(full, batch) - train_flops(local, batch) == 12 * 768 * 2 * outside


def test_a_batch_of_padding_alone_counts_nothing():
    batch = {"attention_mask": np.zeros((2, 8), np.int32)}
    assert train_flops(preset("deberta-v3-base"), batch) == 0


def test_padding_counts_nothing():
    config = EncoderConfig(num_hidden_layers=3)
    full = host_batch(4, 32, 5)
    padded = {
        "attention_mask": np.pad(full["attention_mask"], [(0, 0), (0, 32)]),
        "masked_lm_positions": np.pad(full["masked_lm_positions"], [(0, 0), (0, 3)]),
        "labels": np.pad(full["labels"], [(0, 0), (0, 3)], constant_values=-100),
    }
    assert train_flops(config, padded) == train_flops(config, full)


def test_packed_examples_count_as_in_rows_of_their_own():
    config = replace(preset("modernbert-base"), num_hidden_layers=3, local_attention=6)
    apart = {"attention_mask": np.arange(9) < np.array([[9], [4], [1], [7]])}
    beside = {"sequence_ids": np.array([[1] * 9 + [2] * 4, [1] + [2] * 7 + [0] * 5])}
    assert train_flops(config, beside) == train_flops(config, apart)
    assert train_flops(config, {"sequence_ids": np.zeros((2, 8), np.int32)}) == 0


def test_without_masked_positions_the_vocabulary_does_not_count():
    batch = {"attention_mask": np.ones((2, 8), np.int32), "labels": np.zeros(2, np.int32)}
    small = train_flops(EncoderConfig(vocab_size=10), batch)
    assert small == train_flops(EncoderConfig(vocab_size=100_000), batch)


def test_the_peak_is_that_of_one_jax_device():
    assert peak_flops("TPU v5 lite") == 197e12
    assert peak_flops("TPU7x") == PEAK_FLOPS["TPU7x"] / 2
    assert peak_flops("cpu") is None


@pytest.mark.parametrize(
    ("freeze", "freeze_layers", "thirds"),
    [
        ((), None, [3, 3, 3, 3]),
        ((), 0, [3, 3, 3, 3]),
        ((), 1, [1, 3, 3, 3]),
        ((), 3, [1, 1, 1, 3]),
        ((), "all", [1, 1, 1, 1]),
        (("encoder/layers",), None, [2, 2, 2, 2]),
        (("encoder/layers/(1|2)", "embeddings"), None, [3, 2, 2, 3]),
    ],
)
def test_a_frozen_layer_spares_its_own_gradients_and_what_nothing_below_it_needs(
    freeze: Any, freeze_layers: Any, thirds: list[int]
):
    config = EncoderConfig(hidden_size=8, num_hidden_layers=4, num_attention_heads=2, vocab_size=9)
    params = abstract_params(config, Head("next_sentence"))
    labels = group_labels(params, freeze, freeze_layers)
    assert share_computed(labels) == pytest.approx(sum(thirds) / 12)
