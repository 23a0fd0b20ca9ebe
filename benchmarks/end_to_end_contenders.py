"""The contenders of end_to_end.py: each trains from its own loader, a turn at a time.

python benchmarks/end_to_end_contenders.py CONTENDER SCRATCH ROWS

SCRATCH holds `text.jsonl`, `tokenizer` and the token store `store`. Says `{"ready": ...}` after two
steps, then for every line on its input, a number of steps, what these took.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from step_contenders import RATE, Size, hugging_face

LENGTH, MANY = 512, 1_000_000
MINI = Size(layers=4, hidden=256, heads=4, rows=0, length=LENGTH)
Training = tuple[Iterator[Any], Callable[[Any], tuple[int, int]]]
"""Batches, and one step to the end on one: its tokens without padding, and its positions."""


def jaxbert(scratch: Path, rows: int, is_packed: bool) -> Training:
    """What `jaxbert pretrain` runs between its logging."""
    import dataclasses

    import jax

    from jaxbert.cli.cpu_memory import keep_memory
    from jaxbert.data.loader import iterate
    from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
    from jaxbert.data.store import TokenStore
    from jaxbert.data.stream import Phase, Stream
    from jaxbert.experiment.settings import TrainingSettings
    from jaxbert.experiment.training_phases import training_phases
    from jaxbert.families import preset
    from jaxbert.nn.functional import init_params, make_apply
    from jaxbert.parallel.mesh import MeshConfig, make_mesh
    from jaxbert.parallel.rows import RowPlacement
    from jaxbert.tasks.pretraining import MaskedLanguageModelling
    from jaxbert.tasks.task import real_tokens
    from jaxbert.training.state import new_state

    # As the command does.
    keep_memory()
    store = TokenStore.open(scratch / "store")
    config = PretrainingDataConfig(max_seq_length=LENGTH, sentence_pairs="none", packing=is_packed)
    stream = Stream([Phase(PretrainingData(store, config, seed=0), rows)])
    given = hugging_face(MINI) | {"vocab_size": store.vocab_size}
    encoder = dataclasses.replace(preset("bert-base-uncased"), **given)
    task, settings = MaskedLanguageModelling("none"), TrainingSettings()
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    params = init_params(encoder, task.head, 0)
    apply = make_apply(encoder, task.head, settings.compute_dtype(), settings.execution)
    [phase] = training_phases(
        settings, task, apply, params, num_steps=MANY, ends_epoch=bool, mesh=mesh
    )
    state, placement = new_state(params, phase.optimizer, mesh), RowPlacement(mesh, 1)

    def step(batch: dict[str, np.ndarray]) -> tuple[int, int]:
        nonlocal state
        state, metrics = phase.step(state, placement.put(batch))
        float(metrics["loss"])
        real = real_tokens(batch)
        return int(real.sum()), real.size

    return iterate(stream.batch, 0, MANY), step


def torch(scratch: Path, rows: int, dtype: str) -> Training:
    """transformers and datasets as their users put them together."""
    import torch
    from input_peer import Peer
    from transformers import BertConfig, BertForMaskedLM, DataCollatorForLanguageModeling

    peer = Peer(scratch, rows)
    collate = DataCollatorForLanguageModeling(peer.tokenizer, pad_to_multiple_of=8)
    texts = peer.cut(LENGTH).select_columns(["input_ids", "special_tokens_mask"])
    options = {"batch_size": rows, "shuffle": True, "collate_fn": collate, "drop_last": True}
    loader = torch.utils.data.DataLoader(texts, **options)
    torch.manual_seed(0)
    given = hugging_face(MINI) | {"vocab_size": len(peer.tokenizer)}
    model = BertForMaskedLM(BertConfig(**given, attn_implementation="sdpa")).train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01, fused=True)

    def batches() -> Iterator[Any]:
        while True:
            yield from loader

    def step(batch: Any) -> tuple[int, int]:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        return int(batch["attention_mask"].sum()), batch["attention_mask"].numel()

    return batches(), step


def main() -> None:
    name, scratch, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if name.startswith("torch"):
        batches, step = torch(scratch, rows, name.split()[1])
    else:
        batches, step = jaxbert(scratch, rows, name == "packed")
    for _ in range(2):
        step(next(batches))
    print(json.dumps({"ready": time.process_time()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(batches, step, int(line))), flush=True)


def turn(
    batches: Iterator[Any], step: Callable[[Any], tuple[int, int]], steps: int
) -> dict[str, float]:
    """Seconds of some steps, and how much they trained on."""
    cpu, wall = time.process_time(), time.perf_counter()
    waited, seen = 0.0, np.zeros(2, int)
    for _ in range(steps):
        began = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - began
        seen += step(batch)
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "waited": waited,
        "tokens": int(seen[0]),
        "positions": int(seen[1]),
    }


if __name__ == "__main__":
    main()
