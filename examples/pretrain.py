"""Pretrain a small BERT on text files, one chip to a whole host.

python examples/pretrain.py wiki/*.jsonl.xz --out runs/wiki
python examples/pretrain.py docs: --limit-mb 2 --steps 20 --out runs/smoke    # a smoke test
"""

import argparse
from pathlib import Path

import jaxbert
from jaxbert.cli.reporting import run_script
from jaxbert.data.prepare import PrepareOptions, prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", help="anything that `jaxbert prepare` reads")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="bert-small")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--limit-mb", type=float, help="of text to read")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()

    store = arguments.out / "store"
    if not store.exists():
        limit = None if arguments.limit_mb is None else int(arguments.limit_mb * 1e6)
        options = PrepareOptions(vocab_size=arguments.vocab_size, limit_bytes=limit)
        summary = prepare(arguments.sources, store, options)
        print(f"{store}: {summary.documents:,} documents, {summary.tokens:,} tokens")

    config = {
        "store": store,
        "model": {"preset": arguments.preset},
        "data": {"max_seq_length": 128, "validation_fraction": 0.05},
        "num_steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "optimizer": {"learning_rate": 5e-4},
        "schedule": {"kind": "cosine", "warmup_steps": 0.1},
        "loop": {"log_every": 10, "checkpoint_every": 200},
    }
    # The same command again continues where the last checkpoint stands.
    fitted = jaxbert.pretrain(config, arguments.out / "run")
    print(fitted.results)
    print(f"the model is in {arguments.out / 'run' / 'model'}")


if __name__ == "__main__":
    run_script(main)
