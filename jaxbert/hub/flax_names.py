"""Flax's parameter names in those of PyTorch, as transformers pairs them in every family."""

from jaxbert.hub.tensors import PyTorchName

_LEAVES = {"kernel": "weight", "embedding": "weight", "scale": "weight"}


def pytorch_name(path: str) -> PyTorchName:
    """`classifier/kernel` [in, out] is `classifier.weight` [out, in]; other axes stay."""
    *modules, leaf = path.removeprefix("params/").split("/")
    key = ".".join([*modules, _LEAVES.get(leaf, leaf)])
    return PyTorchName(key, is_transposed=leaf == "kernel")
