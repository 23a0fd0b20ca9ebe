"""The contenders of step.py: each makes a function that does one training step.

python benchmarks/step_contenders.py CONTENDER SIZE

Says `{"ready": ...}` when compiled, then for every line on its input, a number of steps, what these
took. All have the same recipe: masked LM, dropout 0.1 everywhere, exact GELU, gradients clipped to
norm 1, AdamW without decay of biases and norms where the framework's own way leaves them out.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

VOCAB_SIZE, RATE = 30_522, 1e-4
Step = Callable[[], float]
"""Does one step to the end; the loss."""


@dataclass(frozen=True)
class Size:
    """An encoder and its batch; 15 % of the tokens are masked, the same number in every row."""

    layers: int
    hidden: int
    heads: int
    rows: int
    length: int

    @property
    def tokens(self) -> int:
        """Of a batch; none is padding."""
        return self.rows * self.length


SIZES = {
    "mini 32x128": Size(4, 256, 4, 32, 128),
    "MiniLM 16x128": Size(6, 384, 12, 16, 128),
    "base 4x128": Size(12, 768, 12, 4, 128),
    "base 1x512": Size(12, 768, 12, 1, 512),
}


def batch_of(size: Size) -> dict[str, np.ndarray]:
    """`input_ids`, and the masked positions with their labels."""
    draws, shape = np.random.default_rng(0), (size.rows, size.length)
    count = round(0.15 * size.length)
    positions = [np.sort(draws.permutation(size.length)[:count]) for _ in range(size.rows)]
    return {
        "input_ids": draws.integers(1000, VOCAB_SIZE, shape).astype(np.int32),
        "masked_lm_positions": np.stack(positions).astype(np.int32),
        "labels": draws.integers(1000, VOCAB_SIZE, (size.rows, count)).astype(np.int32),
    }


def jaxbert(size: Size, dtype: str, generator: str) -> Step:
    """What `jaxbert pretrain` runs, without the reading of data."""
    from jaxbert.cli.cpu_memory import keep_memory

    keep_memory()
    update, state, batch, put = jaxbert_update(size, dtype, generator)
    placed = put(batch)

    def step() -> float:
        nonlocal state
        state, metrics = update(state, placed)
        return float(metrics["loss"])

    return step


def jaxbert_update(
    size: Size, dtype: str = "auto", generator: str = "auto"
) -> tuple[Any, Any, dict[str, np.ndarray], Callable[[Any], Any]]:
    """The compiled step, its state, a batch, and what puts a batch onto the device."""
    import dataclasses

    import jax

    from jaxbert.experiment.settings import TrainingSettings
    from jaxbert.experiment.training_phases import training_phases
    from jaxbert.families import preset
    from jaxbert.nn.functional import init_params, make_apply
    from jaxbert.parallel.mesh import MeshConfig, make_mesh
    from jaxbert.parallel.rows import RowPlacement
    from jaxbert.tasks.pretraining import MaskedLanguageModelling
    from jaxbert.training.state import new_state
    from jaxbert.training.step import StepConfig

    encoder = dataclasses.replace(
        preset("bert-base-uncased"),
        num_hidden_layers=size.layers,
        hidden_size=size.hidden,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
    )
    task = MaskedLanguageModelling("none")
    settings = TrainingSettings(dtype=dtype, step=StepConfig(dropout_rng=generator))
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    params = init_params(encoder, task.head, 0)
    apply = make_apply(encoder, task.head, settings.compute_dtype(), settings.execution)
    [phase] = training_phases(
        settings, task, apply, params, num_steps=1000, ends_epoch=bool, mesh=mesh
    )
    batch = batch_of(size)
    batch["attention_mask"] = np.ones_like(batch["input_ids"])
    batch["token_type_ids"] = np.zeros_like(batch["input_ids"])
    state = new_state(params, phase.optimizer, mesh)
    return phase.step, state, batch, RowPlacement(mesh, 1).put


def flax(size: Size, dtype: str, generator: str) -> Step:
    """transformers' FlaxBertForMaskedLM as its run_mlm_flax.py trains it, state donated."""
    import flax_recipe
    import jax
    import jax.numpy as jnp
    import optax
    from transformers import BertConfig, FlaxBertForMaskedLM

    jax.config.update("jax_default_prng_impl", generator)
    config = BertConfig(**hugging_face(size))
    model = FlaxBertForMaskedLM(config, input_shape=(1, size.length), dtype=jnp.dtype(dtype))

    optimizer = flax_recipe.optimizer(RATE, 1e-6)
    batch = batch_of(size)
    ids, mask = jnp.asarray(batch["input_ids"]), jnp.ones(batch["input_ids"].shape, jnp.int32)
    labels = jnp.asarray(full_labels(batch))

    def loss_of(params: Any, key: Any) -> Any:
        logits = model(ids, mask, params=params, dropout_rng=key, train=True).logits
        return flax_recipe.cross_entropy(logits, labels)

    def update(params: Any, state: Any, key: Any) -> Any:
        key, dropout_key = jax.random.split(key)
        loss, gradients = jax.value_and_grad(loss_of)(params, dropout_key)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, key, loss

    update = jax.jit(update, donate_argnums=(0, 1, 2))
    carried = [model.params, optimizer.init(model.params), jax.random.key(0)]

    def step() -> float:
        *carried[:], loss = update(*carried)
        return float(loss)

    return step


def keras(size: Size, dtype: str) -> Step:
    """keras-hub's BertMaskedLM, which gathers masked positions, by `train_on_batch`."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    import keras_hub

    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=VOCAB_SIZE,
        num_layers=size.layers,
        num_heads=size.heads,
        hidden_dim=size.hidden,
        intermediate_dim=4 * size.hidden,
        dropout=0.1,
        max_sequence_length=512,
    )
    model = keras_hub.models.BertMaskedLM(backbone, preprocessor=None)
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=0.01, epsilon=1e-6, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=True)
    batch = batch_of(size)
    inputs = {
        "token_ids": batch["input_ids"],
        "padding_mask": np.ones_like(batch["input_ids"]),
        "segment_ids": np.zeros_like(batch["input_ids"]),
        "mask_positions": batch["masked_lm_positions"],
    }
    return lambda: float(np.ravel(model.train_on_batch(inputs, batch["labels"]))[0])


def torch(size: Size, dtype: str, attention: str, is_compiled: str) -> Step:
    """transformers' BertForMaskedLM in PyTorch with fused AdamW."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = BertConfig(**hugging_face(size), attn_implementation=attention)
    model = BertForMaskedLM(config).train()
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, RATE, eps=1e-6, fused=True)
    batch = batch_of(size)
    ids = torch.as_tensor(batch["input_ids"]).long()
    mask, labels = torch.ones_like(ids), torch.as_tensor(full_labels(batch)).long()
    run = torch.compile(model) if is_compiled == "compile" else model

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = run(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def hugging_face(size: Size) -> dict[str, Any]:
    """Arguments of transformers' BertConfig."""
    return {
        "vocab_size": VOCAB_SIZE,
        "num_hidden_layers": size.layers,
        "hidden_size": size.hidden,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.hidden,
    }


def full_labels(batch: dict[str, np.ndarray]) -> np.ndarray:
    """-100 where nothing is masked."""
    labels = np.full_like(batch["input_ids"], -100)
    np.put_along_axis(labels, batch["masked_lm_positions"], batch["labels"], axis=1)
    return labels


def main() -> None:
    name, *options = sys.argv[1].split()
    size = SIZES[sys.argv[2]]
    began = time.process_time()
    step = globals()[name](size, *options)
    losses = [step(), step()]
    print(json.dumps({"ready": time.process_time() - began, "losses": losses}), flush=True)
    for line in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        losses = [step() for _ in range(int(line))]
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps(spent | {"loss": losses[-1]}), flush=True)


if __name__ == "__main__":
    main()
