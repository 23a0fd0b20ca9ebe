"""What an encoder is, as a value. Option names are Hugging Face's."""

from dataclasses import dataclass, field
from typing import Literal

from jaxbert.errors import UserError
from jaxbert.nn.parts import (
    Activation,
    Convolution,
    HeadStyles,
    LayerType,
    RelativeAttention,
    RelativeBias,
    RotaryPositions,
)
from jaxbert.options import check_options

VOCABULARY_MULTIPLE = 128
"""Rows of the word embedding come in multiples of a TPU lane, so that shards stay equal."""

_AT_LEAST_ONE = (
    "vocab_size",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
_RATES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "embedding_dropout_prob",
    "attention_output_dropout_prob",
    "mlp_dropout_prob",
    "mlp_output_dropout_prob",
)


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder. The defaults are BERT-base, uncased."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    """Sentence types; 0: none are embedded."""
    task_type_vocab_size: int = 0
    """Tasks of ERNIE's pretraining, of which every token has the first; 0: none are embedded."""
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    tie_word_embeddings: bool = True
    """The masked LM's output projection is the word embedding."""

    embedding_size: int | None = None
    """Width of the embeddings, projected to `hidden_size`; None: that width itself."""
    always_projects_embeddings: bool = False
    """Even where the two widths are the same."""
    position_embedding_type: Literal["absolute", "after_padding", "none"] = "absolute"
    """after_padding: rows of the table from `pad_token_id` + 1 on, padding not counted."""
    token_dropout: bool = False
    """ESM's: the embedding of a mask is zero, and the others of its text are scaled to what they
    add up to where 12 % are masks, as in its pretraining."""
    mask_token_id: int | None = None
    """For `token_dropout`; to a model without it masks are tokens like others."""
    embedding_norm: bool = True
    mask_embeddings: bool = False
    """The embeddings of padding are zero, and it attends to all positions alike."""
    embedding_dropout_prob: float | None = None
    """None: `hidden_dropout_prob`."""

    num_hidden_groups: int | None = None
    """Layers that exist, each one applied several times over; None: every layer is its own."""
    norm_placement: Literal["post", "pre"] = "post"
    """post: after every residual sum. pre: before every block, and once at the end."""
    norm_kind: Literal["layer_norm", "rms_norm"] = "layer_norm"
    norm_bias: bool = True
    first_norm: bool = True
    """With norm_placement pre: whether the first layer's attention has its norm."""

    attention_bias: bool = True
    key_bias: bool = True
    """False: keys have none, nor have those of positions in disentangled attention."""
    attention_output_dropout_prob: float | None = None
    """After the attention's output projection; None: `hidden_dropout_prob`."""
    num_key_value_heads: int | None = None
    """Heads of keys and values, shared by groups of query heads; None: one for each."""
    layer_types: tuple[LayerType, ...] | None = None
    """Of the layers in turn, from the first again after the last; None: all are full."""
    local_attention: int = 128
    """Width of the window of sliding attention: this many divided by 2 on either side."""
    rotary: RotaryPositions | None = None
    relative_attention: RelativeAttention | None = None
    relative_bias: RelativeBias | None = None
    convolution: Convolution | None = None

    gated_mlp: bool = False
    """The activation multiplies a second projection (Shazeer 2020)."""
    mlp_bias: bool = True
    mlp_output_bias: bool | None = None
    """Of the second product of the feed-forward network; None: `mlp_bias`."""
    mlp_dropout_prob: float = 0.0
    """Between the two products of the feed-forward network."""
    mlp_output_dropout_prob: float | None = None
    """After its second product; None: `hidden_dropout_prob`."""
    depth_scaled_initializer: bool = False
    """Output projections start smaller by sqrt(2 * num_hidden_layers), classifiers at
    1 / sqrt(hidden_size)."""

    heads: HeadStyles = field(default=HeadStyles())
    model_type: str = "bert"
    """The family, whose file in `families/` knows its sizes and its names elsewhere."""

    def __post_init__(self) -> None:
        check_options(self)
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("num_hidden_layers", "type_vocab_size", "task_type_vocab_size"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)}: must not be negative")
        for name in _RATES:
            rate = getattr(self, name)
            if rate is not None and not 0.0 <= rate < 1.0:
                raise UserError(f"{name}={rate}: must lie in [0, 1)")
        if self.pad_token_id >= self.vocab_size:
            raise UserError(
                f"pad_token_id={self.pad_token_id}: must be below vocab_size={self.vocab_size}"
            )
        self._check_masks()
        if self.embedding_size is not None and self.embedding_size < 1:
            raise UserError(f"embedding_size={self.embedding_size}: must be at least 1")
        if self.layer_norm_eps <= 0:
            raise UserError(f"layer_norm_eps={self.layer_norm_eps}: must be above 0")
        self._check_heads()
        self._check_layers()

    def _check_masks(self) -> None:
        mask = self.mask_token_id
        if mask is None and self.token_dropout:
            raise UserError(
                "token_dropout=True without mask_token_id: give the id of the token whose "
                "embedding is dropped"
            )
        if mask is not None and not 0 <= mask < self.vocab_size:
            raise UserError(
                f"mask_token_id={mask}: expected 0 to vocab_size - 1 = {self.vocab_size - 1}"
            )

    def _check_heads(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden_size={self.hidden_size} is not a multiple of "
                f"num_attention_heads={self.num_attention_heads}: every head has the same width"
            )
        if self.num_attention_heads % self.key_value_heads:
            raise UserError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}"
            )
        if self.relative_attention is not None and self.num_key_value_heads is not None:
            raise UserError(
                f"num_key_value_heads={self.num_key_value_heads}: disentangled attention "
                "(relative_attention) has keys and values for every head: leave it out"
            )
        if self.rotary is not None and self.hidden_size // self.num_attention_heads % 2:
            raise UserError(
                f"hidden_size={self.hidden_size} and num_attention_heads="
                f"{self.num_attention_heads} make heads of odd width: rotary positions turn pairs"
            )
        given = None if self.rotary is None else self.rotary.frequencies
        pairs = self.hidden_size // self.num_attention_heads // 2
        if given is not None and len(given) != pairs:
            raise UserError(
                f"rotary.frequencies has {len(given)} numbers, and heads have {pairs} pairs of "
                "features: give one for each, or leave it out"
            )

    def _check_layers(self) -> None:
        groups, layers = self.num_hidden_groups, self.num_hidden_layers
        if groups is not None and not 1 <= groups <= max(layers, 1):
            raise UserError(f"num_hidden_groups={groups}: expected 1 to num_hidden_layers={layers}")
        if self.layer_types is not None and not self.layer_types:
            raise UserError("layer_types=(): expected a type for at least one layer")
        if self.local_attention < 0:
            raise UserError(f"local_attention={self.local_attention}: must not be negative")

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the word embedding as stored; those beyond `vocab_size` are zero and unused."""
        return -(-self.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    @property
    def embedding_width(self) -> int:
        """Columns of the embedding tables."""
        return self.embedding_size or self.hidden_size

    @property
    def projects_embeddings(self) -> bool:
        """Whether a dense layer takes the embeddings to `hidden_size`."""
        return self.always_projects_embeddings or self.embedding_width != self.hidden_size

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def num_stored_layers(self) -> int:
        """Layers that have parameters."""
        return self.num_hidden_layers if self.num_hidden_groups is None else self.num_hidden_groups

    def stored_layer(self, layer: int) -> int:
        """The layer whose parameters layer `layer` uses."""
        # transformers' quotient of floats: where groups do not divide layers its rounding decides.
        return int(layer / (self.num_hidden_layers / self.num_stored_layers))

    def layer_type(self, layer: int) -> LayerType:
        """How far a layer attends."""
        types = self.layer_types or ("full_attention",)
        return types[layer % len(types)]

    @property
    def output_initializer_range(self) -> float:
        """Standard deviation of the projections that write into the residual sum."""
        if not self.depth_scaled_initializer:
            return self.initializer_range
        return self.initializer_range / (2.0 * max(self.num_hidden_layers, 1)) ** 0.5

    @property
    def classifier_initializer_range(self) -> float:
        """Standard deviation of a classifier's last layer."""
        return self.hidden_size**-0.5 if self.depth_scaled_initializer else self.initializer_range
