"""jaxbert's encoder in a training loop of your own, in plain JAX and Optax: are words shuffled?

python examples/research_loop.py runs/base/model sentences.txt --out runs/shuffled
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbert
from jaxbert.cli.reporting import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="model directory, run or hub id")
    parser.add_argument("text", type=Path, help="a sentence a line")
    parser.add_argument("--out", type=Path, help="directory for the trained encoder")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--length", type=int, default=64)
    arguments = parser.parse_args()

    tokenizer = jaxbert.load_tokenizer(arguments.model)
    encoder = jaxbert.from_pretrained(arguments.model, head="none")
    apply, params = jaxbert.functional(encoder)
    params = {"encoder": params, "probe": jnp.zeros((encoder.config.hidden_size, 2))}
    optimizer = optax.adamw(arguments.learning_rate)
    state = optimizer.init(params)

    def loss_of(params, batch, labels, key):
        output = apply(params["encoder"], **batch, key=key)
        logits = output.last_hidden_state[:, 0] @ params["probe"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params, state, batch, labels, key):
        loss, grads = jax.value_and_grad(loss_of)(params, batch, labels, key)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    sentences = [line for line in arguments.text.read_text().splitlines() if line.strip()]
    random, key = np.random.default_rng(0), jax.random.key(0)
    for number in range(arguments.steps):
        labels = random.integers(0, 2, arguments.batch_size)
        words = [text.split() for text in random.choice(sentences, arguments.batch_size)]
        for row in np.flatnonzero(labels):
            random.shuffle(words[row])
        texts = [" ".join(row) for row in words]
        batch = tokenizer.encode(texts, max_length=arguments.length, padding="max_length")
        key, dropout = jax.random.split(key)
        params, state, loss = step(params, state, batch, labels, dropout)
        if number % 10 == 0 or number == arguments.steps - 1:
            print(f"step {number}  loss {loss:.4f}")

    if arguments.out is not None:
        jaxbert.save_params(
            params["encoder"], encoder.config, encoder.head, tokenizer, arguments.out
        )


if __name__ == "__main__":
    run_script(main)
