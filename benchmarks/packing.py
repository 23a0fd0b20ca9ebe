"""How full the rows of pretraining batches are, packed and with one example a row.

python benchmarks/packing.py STORE... [--out FILE.json]

Stores are those of `jaxbert prepare`. Counted is what the model is given: the positions of the
rows of one epoch, or of the first 2,000 rows of a larger one, that are not padding.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
from jaxbert.data.store import TokenStore

ROWS, BATCH = 2000, 100
PAIRS = ("none", "next_sentence", "sentence_order")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", nargs="+", metavar="STORE")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    figures = [
        figures_of(TokenStore.open(store), length, pairs)
        for store in arguments.stores
        for length in arguments.lengths
        for pairs in PAIRS
    ]
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")
    report(figures)


def figures_of(store: TokenStore, length: int, pairs: str) -> dict[str, Any]:
    """Filled positions of both kinds of rows, and examples in a packed one."""
    found: dict[str, Any] = {"store": store.path.name, "length": length, "pairs": pairs}
    for name, is_packed in (("unpacked", False), ("packed", True)):
        config = PretrainingDataConfig(
            max_seq_length=length, packing=is_packed, sentence_pairs=pairs
        )
        data = PretrainingData(store, config, seed=0)
        rows = min(ROWS, data.num_rows)
        filled = 0
        for first in range(0, rows, BATCH):
            batch = data.rows(np.arange(first, min(first + BATCH, rows)), 0)
            real = batch["sequence_ids"] > 0 if is_packed else batch["attention_mask"]
            filled += int(real.sum())
        found[name] = filled / (rows * length)
        found[f"{name}_rows"] = data.num_rows
    found["examples_per_row"] = data.num_examples / data.num_rows
    return found


def report(figures: list[dict[str, Any]]) -> None:
    columns = f"{'store':16}{'length':>8}  {'pairs':16}{'unpacked':>10}{'packed':>10}"
    print(f"{columns}{'examples/row':>14}")
    for row in figures:
        print(
            f"{row['store']:16}{row['length']:8}  {row['pairs']:16}{row['unpacked']:10.1%}"
            f"{row['packed']:10.1%}{row['examples_per_row']:14.2f}"
        )


if __name__ == "__main__":
    main()
