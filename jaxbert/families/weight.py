"""One parameter and its tensor in a Hugging Face file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head

Transform = Literal["same", "transpose", "pad_vocab"]
"""How a parameter differs from its tensor in a file; each one can be undone exactly.

same: not at all. transpose: the axes in reverse order; a dense kernel is [in, out] here and
[out, in] there. pad_vocab: ours has zero rows after the vocabulary, the file has none.
"""


@dataclass(frozen=True)
class Weight:
    """One parameter and the tensor of a Hugging Face file that holds it."""

    path: str
    """Where it lies in the params tree: "pooler/dense/kernel"."""
    key: str
    """Its name in `model.safetensors`: "bert.pooler.dense.weight"."""
    transform: Transform = "same"
    part: int = 0
    """Which part of the tensor it is, where several parameters share one."""
    parts: int = 1
    """Into how many equal parts the tensor falls along its first axis."""
    runs: int = 1
    """How many runs of rows, each with rows of every part in turn, the tensor consists of."""
    copy: str | None = None
    """A second name under which transformers saves the same numbers, and reads none of them."""
    apart: str | None = None
    """The name that a part has in files which hold it as a tensor of its own."""
    zero_beside: str | None = None
    """The name of a tensor beside which a file may lack this one, which then is zero."""

    def file_shape(self, shape: tuple[int, ...], config: EncoderConfig) -> tuple[int, ...]:
        """Shape of the whole tensor in the file, of a parameter that has `shape` here."""
        if self.transform == "transpose":
            shape = shape[::-1]
        if self.transform == "pad_vocab":
            shape = (config.vocab_size, *shape[1:])
        return (shape[0] * self.parts, *shape[1:])

    def from_file(self, tensor: np.ndarray, config: EncoderConfig) -> np.ndarray:
        """The parameter that `tensor` holds, in the dtype of the file."""
        if self.parts > 1:
            rest = tensor.shape[1:]
            tensor = tensor.reshape(self.runs, self.parts, -1, *rest)[:, self.part]
            tensor = tensor.reshape(-1, *rest)
        if self.transform == "transpose":
            return tensor.T
        if self.transform == "pad_vocab":
            rows = config.padded_vocab_size - config.vocab_size
            return np.pad(tensor, [(0, rows)] + [(0, 0)] * (tensor.ndim - 1))
        return tensor

    def to_file(self, parameter: np.ndarray, config: EncoderConfig) -> np.ndarray:
        """The tensor to write, or its part; takes anything of the parameter's shape."""
        if self.transform == "transpose":
            return parameter.T
        if self.transform == "pad_vocab":
            return parameter[: config.vocab_size]
        return parameter


def joined(parts: Sequence[np.ndarray], runs: int) -> np.ndarray:
    """The whole tensor of its parts, in as many runs of rows."""
    several = [part.reshape(runs, -1, *part.shape[1:]) for part in parts]
    return np.concatenate(several, axis=1).reshape(-1, *parts[0].shape[1:])


def dense(path: str, key: str, *, bias: bool = True) -> Iterator[Weight]:
    """Rows of a dense layer."""
    yield Weight(f"{path}/kernel", f"{key}.weight", "transpose")
    if bias:
        yield Weight(f"{path}/bias", f"{key}.bias")


def fused(
    paths: Sequence[str],
    key: str,
    *,
    bias: bool = True,
    apart: Sequence[str] | None = None,
    runs: int = 1,
) -> Iterator[Weight]:
    """Rows of dense layers that lie one after the other in one tensor.

    `apart`: what each is called in files that hold it alone. `runs`: how often they take turns.
    """
    for part, path in enumerate(paths):
        for row in dense(path, key, bias=bias):
            alone = None if apart is None else apart[part] + row.key.removeprefix(key)
            yield replace(row, part=part, parts=len(paths), runs=runs, apart=alone)


def norm(path: str, key: str, *, bias: bool = True) -> Iterator[Weight]:
    """Rows of a layer norm."""
    yield Weight(f"{path}/scale", f"{key}.weight")
    if bias:
        yield Weight(f"{path}/bias", f"{key}.bias")


def classifier_key(head: Head) -> str:
    """What transformers' classes call their last layer."""
    return "qa_outputs" if head.kind == "question_answering" else "classifier"
