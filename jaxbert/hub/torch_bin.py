"""PyTorch's pickled state dicts, read by PyTorch itself and only as tensors."""

import pickle
import zipfile
from pathlib import Path
from textwrap import shorten
from typing import Any

import ml_dtypes
import numpy as np

from jaxbert.errors import UserError
from jaxbert.hub.tensors import Tensors

# What PyTorch's reader trips over in a file that is not whole.
_SPOILT = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    *(RuntimeError, EOFError, OSError, ValueError, TypeError, LookupError, AssertionError),
)

_DTYPES = (
    *("float32", "float16", "bfloat16", "float64"),
    *("int64", "int32", "int16", "int8", "uint8", "bool"),
)


def open_torch(file: Path) -> Tensors:
    """The tensors of one file, through `torch.load(weights_only=True)`, which runs no code of it.

    Raises UserError where torch is missing, or the file holds anything but tensors by name.
    """
    state = _load(file)
    if not isinstance(state, dict) or not all(hasattr(value, "shape") for value in state.values()):
        found = f"a dict of {', '.join(map(str, state))}" if isinstance(state, dict) else "no dict"
        raise UserError(
            f"{file}: expected tensors by name, as `torch.save(model.state_dict())`, found "
            f"{shorten(found, 200)}: of a training checkpoint save the model's tensors alone"
        )
    for key, tensor in state.items():
        _check(file, str(key), tensor)
    shapes = {str(key): tuple(tensor.shape) for key, tensor in state.items()}
    return Tensors(shapes, lambda key: _to_numpy(state[key]))


def _load(file: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{file} is a pickle, which only PyTorch can read: pip install 'jaxbert[parity]', or "
            f"convert it where torch is installed (jaxbert convert)"
        ) from None
    try:
        # Files from before PyTorch 1.6 are no archives and cannot be mapped.
        mmap = zipfile.is_zipfile(file)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except _SPOILT as error:
        # An empty file's EOFError says nothing.
        reason = " ".join(str(error).split(". ")[0].split()) or type(error).__name__
        raise UserError(f"{file} is not a whole file of tensors alone ({reason})") from None


def _check(file: Path, key: str, tensor: Any) -> None:
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        kind = "a tensor without values (meta)"
    elif str(tensor.layout) != "torch.strided":
        kind = "a sparse tensor"
    if kind not in _DTYPES:
        raise UserError(
            f"{file}: {key} is {kind}; expected dense tensors of {', '.join(_DTYPES[:4])}: save"
            " the model in one of these"
        )


def _to_numpy(tensor: Any) -> np.ndarray:
    import torch

    tensor = tensor.detach().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()
