"""Open a Hugging Face checkpoint, look into it, and write it back: no PyTorch needed.

python examples/convert.py bert-base-uncased exported
"""

import argparse

import numpy as np

import jaxbert
from jaxbert.cli.reporting import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="model directory or hub id")
    parser.add_argument("destination", help="directory to write, in Hugging Face layout")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    arguments = parser.parse_args()

    model = jaxbert.from_pretrained(arguments.source)
    tokenizer = jaxbert.load_tokenizer(arguments.source)
    batch = tokenizer.encode(["The quick brown fox.", "A sentence that is longer."])
    output = model(**batch, capture=("hidden_states",))
    print(f"{model.head.kind} head, {len(output.hidden_states) - 1} layers")
    print("norm of each layer's [CLS]:")
    for layer, hidden in enumerate(output.hidden_states):
        print(f"  {layer:2d}  {np.linalg.norm(np.asarray(hidden[:, 0]), axis=-1).round(3)}")

    jaxbert.convert(arguments.source, arguments.destination, dtype=arguments.dtype)
    print(f"written: {arguments.destination}")


if __name__ == "__main__":
    run_script(main)
