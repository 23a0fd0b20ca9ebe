"""Writing a model as a directory that Hugging Face's libraries open."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import ml_dtypes
import numpy as np

from jaxbert.errors import UserError, nearest
from jaxbert.families import family_of
from jaxbert.families.family import as_filed
from jaxbert.families.head_fields import KIND, head_to_hf
from jaxbert.families.weight import joined
from jaxbert.hub import native
from jaxbert.hub.card import FILE, Card, render
from jaxbert.hub.config_file import write_config
from jaxbert.hub.cross_encoder import score_fields
from jaxbert.hub.dense_module import MODULE
from jaxbert.hub.own_architecture import ARCHITECTURE, own_options
from jaxbert.hub.replace import whole_directory
from jaxbert.hub.safetensors_io import write_safetensors
from jaxbert.hub.sentence_modules import is_sentence_encoder, write_modules
from jaxbert.hub.sentence_prompts import write_prompts, write_sides
from jaxbert.hub.sparse_modules import MODEL_TYPE
from jaxbert.hub.token_vectors import write_of_tokens
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import check_params, functional
from jaxbert.nn.head import Head
from jaxbert.nn.model import Model
from jaxbert.text.tokenizer import Tokenizer, save_tokenizer
from jaxbert.tree import flat
from jaxbert.typing import Params

FileDtype = Literal["float32", "bfloat16"]
Layout = Literal["huggingface", "orbax"]

_NUMPY = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def save_pretrained(
    model: Model,
    tokenizer: Tokenizer | None,
    directory: str | Path,
    *,
    layout: Layout = "huggingface",
    dtype: FileDtype = "float32",
    max_shard_size: int | str | None = None,
    card: Card | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a model, its tokenizer and its card; see `save_params`.

    What else the directory says that the model was read from (licence, prompts of texts) is kept by
    `jaxbert.convert`.
    """
    params = functional(model)[1]
    save_params(
        params,
        model.config,
        model.head,
        tokenizer,
        directory,
        layout=layout,
        dtype=dtype,
        max_shard_size=max_shard_size,
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
    layout: Layout = "huggingface",
    dtype: FileDtype = "float32",
    max_shard_size: int | str | None = None,
    card: Card | None = None,
    token_ids: Mapping[str, int | None] | None = None,
    prompts: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a model directory whole or not at all.

    huggingface: config.json, model.safetensors with exactly the tensors of the class that
    transformers would save, tokenizer, vocab.txt, README.md; an encoder that pools, or is for late
    interaction, has the files of sentence-transformers besides, and no pooler. orbax: the same with
    the params tree in place of the safetensors. `token_ids`: what config.json says of
    `bos_token_id` and its like without a tokenizer. `prompts`: what sentence-transformers is told
    of texts, as `read_prompts` gives it. `max_shard_size`: bytes, or such as "5GB"; None: one file.
    Every array must be addressable by this process. Raises UserError where `directory` is not empty
    (`overwrite` replaces a model) or the params or the tokenizer do not fit.
    """
    if dtype not in _NUMPY:
        raise UserError(f"dtype={dtype!r}: {nearest(str(dtype), get_args(FileDtype))}")
    if layout not in get_args(Layout):
        raise UserError(f"layout={layout!r}: {nearest(str(layout), get_args(Layout))}")
    beyond = _beyond_transformers(config, head)
    if layout == "huggingface" and beyond is not None:
        raise UserError(
            f"transformers has no class with {beyond}: save it with layout='orbax' (--to orbax), "
            "or its encoder alone (--head none)"
        )
    if layout == "orbax" and max_shard_size is not None:
        raise UserError(f"max_shard_size={max_shard_size!r} is for layout='huggingface'")
    if layout == "huggingface":
        check_config(config, head)
    _check_labels(head)
    check_params(params, config, head)
    if tokenizer is not None:
        check_tokenizer(tokenizer, config)
    with whole_directory(directory, overwrite=overwrite) as new:
        tokens = _token_ids(config, tokenizer, token_ids or {})
        # Modules beside it say what is more than transformers' class.
        filed = as_filed(head) if layout == "huggingface" else head
        write_config(config_fields(config, filed) | tokens | {"dtype": dtype}, new)
        if layout == "orbax":
            native.write_params(params, new, _NUMPY[dtype])
        else:
            # A Dense layer has a file of its own.
            of_file = {name: tree for name, tree in params.items() if name != MODULE}
            tensors = file_tensors(of_file, config, head, dtype=dtype)
            write_safetensors(tensors | _constants(config, head), new, max_shard_size)
            if is_sentence_encoder(head):
                write_modules(head, config.hidden_size, params, _NUMPY[dtype], new)
            if head.kind == "late_interaction":
                write_of_tokens(head, params, _NUMPY[dtype], prompts or {}, new)
        if head.splade is not None:
            write_prompts(prompts or {}, new, MODEL_TYPE)
        elif head.kind == "none" and head.pooling is not None:
            write_prompts(prompts or {}, new)
        if head.kind == "late_interaction":
            write_sides(prompts or {}, new, beside_modules=layout == "huggingface")
        if tokenizer is not None:
            save_tokenizer(_of_model(tokenizer, config), new)
        library = "transformers" if layout == "huggingface" else "jaxbert"
        has_modules = is_sentence_encoder(head) or head.kind == "late_interaction"
        if layout == "huggingface" and has_modules:
            library = "sentence-transformers"
        card = card or Card(name=Path(directory).name)
        text = render(card, config, head, library=library, own=beyond_family(config))
        (new / FILE).write_text(text, encoding="utf-8")


def file_tensors(
    params: Params,
    config: EncoderConfig,
    head: Head,
    *,
    dtype: FileDtype = "float32",
) -> dict[str, np.ndarray]:
    """The tensors of model.safetensors by name: transposed and trimmed to the real vocabulary.

    Takes any tree of the params' structure, so it also names gradients and moments.
    """
    leaves = flat(jax.device_get(params))
    table = family_of(config.model_type).weights(config, as_filed(head))
    # A table has the encoder's pooler also where another pooling takes its place.
    assert set(leaves) <= {weight.path for weight in table}
    parts: dict[str, list[np.ndarray]] = {}
    runs = {weight.key: weight.runs for weight in table}
    written = [weight for weight in table if weight.path in leaves]
    for weight in sorted(written, key=lambda weight: weight.part):
        tensor = weight.to_file(leaves[weight.path], config).astype(_NUMPY[dtype], copy=False)
        parts.setdefault(weight.key, []).append(tensor)
        if weight.copy is not None:
            parts[weight.copy] = [tensor]
    return {
        key: joined(found, runs[key]) if found[1:] else found[0] for key, found in parts.items()
    }


def _constants(config: EncoderConfig, head: Head) -> dict[str, np.ndarray]:
    """Never rounded: transformers computes with them as they are."""
    constants = family_of(config.model_type).constants
    return {} if constants is None else dict(constants.write(config, head))


def config_fields(config: EncoderConfig, head: Head) -> dict[str, Any]:
    """The fields of config.json, without the dtype of the weights.

    Of an architecture that the family's cannot say no class of transformers is named.
    """
    family, own = family_of(config.model_type), beyond_family(config)
    architecture = None if own else family.architecture(as_filed(head).kind)
    return {
        "model_type": family.model_type,
        "architectures": [] if architecture is None else [architecture],
        **({KIND: head.kind} if architecture is None or as_filed(head) != head else {}),
        **({ARCHITECTURE: own} if own else {}),
        **family.config_to_hf(config, head),
        **head_to_hf(head),
        **score_fields(head),
    }


def beyond_family(config: EncoderConfig) -> dict[str, Any]:
    """Options that the family's config.json cannot say, with their values; {} where there is none.

    Its models are kept in our own layout. Raises UserError for a value that the family refuses.
    """
    family = family_of(config.model_type)
    fields = {"model_type": family.model_type, **family.config_to_hf(config, Head())}
    return own_options(config, family.config_from_hf(fields))


def _token_ids(
    config: EncoderConfig, tokenizer: Tokenizer | None, given: Mapping[str, int | None]
) -> dict[str, int | None]:
    """Tokens that config.json names by id: the tokenizer's, for it knows its vocabulary."""
    names = family_of(config.model_type).token_ids
    if tokenizer is None:
        return {name: given[name] for name in names if name in given}
    found = {name: tokenizer.token_id(name.removesuffix("_id")) for name in names}
    # transformers takes no null for EuroBERT's mask_token_id.
    return {name: token_id for name, token_id in found.items() if token_id is not None}


def check_config(config: EncoderConfig, head: Head) -> None:
    """Raises UserError for an option that the family's config.json cannot say."""
    for name, value in beyond_family(config).items():
        raise UserError(
            f"{name}={value!r}: {config.model_type} has no such option in config.json, and "
            "transformers would read another model: save it with layout='orbax' (--to orbax)"
        )


def _check_labels(head: Head) -> None:
    if head.problem_type == "single_label_classification" and len(head.labels) == 1:
        raise UserError(
            f"labels={list(head.labels)}: one class is nothing to tell apart, and transformers "
            "does not open such a model: give two labels, or problem_type='regression'"
        )


def check_tokenizer(tokenizer: Tokenizer, config: EncoderConfig) -> None:
    """Raises UserError where the model has no embedding for an id, or takes another for padding.

    And for another library's tokenizer, which has not what is to be written.
    """
    if not isinstance(tokenizer, Tokenizer):
        raise UserError(
            f"tokenizer is {type(tokenizer).__name__}: expected one of jaxbert.load_tokenizer, or"
            " None to save none"
        )
    wrong = None
    if tokenizer.vocab_size > config.vocab_size:
        wrong = f"has {tokenizer.vocab_size} tokens and the model vocab_size={config.vocab_size}"
    elif (
        config.position_embedding_type == "after_padding"
        and tokenizer.pad_id != config.pad_token_id
    ):
        # Such a model tells from the ids alone where the tokens are.
        wrong = f"pads with id {tokenizer.pad_id} and the model pad_token_id={config.pad_token_id}"
    elif config.token_dropout and tokenizer.mask_id != config.mask_token_id:
        wrong = f"masks with id {tokenizer.mask_id} and the model mask_token_id="
        wrong += f"{config.mask_token_id}"
    if wrong is not None:
        raise UserError(
            f"the tokenizer {wrong}: take the tokenizer that the model was trained with"
        )


def _of_model(tokenizer: Tokenizer, config: EncoderConfig) -> Tokenizer:
    """The tokenizer, giving no more tokens and no more types of them than the model takes.

    Without a limit in its files transformers cuts nothing, and the model has no such positions.
    """
    longest = longest_input(config)
    fields: dict[str, Any] = {
        "model_max_length": min(tokenizer.model_max_length or longest, longest)
    }
    if config.type_vocab_size <= 1:
        fields["model_input_names"] = ["input_ids", "attention_mask"]
    return Tokenizer(tokenizer.backend, tokenizer.config | fields)


def layout_for(config: EncoderConfig, head: Head) -> Layout:
    """Hugging Face's layout wherever it can hold the encoder and the head, else orbax."""
    is_known = _beyond_transformers(config, head) is None and not beyond_family(config)
    return "huggingface" if is_known else "orbax"


def _beyond_transformers(config: EncoderConfig, head: Head) -> str | None:
    """What no class of transformers computes; None: there is a class for the head."""
    family = family_of(config.model_type)
    if family.architecture(as_filed(head).kind) is None:
        return f"a {head.kind} head for {family.model_type}"
    if head.mixture is not None:
        return "a head over several layers"
    # What config.json says of pooling is about classifiers.
    poolings = family.poolings if head.num_outputs else frozenset()
    if head.pooling is not None and head.pooling not in poolings and not is_sentence_encoder(head):
        return f"pooling={head.pooling!r} for {family.model_type}"
    return None
