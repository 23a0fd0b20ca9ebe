"""Which of a directory's files holds the weights, and who reads it.

Where there are several the first of these is taken: model.safetensors, flax_model.msgpack,
pytorch_model.bin, a TensorFlow 1 checkpoint. Formats that need no other framework and can hold no
code come first, and the order does not depend on what is installed, so that a directory is the
same model everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxbert.errors import UserError
from jaxbert.hub.config_file import Description
from jaxbert.hub.flax_msgpack import open_flax
from jaxbert.hub.flax_names import pytorch_name
from jaxbert.hub.safetensors_io import open_safetensors
from jaxbert.hub.shards import open_shards
from jaxbert.hub.tensor_bundle import open_bundle
from jaxbert.hub.tensorflow_names import pytorch_names
from jaxbert.hub.tensors import PyTorchName, Tensors, in_pytorch_names
from jaxbert.hub.torch_bin import open_torch

TENSORFLOW = ("*.ckpt*.index", "*.ckpt*.data-*")


@dataclass(frozen=True)
class Format:
    """One file of tensors, or shards with an index beside them."""

    single: str
    open: Callable[[Path], Tensors]
    """Opens one file."""
    name: Callable[[str], PyTorchName | None] = PyTorchName
    """PyTorch's name of a tensor."""

    @property
    def index(self) -> str:
        """The file that names the shards."""
        return f"{self.single}.index.json"

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names of all its files."""
        stem, _, suffix = self.single.partition(".")
        return self.single, self.index, f"{stem}-*-of-*.{suffix}"


FORMATS = (
    Format("model.safetensors", open_safetensors),
    Format("flax_model.msgpack", open_flax, pytorch_name),
    Format("pytorch_model.bin", open_torch),
)


def holds_tensors(directory: Path) -> bool:
    """Whether one of `FORMATS` is there."""
    return any(
        (directory / name).is_file() for form in FORMATS for name in (form.single, form.index)
    )


def open_tensors(directory: Path, described: Description, checkpoint: str | None = None) -> Tensors:
    """The weights of a directory in PyTorch's names; `checkpoint` names one of TensorFlow's.

    Raises UserError where there are none that can be read, or where they are damaged.
    """
    for form in () if checkpoint else FORMATS:
        if (directory / form.single).is_file():
            return in_pytorch_names(form.open(directory / form.single), form.name)
        if (directory / form.index).is_file():
            return in_pytorch_names(open_shards(directory / form.index, form.open), form.name)
    names = pytorch_names(described.family.model_type, is_generator=described.head.has_masked_lm)
    return in_pytorch_names(open_bundle(_checkpoint(directory, checkpoint)), names)


def _checkpoint(directory: Path, name: str | None) -> Path:
    """The prefix of the only TensorFlow checkpoint, or of the one that was asked for."""
    if name:
        return directory / name
    prefixes = sorted(file.with_suffix("") for file in directory.glob(TENSORFLOW[0]))
    if len(prefixes) > 1:
        names = ", ".join(prefix.name for prefix in prefixes)
        raise UserError(
            f"{directory} holds several TensorFlow checkpoints ({names}): give one of them, as "
            f"{prefixes[0]}"
        )
    if not prefixes:
        raise UserError(_no_weights(directory))
    return prefixes[0]


def _no_weights(directory: Path) -> str:
    if (directory / "tf_model.h5").is_file():
        return (
            f"{directory / 'tf_model.h5'} cannot be read: expected "
            f"{', '.join(form.single for form in FORMATS)} or a TensorFlow 1 checkpoint: "
            "transformers 4 with TensorFlow opens it with from_tf=True, and saves it as one of them"
        )
    return (
        f"{directory} holds no {FORMATS[0].single}: save the model with transformers' "
        f'save_pretrained, or, for a hub id, try revision="refs/pr/1", where the Hub\'s '
        f"converter may have put it"
    )
