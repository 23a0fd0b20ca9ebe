"""Embeddings and a stack of layers."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int

from jaxbert.nn.attention import AttentionInputs, Projections
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.convolution import EmbeddingConvolution
from jaxbert.nn.dropout import split_key
from jaxbert.nn.embeddings import Embeddings
from jaxbert.nn.examples import Examples
from jaxbert.nn.execution import PLAIN, Execution
from jaxbert.nn.kernels import AttentionCall, choose_kernel
from jaxbert.nn.layer import EncoderLayer
from jaxbert.nn.norm import norm
from jaxbert.nn.parts import LayerType
from jaxbert.nn.relative import RelativeEmbeddings
from jaxbert.nn.relative_bias import ScoreBias
from jaxbert.nn.rotary import Rotation, rotation
from jaxbert.typing import Array


class Encoder(nnx.Module):
    """The encoder of every family. Layers are stored one by one: depth is what users address."""

    def __init__(
        self,
        config: EncoderConfig,
        *,
        dtype: DTypeLike,
        execution: Execution = PLAIN,
        rngs: nnx.Rngs,
    ):
        self.embeddings = Embeddings(config, dtype=dtype, rngs=rngs)
        is_pre_norm = config.norm_placement == "pre"
        self.layers = nnx.List(
            EncoderLayer(
                config,
                has_first_norm=index > 0 or config.first_norm or not is_pre_norm,
                dtype=dtype,
                rngs=rngs,
            )
            for index in range(config.num_stored_layers)
        )
        if is_pre_norm:
            self.final_norm = norm(config, rngs)
        if config.relative_attention is not None:
            self.relative = RelativeEmbeddings(config, config.relative_attention, rngs)
        if config.relative_bias is not None:
            self.relative_bias = ScoreBias(config, config.relative_bias, rngs)
        if config.convolution is not None:
            self.convolution = EmbeddingConvolution(
                config, config.convolution, dtype=dtype, rngs=rngs
            )
        self.config, self.dtype, self.execution = config, dtype, execution

    def __call__(
        self,
        input_ids: Int[Array, "batch seq"],
        examples: Examples,
        token_type_ids: Int[Array, "batch seq"],
        key: Array | None,
        words: Float[Array, "batch seq width"] | None = None,
        *,
        wants_weights: bool = True,
    ) -> tuple[
        tuple[Float[Array, "batch seq hidden"], ...],
        tuple[Float[Array, "batch heads seq seq"] | None, ...],
    ]:
        """Hidden states (embeddings, then every layer) and attention weights of every layer.

        `words` stand in place of rows of the word embedding. Weights that are not wanted may be
        None. What the caller does not use costs nothing under `jax.jit`.
        """
        config = self.config
        embedding_key, *layer_keys = split_key(key, config.num_hidden_layers + 1)
        if config.convolution is not None:
            embedding_key, convolution_key = split_key(embedding_key, 2)
        x = self.embeddings(input_ids, examples, token_type_ids, embedding_key, words)
        hidden_states, attentions = [x], []
        inputs = self._inputs(examples, drops_out=key is not None, wants_weights=wants_weights)
        for index, layer_key in enumerate(layer_keys):
            layer = self.layers[config.stored_layer(index)]
            run = self.execution.rematerialised(
                partial(layer, inputs=inputs[config.layer_type(index)])
            )
            x, weights = run(x, key=layer_key)
            if index == 0 and config.convolution is not None:
                x = self.convolution(hidden_states[0], x, examples, convolution_key)
            hidden_states.append(x)
            attentions.append(weights)
        if config.norm_placement == "pre":
            # The last of them is what the heads read.
            hidden_states[-1] = self.final_norm(x).astype(self.dtype)
        return tuple(hidden_states), tuple(attentions)

    def projections(
        self, hidden_states: tuple[Float[Array, "batch seq hidden"], ...]
    ) -> tuple[Projections, ...]:
        """Queries, keys and values of every layer, from what a call has returned.

        Of layers that are computed again, or that drop out within low-rank factors, they are
        products of their own; elsewhere XLA sees that they are there already.
        """
        layers = (self.layers[self.config.stored_layer(i)] for i in range(len(hidden_states) - 1))
        return tuple(layer.projections(x) for layer, x in zip(layers, hidden_states, strict=False))

    def _inputs(
        self, examples: Examples, *, drops_out: bool = False, wants_weights: bool = True
    ) -> dict[LayerType, AttentionInputs]:
        """What the layers of each type share."""
        config, length = self.config, examples.is_real.shape[1]
        head_dim = config.hidden_size // config.num_attention_heads
        relative = bias = None
        if config.relative_attention is not None:
            relative = self.relative(length, self.dtype)
        if config.relative_bias is not None:
            bias = self.relative_bias(length)
        # Not a set: its order, and with it the program, would differ from process to process.
        types = dict.fromkeys(config.layer_type(index) for index in range(config.num_hidden_layers))
        inputs = {}
        for layer_type in types:
            is_local = layer_type == "sliding_attention"
            mask, reach = examples.attended, config.local_attention // 2 if is_local else None
            if reach is not None:
                mask = mask & _window(length, reach)[None, None]
            if config.mask_embeddings:
                # DeBERTa's padding attends to nothing in particular, and so to all alike.
                mask = mask & examples.is_real[:, None, :, None]
            rotary, turns = config.rotary, None
            if rotary is not None:
                theta = rotary.local_rope_theta if is_local else rotary.rope_theta
                places = length if examples.positions is None else config.max_position_embeddings
                given = None if is_local else rotary.frequencies
                tables = rotation(places, head_dim, theta, rotary.factor, given)
                turns = Rotation(*map(examples.by_position, tables))
            call = AttentionCall(
                length,
                config.num_attention_heads,
                head_dim,
                self.dtype,
                is_disentangled=relative is not None,
                is_biased=bias is not None,
                drops_weights=drops_out and config.attention_probs_dropout_prob > 0,
                is_local=is_local,
                wants_weights=wants_weights,
            )
            kernel = choose_kernel(self.execution.attention, call)
            inputs[layer_type] = AttentionInputs(
                mask, turns, relative, bias, kernel, examples, reach, wants_weights, self.execution
            )
        return inputs


def _window(length: int, reach: int) -> Bool[Array, "seq seq"]:
    """True where query and key are at most `reach` positions apart."""
    positions = jnp.arange(length)
    return jnp.abs(positions[:, None] - positions[None, :]) <= reach
