"""The choices in which families differ beyond their sizes, as values."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from jaxbert.errors import UserError
from jaxbert.options import check_options

Activation = Literal["gelu", "gelu_new", "relu", "silu", "tanh"]
LayerType = Literal["full_attention", "sliding_attention"]
PositionAttention = Literal["c2p", "p2c"]


@dataclass(frozen=True)
class RotaryPositions:
    """Rotary position embeddings (Su et al. 2021), with a base of its own for local layers."""

    rope_theta: float = 10000.0
    """Base of the layers of full attention."""
    local_rope_theta: float = 10000.0
    """Base of the layers of sliding attention."""
    factor: float = 1.0
    """What positions are divided by, the linear scaling of rows that are longer than trained."""
    frequencies: tuple[float, ...] | None = None
    """By what angle a position turns each pair of features in layers of full attention; None: as
    `rope_theta` has it. The published ESM-2 have these rounded."""

    def __post_init__(self) -> None:
        check_options(self)
        if not self.factor > 0:
            raise UserError(f"factor={self.factor}: rotary positions are divided by it: above 0")
        if self.frequencies is not None and not all(0 < f < inf for f in self.frequencies):
            raise UserError(f"frequencies={self.frequencies}: expected numbers above 0")


@dataclass(frozen=True)
class RelativeAttention:
    """Disentangled attention over relative positions (He et al. 2020, section 3.1)."""

    position_buckets: int = 256
    """Relative positions fall into logarithmic buckets this far; 0: every one is its own."""
    max_relative_positions: int = 512
    pos_att_type: tuple[PositionAttention, ...] = ("c2p", "p2c")
    """content-to-position and position-to-content scores."""
    share_att_key: bool = True
    """Positions go through the content's query and key projections."""
    norm_rel_ebd: bool = True
    """Layer norm over the relative embeddings."""

    @property
    def span(self) -> int:
        """Relative embeddings on either side of zero."""
        return self.position_buckets if self.position_buckets > 0 else self.max_relative_positions

    def __post_init__(self) -> None:
        check_options(self)
        if self.max_relative_positions < 1:
            raise UserError(
                f"max_relative_positions={self.max_relative_positions}: must be at least 1"
            )
        if self.position_buckets < 0 or self.position_buckets == 1:
            raise UserError(
                f"position_buckets={self.position_buckets}: expected 0 for none, or at least 2"
            )


@dataclass(frozen=True)
class RelativeBias:
    """A number for every head and bucket of distances, added to the scores of all layers alike.

    As Raffel et al. 2020 (T5), section 2.1, and MPNet have it.
    """

    relative_attention_num_buckets: int = 32
    """Half of them for keys ahead; of each half one half for single distances, the nearest."""
    relative_attention_max_distance: int = 128
    """From here on distances share the last bucket of their half; up to here in logarithmic steps.
    """

    def __post_init__(self) -> None:
        check_options(self)
        buckets, furthest = (
            self.relative_attention_num_buckets,
            self.relative_attention_max_distance,
        )
        if buckets < 4 or buckets % 2:
            raise UserError(
                f"relative_attention_num_buckets={buckets}: expected an even number of at least 4"
            )
        if furthest <= buckets // 4:
            raise UserError(
                f"relative_attention_max_distance={furthest}: expected more than the "
                f"{buckets // 4} distances that have buckets of their own "
                f"(relative_attention_num_buckets={buckets})"
            )


@dataclass(frozen=True)
class Convolution:
    """The convolution over the first layer's input of DeBERTa-v2 (xlarge and xxlarge)."""

    conv_kernel_size: int = 3
    conv_act: Activation = "tanh"

    def __post_init__(self) -> None:
        check_options(self)
        if self.conv_kernel_size < 1 or self.conv_kernel_size % 2 == 0:
            raise UserError(
                f"conv_kernel_size={self.conv_kernel_size}: expected an odd number, so that a row "
                "keeps its length"
            )


@dataclass(frozen=True)
class HeadStyle:
    """What a family puts between the encoder and the last dense layer of one kind of head."""

    activation: Activation | Literal["hidden_act"] | None = None
    """Of a dense layer of the hidden size; None: there is no such layer."""
    norm: bool = False
    """Layer norm after the activation."""
    bias: bool = True
    """Of the dense layer."""
    dense_dropout: float | None = 0.0
    """Before the dense layer; None: as before the last one."""
    dropout: float | None = None
    """Before the last layer; None: `hidden_dropout_prob`."""
    pooling: Literal["cls", "mean", "late"] = "cls"
    """How one vector comes from a row, where the head takes one; late: the mean of what the dense
    layer makes of every token."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class HeadStyles:
    """The style of every kind of head. The defaults are BERT's."""

    pooler: HeadStyle | None = HeadStyle("tanh")
    """Of the plain encoder; None: the family has none."""
    next_sentence: HeadStyle = HeadStyle("tanh", dropout=0.0)
    sequence_classification: HeadStyle = HeadStyle("tanh")
    multiple_choice: HeadStyle = HeadStyle("tanh")
    token_classification: HeadStyle = HeadStyle()
    question_answering: HeadStyle = HeadStyle(dropout=0.0)
    replaced_token_detection: HeadStyle = HeadStyle("hidden_act", dropout=0.0)
    masked_lm: HeadStyle = HeadStyle("hidden_act", norm=True, dropout=0.0)
    masked_lm_bias: bool = True
    """A bias per piece of the vocabulary."""
    legacy: bool = True
    """DeBERTa's masked LM is `cls.predictions` in files; else it is `lm_predictions`."""
