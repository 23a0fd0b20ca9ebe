"""The optimisers, as configuration: one section a kind."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from jaxbert.optim.groups import FreezeLayers, GroupConfig
from jaxbert.options import check_options


@dataclass(frozen=True)
class Updates:
    """What every optimiser has; the defaults are those of BERT pretraining."""

    learning_rate: Annotated[float, Gt(0)] = 1e-4
    """The schedule's peak, for the head."""
    weight_decay: Annotated[float, Ge(0)] = 0.01
    """Times learning rate and parameter (Loshchilov and Hutter 2019); not of biases and norms."""
    max_grad_norm: Annotated[float, Gt(0)] | None = 1.0
    """Gradients are scaled down to this global norm; null: never."""
    layer_decay: Annotated[float, Gt(0)] = 1.0
    """Learning-rate factor per step down from the head; 1: the same everywhere."""
    groups: tuple[GroupConfig, ...] = ()
    """Parameters with rates of their own; of several that match the first holds."""
    freeze: tuple[str, ...] = ()
    """Regular expressions of parameter paths that are not trained, e.g. `encoder/embeddings`."""
    freeze_layers: FreezeLayers | None = None
    """The embeddings and so many of the lowest layers are not trained; `all`: the encoder."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class AdamW(Updates):
    """AdamW (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    b1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """What the mean of gradients keeps of itself in a step."""
    b2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """The same of the mean of their squares."""
    eps: Annotated[float, Gt(0)] = 1e-6
    """Added to the root of that mean."""
    bias_correction: bool = True
    """false: as BERT's own code, whose first steps are smaller (Mosbach et al. 2021)."""


@dataclass(frozen=True)
class Adafactor(Updates):
    """Adafactor with a given rate (Shazeer and Stern 2018), whose state is small.

    Rows that pad the vocabulary are part of the table's means (a tenth of a percent of BERT's).
    """

    kind: Literal["adafactor"] = "adafactor"
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    weight_decay: Annotated[float, Ge(0)] = 0.0
    max_grad_norm: Annotated[float, Gt(0)] | None = None
    decay_rate: Annotated[float, Gt(0), Lt(1)] = 0.8
    """Second moments of step t forget 1 - t^-decay_rate."""
    min_dim_size_to_factor: Annotated[int, Ge(1)] = 128
    """Smaller matrices, and vectors, keep a moment of every entry."""
    clipping_threshold: Annotated[float, Ge(1)] | None = 1.0
    """Of the root mean square of every array's update; null: none."""
    scale_parameter: bool = True
    """The rate is relative to the root mean square of every array."""


@dataclass(frozen=True)
class Lamb(Updates):
    """LAMB (You et al. 2020), for large batches: each array moves in proportion to its norm.

    Biases and norms do not: `lamb_optimizer.py` of Lan et al. 2020 leaves out what has no decay.
    What is nearly zero moves as if its root mean square were 1e-3.
    """

    kind: Literal["lamb"] = "lamb"
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    b1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """What the mean of gradients keeps of itself in a step."""
    b2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """The same of the mean of their squares."""
    eps: Annotated[float, Gt(0)] = 1e-6
    """Added to the root of that mean."""


@dataclass(frozen=True)
class Lion(Updates):
    """Lion (Chen et al. 2023): signs; rates 3 to 10 times below AdamW's, decays as much above."""

    kind: Literal["lion"] = "lion"
    learning_rate: Annotated[float, Gt(0)] = 2e-5
    weight_decay: Annotated[float, Ge(0)] = 0.05
    b1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Share of the mean of gradients in the update, beside the gradient."""
    b2: Annotated[float, Ge(0), Lt(1)] = 0.99
    """What that mean keeps of itself in a step."""


@dataclass(frozen=True)
class Muon(Updates):
    """Muon (Jordan et al. 2024) for the kernels of the encoder's layers, AdamW for the rest."""

    kind: Literal["muon"] = "muon"
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.95
    """What the mean of gradients keeps of itself in a step."""
    ns_steps: Annotated[int, Ge(1)] = 5
    """Iterations that make an update orthogonal."""
    consistent_rms: Annotated[float, Gt(0)] | None = 0.2
    """Root mean square of an update, so that AdamW's rate serves both (Liu et al. 2025); null:
    scaled by sqrt(max(1, outputs / inputs)), which asks for a rate of its own (`groups`)."""
    b1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """AdamW's, for the rest."""
    b2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """AdamW's, for the rest."""
    eps: Annotated[float, Gt(0)] = 1e-6
    """AdamW's, for the rest."""


OptimizerConfig = AdamW | Adafactor | Lamb | Lion | Muon
