"""Writing a model as a directory that Hugging Face's libraries open."""

from pathlib import Path
from typing import Literal, get_args

import jax
import ml_dtypes
import numpy as np

from jaxbert.config import nearest
from jaxbert.errors import UserError
from jaxbert.families import FAMILIES
from jaxbert.families.family import Family
from jaxbert.hub import native
from jaxbert.hub.card import Card, render
from jaxbert.hub.config_file import write_config
from jaxbert.hub.replace import whole_directory
from jaxbert.hub.safetensors_io import SINGLE, write_tensors
from jaxbert.nn.config import EncoderConfig, Head
from jaxbert.nn.functional import check_params, functional
from jaxbert.nn.model import Model
from jaxbert.text.tokenizer import Tokenizer, save_tokenizer
from jaxbert.tree import flat
from jaxbert.typing import Params

FileDtype = Literal["float32", "bfloat16"]
Layout = Literal["huggingface", "orbax"]

_NUMPY = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
BERT = FAMILIES["bert"]


def save_pretrained(
    model: Model,
    tokenizer: Tokenizer | None,
    directory: str | Path,
    *,
    dtype: FileDtype = "float32",
    card: Card | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a model, its tokenizer and its card in Hugging Face's layout; see `save_params`."""
    params = functional(model)[1]
    save_params(
        params,
        model.config,
        model.head,
        tokenizer,
        directory,
        dtype=dtype,
        card=card,
        overwrite=overwrite,
    )


def save_params(
    params: Params,
    config: EncoderConfig,
    head: Head,
    tokenizer: Tokenizer | None,
    directory: str | Path,
    *,
    family: Family = BERT,
    layout: Layout = "huggingface",
    dtype: FileDtype = "float32",
    card: Card | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a model directory whole or not at all.

    huggingface: config.json, model.safetensors with exactly the tensors of the class that
    transformers would save, tokenizer, vocab.txt, README.md. orbax: the same with the params tree
    in place of the safetensors. Every array must be addressable by this process. Raises UserError
    where `directory` is not empty (`overwrite` replaces a model) or the
    params or the tokenizer do not fit.
    """
    if dtype not in _NUMPY:
        raise UserError(f"dtype={dtype!r}: {nearest(str(dtype), get_args(FileDtype))}")
    check_params(params, config, head)
    if tokenizer is not None:
        check_tokenizer(tokenizer, config)
    with whole_directory(directory, overwrite=overwrite) as new:
        write_config({**family.config_to_hf(config, head), "dtype": dtype}, new)
        if layout == "orbax":
            native.write_params(params, new, _NUMPY[dtype])
        else:
            tensors = file_tensors(params, config, head, family=family, dtype=dtype)
            write_tensors(tensors, new / SINGLE)
        if tokenizer is not None:
            save_tokenizer(tokenizer, new)
        text = render(card or Card(name=Path(directory).name), family, config, head)
        (new / "README.md").write_text(text, encoding="utf-8")


def file_tensors(
    params: Params,
    config: EncoderConfig,
    head: Head,
    *,
    family: Family = BERT,
    dtype: FileDtype = "float32",
) -> dict[str, np.ndarray]:
    """The tensors of model.safetensors by name: transposed and trimmed to the real vocabulary.

    Takes any tree of the params' structure, so it also names gradients and moments.
    """
    leaves = flat(jax.device_get(params))
    table = family.weights(config, head)
    assert set(leaves) == {weight.path for weight in table}
    return {
        weight.key: weight.to_file(leaves[weight.path], config).astype(_NUMPY[dtype])
        for weight in table
    }


def check_tokenizer(tokenizer: Tokenizer, config: EncoderConfig) -> None:
    """Raises UserError where the tokenizer gives ids for which the model has no embedding."""
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} tokens and the model "
            f"vocab_size={config.vocab_size}: take the tokenizer that the model was trained with"
        )
