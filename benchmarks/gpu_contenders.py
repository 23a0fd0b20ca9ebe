"""The contenders of gpu.py: each makes a function that does one training step on a batch.

python benchmarks/gpu_contenders.py CONTENDER CASE_AS_JSON SECONDS

Says `{"ready": ...}` when compiled: its rows, halved until they fit the memory, and seconds per
step. Then for every line on its input, `full STEPS` or `real STEPS`, what these took. Where a
framework is not there, `{"missing": ...}`. `ceiling FRAMEWORK` multiplies matrices instead.

All have the same recipe: float32 parameters, computing in bfloat16, gradients clipped to norm 1,
AdamW without decay of biases and norms.
"""

import contextlib
import dataclasses
import fcntl
import functools
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gpu_batches import BATCHES, SIZES, VOCAB_SIZE, Batch, Case, Lengths, batches

RATE = 1e-4
LENGTHS: tuple[Lengths, ...] = ("full", "real")
Run = Callable[[Lengths, int], float]
"""Does so many steps to the end on batches of full or real lengths; the last loss."""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """XLA times kernels while it compiles, which others that do so would disturb."""
    with open(Path(tempfile.gettempdir(), "jaxbert-benchmarks-gpu.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def jaxbert(case: Case, rows: int, kernel: str, generator: str) -> Run:
    """The train step on packed batches; full lengths are rows of one example each."""
    import jax

    from jaxbert.families import preset
    from jaxbert.nn.execution import Execution
    from jaxbert.nn.functional import init_params, make_apply
    from jaxbert.optim.groups import group_labels
    from jaxbert.optim.kinds import AdamW
    from jaxbert.optim.optimizer import make_optimizer
    from jaxbert.optim.schedule import ScheduleConfig, make_schedule
    from jaxbert.parallel.mesh import MeshConfig, make_mesh
    from jaxbert.parallel.rows import RowPlacement
    from jaxbert.tasks.pretraining import MaskedLanguageModelling
    from jaxbert.tasks.question_answering import QuestionAnswering
    from jaxbert.training.state import new_state
    from jaxbert.training.step import StepConfig, jit_train_step, make_train_step

    given = hugging_face(case)
    encoder = dataclasses.replace(preset("bert-base-uncased"), **given)
    is_pretraining = case.objective == "masked LM"
    task = MaskedLanguageModelling("none") if is_pretraining else QuestionAnswering()
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    params = init_params(encoder, task.head, 0)
    labels = group_labels(params, (), None)
    schedule = make_schedule(ScheduleConfig(), RATE, 1_000_000)
    optimizer = make_optimizer(AdamW(RATE), schedule, params, labels)
    execution = Execution(attention=kernel)  # type: ignore[arg-type]
    apply = make_apply(encoder, task.head, jax.numpy.bfloat16, execution)
    config = StepConfig(dropout_rng=generator)  # type: ignore[arg-type]
    step = make_train_step(apply, task, optimizer, schedule, labels, config, 0, mesh)
    state = new_state(params, optimizer, mesh)
    put = RowPlacement(mesh, 1).put
    placed = {name: [put(b) for b in batches(case, name, rows, True)] for name in LENGTHS}
    update: Any = jit_train_step(step, state, mesh)
    lowered = update.lower(state, placed["full"][0])
    with alone():
        compiled = lowered.compile()
    del params

    def run(name: Lengths, steps: int) -> float:
        nonlocal state
        for number in range(steps):
            state, metrics = compiled(state, placed[name][number % BATCHES])
        return float(metrics["loss"])

    return run


def flax(case: Case, rows: int) -> Run:
    """transformers' FlaxBert as its examples train it, state donated, padded batches."""
    import flax_recipe
    import jax
    import jax.numpy as jnp
    import optax
    from transformers import (
        BertConfig,
        FlaxBertForMaskedLM,
        FlaxBertForQuestionAnswering,
    )

    is_pretraining = case.objective == "masked LM"
    kind = FlaxBertForMaskedLM if is_pretraining else FlaxBertForQuestionAnswering
    model = kind(BertConfig(**hugging_face(case)), dtype=jnp.bfloat16)

    optimizer = flax_recipe.optimizer(RATE, 1e-6)

    def loss_of(params: Any, batch: Any, key: Any) -> Any:
        inputs = (batch["input_ids"], batch["attention_mask"])
        output = model(*inputs, params=params, dropout_rng=key, train=True)
        if is_pretraining:
            return flax_recipe.cross_entropy(output.logits, batch["labels"])
        start = flax_recipe.cross_entropy(output.start_logits, batch["start_positions"])
        return (start + flax_recipe.cross_entropy(output.end_logits, batch["end_positions"])) / 2

    def update(params: Any, state: Any, key: Any, batch: Any) -> Any:
        key, dropout_key = jax.random.split(key)
        loss, gradients = jax.value_and_grad(loss_of)(params, batch, dropout_key)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, key, loss

    carried = [model.params, optimizer.init(model.params), jax.random.key(0)]
    placed = {
        name: [jax.device_put(with_all_labels(b)) for b in batches(case, name, rows, False)]
        for name in LENGTHS
    }
    lowered = jax.jit(update, donate_argnums=(0, 1, 2)).lower(*carried, placed["full"][0])
    with alone():
        compiled = lowered.compile()

    def run(name: Lengths, steps: int) -> float:
        for number in range(steps):
            *carried[:], loss = compiled(*carried, placed[name][number % BATCHES])
        return float(loss)

    return run


def torch(case: Case, rows: int) -> Run:
    """transformers' BERT by SDPA and torch.compile, fused AdamW, padded batches.

    Without a mask where nothing is padded, which lets SDPA take its fastest kernel.
    """
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertForQuestionAnswering

    device = torch_device()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    kind = BertForMaskedLM if case.objective == "masked LM" else BertForQuestionAnswering
    config = BertConfig(**hugging_face(case), attn_implementation="sdpa")
    model = kind(config).train().to(device)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, RATE, eps=1e-6, fused=True)
    compiled = torch.compile(model)

    def put(batch: Batch, is_full: bool) -> dict[str, Any]:
        left_out = {"row_ids", "masked_lm_positions"} | ({"attention_mask"} if is_full else set())
        return {
            name: torch.as_tensor(values).long().to(device)
            for name, values in with_all_labels(batch).items()
            if name not in left_out
        }

    placed = {
        name: [put(b, name == "full") for b in batches(case, name, rows, False)] for name in LENGTHS
    }

    def run(name: Lengths, steps: int) -> float:
        for number in range(steps):
            with torch.autocast(device, torch.bfloat16):
                loss = compiled(**placed[name][number % BATCHES]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return float(loss.item())

    return run


def ceiling(framework: str, width: int) -> tuple[str, Callable[[int], float]]:
    """The device, and what multiplies random bfloat16 matrices so many times; FLOP/s."""
    operands = np.random.default_rng(0).standard_normal((2, width, width)).astype(np.float32)
    product: Callable[[], Any]
    finish: Callable[[Any], None]
    if framework == "jax":
        import jax

        a, b = (jax.numpy.asarray(x, jax.numpy.bfloat16) for x in operands)
        product, finish = functools.partial(jax.jit(jax.numpy.matmul), a, b), jax.block_until_ready
        device = jax.devices()[0].device_kind if jax.default_backend() == "gpu" else "cpu"
    else:
        import torch

        place = torch_device()
        factors = (torch.as_tensor(x).to(place, torch.bfloat16) for x in operands)
        product = functools.partial(torch.matmul, *factors)
        device = torch.cuda.get_device_name() if place == "cuda" else "cpu"

        def finish(result: Any) -> None:
            if place == "cuda":
                torch.cuda.synchronize()

    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            result = product()
        finish(result)
        return 2 * width**3 * count / (time.perf_counter() - began)

    run(3)
    return device, run


def torch_device() -> str:
    """The GPU, unless this is a rehearsal; ImportError where PyTorch knows none."""
    import torch

    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise ImportError("this PyTorch finds no GPU", name="torch with CUDA")
    return "cuda"


def hugging_face(case: Case) -> dict[str, Any]:
    """What the configuration of all models says."""
    size = SIZES[case.size]
    return {
        "vocab_size": VOCAB_SIZE,
        "num_hidden_layers": size.layers,
        "hidden_size": size.hidden,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.hidden,
        "attention_probs_dropout_prob": case.attention_dropout,
    }


def with_all_labels(batch: Batch) -> Batch:
    """A label for every token, -100 where nothing is masked, as transformers' models take them."""
    if "labels" not in batch:
        return batch
    labels = np.full_like(batch["input_ids"], -100)
    is_used = batch["labels"] >= 0
    rows = np.nonzero(is_used)[0]
    labels[rows, batch["masked_lm_positions"][is_used]] = batch["labels"][is_used]
    kept = {name: x for name, x in batch.items() if name != "masked_lm_positions"}
    return kept | {"labels": labels}


def got_ready(make: Callable[..., Run], case: Case, options: list[str]) -> tuple[Run, Any]:
    """With as many rows as fit, and what it says of itself."""
    rows = case.rows
    while True:
        try:
            run = make(case, rows, *options)
            losses = {name: [run(name, 1), run(name, 2)] for name in LENGTHS}
            break
        except RuntimeError as error:
            told = str(error)
            if rows == 1 or not ("RESOURCE_EXHAUSTED" in told or "out of memory" in told):
                raise
        # Only now nothing refers to what was made.
        gc.collect()
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()
        rows //= 2
    per_step = {name: min(timed(run, name, 2) / 2 for _ in range(2)) for name in LENGTHS}
    return run, {"rows": rows, "seconds": per_step, "losses": losses}


def timed(run: Run, name: Lengths, steps: int) -> float:
    """Seconds."""
    began = time.perf_counter()
    run(name, steps)
    return time.perf_counter() - began


def main() -> None:
    name, *options = sys.argv[1].split()
    try:
        if name == "ceiling":
            device, multiply = ceiling(options[0], int(sys.argv[2]))
            print(json.dumps({"device": device}), flush=True)
            for line in sys.stdin:
                print(json.dumps({"flops": multiply(int(line))}), flush=True)
            return
        run, ready = got_ready(globals()[name], Case(**json.loads(sys.argv[2])), options)
    except ImportError as error:
        print(json.dumps({"missing": f"{error.name or name} ({error})"}), flush=True)
        return
    print(json.dumps({"ready": ready}), flush=True)
    for line in sys.stdin:
        lengths, steps = line.split()
        print(json.dumps({"seconds": timed(run, lengths, int(steps))}), flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
