"""What startup.py runs in fresh processes.

python benchmarks/startup_contenders.py first CONTENDER|dispatch jaxbert|linen
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import step_contenders
from step_contenders import Size

SMALL = Size(layers=4, hidden=256, heads=4, rows=8, length=128)
NEXT_TO_NOTHING = Size(layers=12, hidden=64, heads=1, rows=2, length=64)
STEPS = 50
MakeRun = Callable[[Any], Any]


def first(contender: str) -> float:
    """CPU-seconds of this process until one step is done."""
    name, *options = contender.split()
    getattr(step_contenders, name)(SMALL, *options)()
    return time.process_time()


def dispatch(contender: str) -> dict[str, float]:
    """CPU-microseconds of this thread a step, by where the batch is."""
    make = {"jaxbert": step_contenders.jaxbert_update, "linen": linen_update}[contender]
    update, carried, batch, put = make(NEXT_TO_NOTHING)
    placed = put(batch)
    figures: dict[str, list[float]] = {"on the device": [], "on the host": []}
    for number in range(STEPS):
        for where, values in figures.items():
            began = time.thread_time()
            given = placed if where == "on the device" else put(batch)
            carried, result = update(carried, given)
            spent = time.thread_time() - began
            # Waiting is no part of it, nor is a queue that is full.
            float(np.asarray(result["loss"]))
            if number:
                values.append(1e6 * spent)
    return {where: median(values) for where, values in figures.items()}


def linen_update(size: Size) -> tuple[Any, Any, dict[str, np.ndarray], Callable[[Any], Any]]:
    """FlaxBert's step as the Flax documentation writes one: (update, state, batch, put)."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax.training.train_state import TrainState
    from transformers import BertConfig, FlaxBertForMaskedLM

    config = BertConfig(**step_contenders.hugging_face(size))
    model = FlaxBertForMaskedLM(config, input_shape=(1, size.length))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-4, weight_decay=0.01))
    state = TrainState.create(apply_fn=model.__call__, params=model.params, tx=optimizer)
    batch = step_contenders.batch_of(size)
    batch = {
        "input_ids": batch["input_ids"],
        "attention_mask": np.ones_like(batch["input_ids"]),
        "labels": step_contenders.full_labels(batch),
    }

    def update(carried: Any, batch: Any) -> Any:
        state, key = carried
        key, dropout_key = jax.random.split(key)

        def loss_of(params: Any) -> Any:
            logits = state.apply_fn(
                batch["input_ids"],
                batch["attention_mask"],
                params=params,
                dropout_rng=dropout_key,
                train=True,
            ).logits
            is_masked = batch["labels"] >= 0
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, jnp.where(is_masked, batch["labels"], 0)
            )
            return (losses * is_masked).sum() / is_masked.sum()

        loss, gradients = jax.value_and_grad(loss_of)(state.params)
        return (state.apply_gradients(grads=gradients), key), {"loss": loss}

    carried = state, jax.random.key(0)
    return jax.jit(update, donate_argnums=0), carried, batch, jax.device_put


if __name__ == "__main__":
    print(json.dumps({"first": first, "dispatch": dispatch}[sys.argv[1]](sys.argv[2])))
