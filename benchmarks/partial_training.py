"""What a step costs when the lowest layers are frozen: FLOPs, optimiser state, time.

python benchmarks/partial_training.py [--preset bert-base-uncased] [--rows 16] [--length 64]

FLOPs are XLA's of the compiled step. Time is the median of the steps after the first two: on a CPU
that of its cores together, which other work on the machine does not change much.
"""

import argparse
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import jax
import numpy as np

from jaxbert.experiment.settings import TrainingSettings
from jaxbert.experiment.training_phases import training_phases
from jaxbert.families import preset
from jaxbert.nn.functional import init_params, make_apply
from jaxbert.optim.groups import FreezeLayers
from jaxbert.optim.kinds import AdamW
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.parallel.rules import batch_sharding
from jaxbert.tasks.sequence_classification import SequenceClassification
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.training.state import new_state
from jaxbert.tree import num_elements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="bert-base-uncased")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    layers = preset(arguments.preset).num_hidden_layers
    print(f"{arguments.preset}, {arguments.rows} rows of {arguments.length} tokens, ", end="")
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}\n")
    unit = "core-ms" if jax.default_backend() == "cpu" else "ms"
    print(f"| frozen | trained parameters | optimiser state, MB | GFLOP a step | {unit} a step |")
    print("|---|---|---|---|---|")
    choices: list[FreezeLayers | None] = [None, 0, layers // 2, layers - 1, "all"]
    for frozen in dict.fromkeys(choices):
        print(f"| {described(frozen)} | {' | '.join(measured(arguments, frozen))} |", flush=True)


def described(frozen: FreezeLayers | None) -> str:
    if frozen is None:
        return "nothing"
    if frozen == "all":
        return "the encoder"
    return f"embeddings and {frozen} layers" if frozen else "embeddings"


def measured(arguments: Any, frozen: FreezeLayers | None) -> Iterator[str]:
    encoder, task = preset(arguments.preset), SequenceClassification(SingleLabel(("no", "yes")))
    settings = TrainingSettings(optimizer=AdamW(3e-5, freeze_layers=frozen))
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    params = init_params(encoder, task.head, 0)
    [phase] = training_phases(
        settings,
        task,
        make_apply(encoder, task.head, settings.compute_dtype()),
        params,
        num_steps=1000,
        ends_epoch=bool,
        mesh=mesh,
    )
    state = new_state(params, phase.optimizer, mesh)
    batch = jax.device_put(
        batch_of(arguments, encoder.vocab_size), batch_sharding(mesh, microbatches=True)
    )
    step = phase.step.lower(state, batch).compile()  # type: ignore[attr-defined]
    seconds = []
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    yield f"{phase.num_trained:,}"
    yield f"{num_elements(state.opt_state) * 4 / 1e6:,.0f}"
    yield f"{step.cost_analysis()['flops'] / 1e9:,.0f}"
    for _ in range(arguments.steps):
        started = clock()
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)
        seconds.append(clock() - started)
    yield f"{1e3 * median(seconds[2:]):,.0f}"


def batch_of(arguments: Any, vocab_size: int) -> dict[str, np.ndarray]:
    draws, shape = np.random.default_rng(0), (1, arguments.rows, arguments.length)
    return {
        "input_ids": draws.integers(5, vocab_size, shape).astype(np.int32),
        "attention_mask": np.ones(shape, np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "labels": draws.integers(0, 2, shape[:2]).astype(np.int32),
        "row_ids": np.arange(arguments.rows, dtype=np.int32)[None],
        "weights": np.ones(shape[:2], np.float32),
    }


if __name__ == "__main__":
    main()
