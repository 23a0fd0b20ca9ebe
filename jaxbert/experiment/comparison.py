"""How a model of embeddings compares queries with documents, one vector a text or several."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxbert.data.buckets import standard_lengths
from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import TaskSection
from jaxbert.experiment.inference import Ready
from jaxbert.experiment.predictor import Predictor
from jaxbert.experiment.search import Comparison
from jaxbert.hub.sentence_prompts import PROMPTS, read_prompts
from jaxbert.tasks.late_interaction import LateInteractionConfig
from jaxbert.tasks.max_sim import max_sims
from jaxbert.tasks.prompts import Prompts
from jaxbert.tasks.sentence_embedding import SentenceEmbeddingConfig
from jaxbert.tasks.sparse_embedding import SparseEmbeddingConfig
from jaxbert.typing import Array


def comparison_of(model: Ready, section: TaskSection, reading: Reading) -> Comparison:
    """By cosine or dot product of vectors, by dot product of sparse ones, or by late interaction.

    Each side is read with the model's own prompt. Raises UserError where the model gives no vectors
    of texts.
    """
    if isinstance(section, LateInteractionConfig):
        return _of_tokens(model, section, reading)
    if not isinstance(section, SentenceEmbeddingConfig | SparseEmbeddingConfig):
        raise UserError(
            f"{model.loaded.directory}: its task is {section.kind}, and retrieval compares vectors "
            "of texts: take a model of embeddings, sparse ones, or late interaction"
        )
    prompts = section.prompts or Prompts()
    plain: Any = replace(section, prompts=None, prompt=None)
    # Both sides are read by one compiled program, their prompts being part of the texts.
    predictor = Predictor(model, section=plain, reading=reading)
    if isinstance(section, SparseEmbeddingConfig):
        _similarity(model, "dot")
        vectors_of = predictor.sparse_vectors
        return Comparison(
            _behind(prompts.query, vectors_of),
            _behind(prompts.document, vectors_of),
            # Of a chunk of documents only their own words are multiplied.
            lambda queries, documents: jnp.asarray((documents @ queries.toarray().T).T),
            # An inverted index finds no text that shares no word.
            above=0.0,
        )
    vectors = partial(
        _vectors, predictor, is_cosine=_similarity(model, "cosine", "dot") == "cosine"
    )
    return Comparison(
        _behind(prompts.query, vectors), _behind(prompts.document, vectors), _products
    )


def _behind(prompt: str, act: Callable[[Sequence[str]], Any]) -> Callable[[Sequence[str]], Any]:
    return lambda texts: act([prompt + text for text in texts])


def _vectors(predictor: Predictor, texts: Sequence[str], *, is_cosine: bool) -> Array:
    found = jnp.asarray(predictor.vectors(texts))
    if not is_cosine:
        return found
    lengths = jnp.linalg.norm(found, axis=-1, keepdims=True)
    return found / jnp.where(lengths > 0, lengths, 1.0)


@jax.jit
def _products(queries: Array, documents: Array) -> Array:
    # A TPU would otherwise multiply in bfloat16, in which neighbours are equally near.
    return jnp.matmul(queries, documents.T, precision=jax.lax.Precision.HIGHEST)


def _similarity(model: Ready, *known: str) -> str:
    """What config_sentence_transformers.json says; without a word of it the first that is known."""
    name = read_prompts(model.loaded.described).get("similarity_fn_name", known[0])
    name = "dot" if name == "dot_product" else name
    if name not in known:
        raise UserError(
            f"{model.loaded.described / PROMPTS}: similarity_fn_name={name!r}: expected "
            f"{' or '.join(known)}"
        )
    return str(name)


def _of_tokens(model: Ready, section: LateInteractionConfig, reading: Reading) -> Comparison:
    queries, documents = (
        Predictor(model, section=replace(section, side=side), reading=reading)
        for side in ("query", "document")
    )
    lengths = standard_lengths(reading.max_seq_length).tolist()
    return Comparison(
        lambda texts: _padded(queries.token_vectors(texts), lengths),
        lambda texts: _padded(documents.token_vectors(texts), lengths),
        lambda queries, documents: _max_sims(*queries, *documents),
    )


_max_sims = jax.jit(max_sims)


def _padded(texts: Sequence[NDArray[np.float32]], lengths: Sequence[int]) -> tuple[Array, Array]:
    """[texts, tokens, dimensions] and which of them are tokens, in one of a few widths."""
    longest = max((len(vectors) for vectors in texts), default=0)
    width = next((length for length in lengths if length >= longest), longest)
    padded = np.zeros((len(texts), width, texts[0].shape[1]), np.float32)
    is_token = np.zeros(padded.shape[:2], bool)
    for row, vectors in enumerate(texts):
        padded[row, : len(vectors)], is_token[row, : len(vectors)] = vectors, True
    return jnp.asarray(padded), jnp.asarray(is_token)
