"""A generator and a discriminator as one function (Clark et al. 2020, ELECTRA, section 2)."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from jaxbert.data.masking import IGNORED
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.draws import by_row
from jaxbert.nn.dropout import split_key
from jaxbert.nn.execution import PLAIN, Execution
from jaxbert.nn.functional import Apply, init_params, make_apply
from jaxbert.nn.head import Head
from jaxbert.typing import Array, Params

GENERATOR, DISCRIMINATOR = Head("masked_lm"), Head("replaced_token_detection")

EmbeddingSharing = Literal["shared", "gradient_disentangled", "none"]

_SHARED = ("word", "position", "token_type", "norm")
_WORD = ("encoder", "embeddings", "word", "embedding")


class ReplacedTokenOutput(NamedTuple):
    """What the pair gives; all but the vocabulary logits is [batch, seq]."""

    generator_logits: Float[Array, "batch predictions vocab"]
    """float32, at the masked positions."""
    logits: Float[Array, "batch seq"]
    """float32 of the discriminator, above 0 = replaced."""
    original_ids: Int[Array, "batch seq"]
    """The text before it was masked."""
    is_replaced: Bool[Array, "batch seq"]
    """Where the discriminator's input differs from the original: a lucky sample does not."""


@dataclass(frozen=True)
class ReplacedTokenPair:
    """Both encoders and what they share.

    shared: the discriminator's embedding tables and their norm are the generator's too (ELECTRA).
    gradient_disentangled: the discriminator's word embedding is the generator's, cut off from its
    gradient, plus a difference of its own that starts at zero (He et al. 2021, DeBERTa-v3, 3.2).
    """

    generator: EncoderConfig
    discriminator: EncoderConfig
    sharing: EmbeddingSharing = "shared"
    temperature: float = 1.0
    """Of the samples; 1: the generator's own distribution."""

    def init(self, seed: int | Array) -> Params:
        """Fresh parameters: {"generator": ..., "discriminator": ...}, shared ones once.

        `seed`: a number or a key of JAX, to which no 1 can be added.
        """
        is_key = isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key)
        another = jax.random.fold_in(seed, 1) if is_key else seed + 1
        generator = init_params(self.generator, GENERATOR, seed)
        discriminator = flatten_dict(init_params(self.discriminator, DISCRIMINATOR, another))
        if self.sharing == "gradient_disentangled":
            discriminator[_WORD] = flatten_dict(generator)[_WORD]
        return self.joined(generator, unflatten_dict(discriminator))

    def joined(self, generator: Params, discriminator: Params) -> Params:
        """Two whole models as the tree that is trained; shared tables are the discriminator's."""
        ours, theirs = flatten_dict(generator), flatten_dict(discriminator)
        if self.sharing == "shared":
            ours = {path: leaf for path, leaf in ours.items() if not _is_shared(path)}
        if self.sharing == "gradient_disentangled":
            theirs[_WORD] = theirs[_WORD] - ours[_WORD]
        return {"generator": unflatten_dict(ours), "discriminator": unflatten_dict(theirs)}

    def generator_params(self, params: Params) -> Params:
        """The whole tree of the generator."""
        ours, theirs = flatten_dict(params["generator"]), flatten_dict(params["discriminator"])
        if self.sharing == "shared":
            ours |= {path: leaf for path, leaf in theirs.items() if _is_shared(path)}
        return _sorted(ours)

    def discriminator_params(self, params: Params) -> Params:
        """The whole tree of the discriminator."""
        theirs = flatten_dict(params["discriminator"])
        if self.sharing == "gradient_disentangled":
            generators = flatten_dict(params["generator"])[_WORD]
            theirs[_WORD] = jax.lax.stop_gradient(generators) + theirs[_WORD]
        return _sorted(theirs)

    def make_apply(
        self, dtype: DTypeLike = jnp.float32, execution: Execution = PLAIN
    ) -> "PairApply":
        """The pure function of both; see `PairApply`."""
        dtype = jnp.dtype(dtype)
        return PairApply(
            self,
            make_apply(self.generator, GENERATOR, dtype, execution),
            make_apply(self.discriminator, DISCRIMINATOR, dtype, execution),
        )


@dataclass(frozen=True)
class PairApply:
    """apply(params, input_ids, attention_mask, token_type_ids, *, masked_lm_positions, labels).

    Or with `sequence_ids`, for packed rows.
    """

    pair: ReplacedTokenPair
    generator: Apply
    discriminator: Apply

    def __call__(
        self,
        params: Params,
        input_ids: Int[Array, "batch seq"],
        attention_mask: Int[Array, "batch seq"] | None = None,
        token_type_ids: Int[Array, "batch seq"] | None = None,
        *,
        sequence_ids: Int[Array, "batch seq"] | None = None,
        sequence_starts: Int[Array, "batch examples"] | None = None,
        masked_lm_positions: Int[Array, "batch predictions"],
        labels: Int[Array, "batch predictions"],
        key: Array | None = None,
    ) -> ReplacedTokenOutput:
        """Fills the masked positions with samples of the generator and judges every token.

        `labels` are the original ids, -100 where a position is unused. Without a key there is no
        dropout and the samples are a function of the batch.
        """
        generator_key, discriminator_key, sample_key = split_key(key, 3)
        rows = {
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "sequence_ids": sequence_ids,
            "sequence_starts": sequence_starts,
        }
        logits = self.generator(
            self.pair.generator_params(params),
            input_ids,
            **rows,
            masked_lm_positions=masked_lm_positions,
            key=generator_key,
        ).logits
        assert logits is not None
        if sample_key is None:
            sample_key = jax.random.fold_in(jax.random.key(0), jnp.sum(input_ids))
        # Gumbel noise and the largest: a draw from the softmax, through which no gradient goes.
        sampled = by_row(jax.random.categorical, sample_key, logits / self.pair.temperature)
        original = _placed(input_ids, masked_lm_positions, labels, labels)
        filled = _placed(input_ids, masked_lm_positions, labels, sampled)
        judged = self.discriminator(
            self.pair.discriminator_params(params), filled, **rows, key=discriminator_key
        ).logits
        assert judged is not None
        return ReplacedTokenOutput(logits, judged, original, filled != original)


def _placed(
    input_ids: Int[Array, "batch seq"],
    positions: Int[Array, "batch predictions"],
    labels: Int[Array, "batch predictions"],
    values: Int[Array, "batch predictions"],
) -> Int[Array, "batch seq"]:
    """`input_ids` with `values` at the positions that are used."""
    # An unused position is put outside the row, where a scatter drops what it is given.
    target = jnp.where(labels == IGNORED, input_ids.shape[1], positions)
    input_ids, rows = jnp.asarray(input_ids), jnp.arange(input_ids.shape[0])[:, None]
    return input_ids.at[rows, target].set(values.astype(input_ids.dtype), mode="drop")


def _is_shared(path: tuple[str, ...]) -> bool:
    return path[:2] == ("encoder", "embeddings") and path[2] in _SHARED


def _sorted(leaves: dict[tuple[str, ...], Any]) -> Params:
    """A nested dict in the order of `init_params`, which is that of the names."""
    return unflatten_dict(dict(sorted(leaves.items())))
