"""jaxbert's encoder in a training loop of your own: plain JAX and Optax.

A probe for reversed text: is a sentence as it was written, or backwards?

    python examples/research_loop.py runs/base/model sentences.txt
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="model directory, run or hub id")
    parser.add_argument("text", type=Path, help="a sentence a line")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    arguments = parser.parse_args()

    tokenizer = jaxbert.load_tokenizer(arguments.model)
    encoder = jaxbert.from_pretrained(arguments.model, head="none")
    apply, params = jaxbert.functional(encoder)
    params = {"encoder": params, "probe": jnp.zeros((encoder.config.hidden_size, 2))}
    optimizer = optax.adamw(1e-4)
    state = optimizer.init(params)

    def loss_of(params, batch, labels, key):
        output = apply(params["encoder"], **batch, key=key)
        mask = batch["attention_mask"][..., None]
        mean = (output.last_hidden_state * mask).sum(axis=1) / mask.sum(axis=1)
        logits = mean @ params["probe"]
        accuracy = (logits.argmax(axis=-1) == labels).mean()
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), accuracy

    @jax.jit
    def step(params, state, batch, labels, key):
        (loss, accuracy), grads = jax.value_and_grad(loss_of, has_aux=True)(
            params, batch, labels, key
        )
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss, accuracy

    sentences = [line for line in arguments.text.read_text().splitlines() if line.strip()]
    random, key = np.random.default_rng(0), jax.random.key(0)
    for number in range(arguments.steps):
        labels = random.integers(0, 2, arguments.batch_size)
        chosen = random.choice(sentences, arguments.batch_size)
        texts = [
            " ".join(text.split()[::-1]) if label else text
            for text, label in zip(chosen, labels, strict=True)
        ]
        batch = tokenizer.encode(texts, max_length=arguments.length, padding="max_length")
        params, state, loss, accuracy = step(
            params, state, batch, labels, jax.random.fold_in(key, number)
        )
        if number % 10 == 0 or number == arguments.steps - 1:
            print(f"step {number}  loss {loss:.4f}  accuracy {accuracy:.2f}")


if __name__ == "__main__":
    main()
