"""Dense: a layer of sentence-transformers in a folder of its own, read and written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxbert.errors import UserError
from jaxbert.families.weight import dense
from jaxbert.hub.contents import Stored
from jaxbert.hub.safetensors_io import open_safetensors, write_file
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import parameter_shapes
from jaxbert.nn.head import DenseLayer, Head
from jaxbert.text.vocabulary import read_object

MODULE = "vector_projection"
"""Where its parameters are in the params tree."""
DENSE = "linear"
"""What files call the layer."""
CONFIG, WEIGHTS, PICKLE = "config.json", "model.safetensors", "pytorch_model.bin"
Input = Literal["sentence_embedding", "token_embeddings"]
"""What such a layer may read, in sentence-transformers' words."""

_PACKAGES = "torch."
_ACTIVATIONS: dict[str, Literal["identity", "tanh"]] = {"Tanh": "tanh", "Identity": "identity"}
_NAMES = {
    "identity": "torch.nn.modules.linear.Identity",
    "tanh": "torch.nn.modules.activation.Tanh",
}


def read_dense(folder: Path, reads: Input) -> DenseLayer:
    """What the configuration in a folder says; UserError for what is not implemented.

    `reads`: the input that a layer at this place has, also where its file names none.
    """
    file = folder / CONFIG
    fields = read_object(file)
    if not fields:
        raise UserError(f"{file} is missing: expected the options of a Dense layer")
    name = fields.get("activation_function", _NAMES["tanh"])
    activation = _ACTIVATIONS.get(str(name).rpartition(".")[2])
    if activation is None or not str(name).startswith(_PACKAGES):
        raise UserError(
            f"{file}: activation_function={name!r} is not implemented: expected one of "
            f"{', '.join(_NAMES.values())}"
        )
    given = fields.get("module_input_name") or reads
    for key, value in (
        ("module_input_name", given),
        ("module_output_name", fields.get("module_output_name") or given),
    ):
        if value != reads:
            raise UserError(f"{file}: {key}={value!r}: expected {reads} after these modules")
    if fields.get("use_residual"):
        raise UserError(f"{file}: use_residual=true is not implemented: expected false")
    width, bias = fields.get("out_features"), fields.get("bias", True)
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise UserError(f"{file}: out_features={width!r}: expected a whole number of at least 1")
    if not isinstance(bias, bool):
        raise UserError(f"{file}: bias={bias!r}: expected true or false")
    return DenseLayer(width, activation, bias)


def stored_dense(folder: Path, config: EncoderConfig, head: Head) -> dict[str, Stored]:
    """What the weights in a folder hold of each parameter of the layer."""
    file = folder / WEIGHTS
    if not file.is_file():
        why = f"; {PICKLE} beside it is a pickle" if (folder / PICKLE).is_file() else ""
        raise UserError(
            f"{file} is missing{why}: load the model with sentence-transformers and save it again, "
            f"which writes {WEIGHTS}"
        )
    tensors, shapes, stored = open_safetensors(file), parameter_shapes(config, head), {}
    assert head.dense is not None
    for weight in dense(f"{MODULE}/dense", DENSE, bias=head.dense.bias):

        def read(weight: Any = weight) -> np.ndarray:
            return weight.from_file(tensors.read(weight.key), config)

        expected = weight.file_shape(shapes[weight.path], config)
        found = tensors.shapes.get(weight.key)
        name = f"{folder.name}/{weight.key}"
        stored[weight.path] = Stored(name, expected, found, read)
    return stored


def write_dense(
    layer: DenseLayer, params: Mapping[str, Any], dtype: np.dtype[Any], folder: Path, reads: Input
) -> None:
    """Writes the folder; `params` are the layer's own: `kernel` [in, out] and perhaps `bias`."""
    kernel = np.asarray(params["kernel"])
    fields = {
        "in_features": kernel.shape[0],
        "out_features": layer.dimensions,
        "bias": layer.bias,
        "activation_function": _NAMES[layer.activation],
        "module_input_name": reads,
        "module_output_name": reads,
    }
    folder.mkdir()
    text = json.dumps(fields, indent=2)
    (folder / CONFIG).write_text(f"{text}\n", encoding="utf-8")
    tensors = {f"{DENSE}.weight": kernel.T.astype(dtype)}
    if layer.bias:
        tensors[f"{DENSE}.bias"] = np.asarray(params["bias"]).astype(dtype)
    write_file(tensors, folder / WEIGHTS)
