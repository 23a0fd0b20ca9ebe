"""An encoder with a head: the module that users call."""

from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Shaped

from jaxbert.errors import UserError
from jaxbert.nn.attention import Projections
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout import split_key
from jaxbert.nn.encoder import Encoder
from jaxbert.nn.examples import Examples, lay_out
from jaxbert.nn.execution import PLAIN, Execution
from jaxbert.nn.head import POOLED, Head, Pooling
from jaxbert.nn.heads import Classifier, MaskedLM, Projection, VectorProjection
from jaxbert.nn.inputs import (
    check_architecture,
    check_key,
    check_rank,
    check_rngs,
    check_shape,
    check_split,
    floating,
    integers,
    positions,
    predicted,
    tokens,
)
from jaxbert.nn.numerics import unit
from jaxbert.nn.parts import HeadStyle
from jaxbert.nn.pooling import AttentionPooling, Mixture, pool
from jaxbert.typing import Array, ArrayOrLists, ArrayOrNumpy

Capture = Literal["hidden_states", "attentions", "projections"]


class ModelOutput(NamedTuple):
    """What a model returns; what its head does not have is None. Logits are float32.

    Of packed rows, what is one a row has one an example: [batch, examples, ...]. Where a row has
    fewer examples, the last ones are finite and mean nothing.
    """

    last_hidden_state: Array
    """[batch, seq, hidden], compute dtype."""
    pooled: Array | None = None
    """[batch, hidden], compute dtype; of inputs of several texts [batch, texts, hidden]. Of
    `Head.splade` [batch, vocab], float32, none below 0."""
    logits: Array | None = None
    """masked LM: [batch, seq | predictions, vocab]; sequence classification: [batch, classes];
    token classification: [batch, seq, classes]; replaced-token detection: [batch, seq], above 0 =
    replaced; multiple choice: [batch, choices]; next sentence: [batch, 2]."""
    seq_relationship_logits: Array | None = None
    """[batch, 2] of the pretraining head; BERT: class 0 = B follows A, 1 = B is random; ALBERT:
    class 0 = in order, 1 = swapped."""
    start_logits: Array | None = None
    """[batch, seq] of question answering: where the answer starts. Packed rows too: which columns
    are an example's is the caller's to know."""
    end_logits: Array | None = None
    """[batch, seq]: its last token."""
    hidden_states: tuple[Array, ...] | None = None
    """Embeddings, then every layer; only with capture=("hidden_states",)."""
    attentions: tuple[Array, ...] | None = None
    """float32 [batch, heads, seq, seq] of every layer; only with capture=("attentions",)."""
    projections: tuple[Projections, ...] | None = None
    """Queries, keys and values of every layer; only with capture=("projections",)."""
    token_vectors: Array | None = None
    """[batch, seq, dimensions] of late interaction, of length 1, in the compute dtype; of inputs of
    several texts [batch, texts, seq, dimensions]."""


class Model(nnx.Module):
    """An encoder with the modules that `head` asks for. Without a key it is deterministic."""

    def __init__(
        self,
        config: EncoderConfig,
        head: Head | None = None,
        *,
        dtype: DTypeLike = jnp.float32,
        execution: Execution = PLAIN,
        rngs: nnx.Rngs,
    ):
        head = Head() if head is None else head
        check_architecture(config, head, execution)
        check_rngs(rngs)
        dtype = floating(dtype)
        self.config, self.head = config, head
        self.encoder = Encoder(config, dtype=dtype, execution=execution, rngs=rngs)
        features, style = _features(config, head), head_style(config, head)
        if head.mixture is not None:
            self.mixture = Mixture(head.mixture)
        if head.pooling == "attention":
            self.attention_pooling = AttentionPooling(features, config, dtype=dtype, rngs=rngs)
        before, rate = head_dropout(config, head)
        if style.activation is not None:
            size = config.hidden_size
            projection = Projection(config, style, features, size, before, dtype=dtype, rngs=rngs)
            features = size
            if head.kind in POOLED:
                self.pooler = projection
            else:
                self.projection = projection
        self.has_projection = style.activation is not None
        if head.dense is not None:
            self.vector_projection = VectorProjection(
                config, head.dense, features, dtype=dtype, rngs=rngs
            )
        if head.has_masked_lm:
            self.masked_lm = MaskedLM(config, dtype=dtype, rngs=rngs)
        if head.has_next_sentence:
            self.next_sentence = Classifier(config, features, 2, rate, dtype=dtype, rngs=rngs)
        if head.num_outputs:
            count = head.num_outputs
            self.classifier = Classifier(config, features, count, rate, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        input_ids: ArrayOrLists | None = None,
        attention_mask: ArrayOrLists | None = None,
        token_type_ids: ArrayOrLists | None = None,
        *,
        inputs_embeds: ArrayOrNumpy | None = None,
        position_ids: ArrayOrLists | None = None,
        sequence_ids: ArrayOrLists | None = None,
        sequence_starts: ArrayOrLists | None = None,
        masked_lm_positions: ArrayOrLists | None = None,
        capture: tuple[Capture, ...] = (),
        key: Array | None = None,
    ) -> ModelOutput:
        """Runs the encoder and its head.

        Inputs are [batch, seq], for multiple choice [batch, choices, seq]; for embeddings they may
        be [batch, texts, seq], whose hidden states are [batch * texts, seq, hidden].
        `attention_mask` and `token_type_ids` have their shape. `attention_mask`: 1 or True =
        attend; None: everywhere. `token_type_ids` None: sentence A. `masked_lm_positions`
        [batch, predictions]: the vocabulary projection runs on these positions only. `key`:
        dropout acts with it, and only with it; in a `jax.shard_map` of one's own, devices draw
        alike unless the index of the device is folded into it. `inputs_embeds` [..., seq, width of
        the embeddings] stand in place of `input_ids` and their rows of the word embedding;
        `position_ids` in place of the columns, and as transformers takes them (RoBERTa's are rows
        of its table).

        Packed rows hold several examples side by side and have `sequence_ids` in place of a mask:
        1, 2, ... in the order of the row, each a run of columns, and 0 at padding. No example
        attends to another and positions begin anew in each, so that its outputs are those of a
        row of its own up to rounding. Heads that take one vector of an example also need
        `sequence_starts`, the columns of the first tokens (0 where unused). For multiple choice
        packed rows are [batch, seq] too, and every choice is an example; with `sequence_starts`
        [batch, examples, choices] outputs have these axes.

        Raises UserError for inputs of other shapes, that are no integers, or that contradict each
        other; of NumPy arrays and lists also where an id is none of the model's. Under `jax.jit`,
        and of arrays on a device, ids are not looked at: one that is out of range reads some other
        row of a table. Inputs and parameters may be split over a mesh with axes of
        `jax.sharding.AxisType.Auto`, which are not what `jax.make_mesh` makes unasked.

        There is no forward-mode derivative (`jax.jvp`, `jax.jacfwd`) of a model; of its gradient
        there is (`jax.jvp` of `jax.grad`), and gradients of gradients.
        """
        _check_capture(capture)
        if key is not None:
            check_key(key)
        ids, words = tokens(input_ids, inputs_embeds, self.config)
        check_split(
            "encoder/embeddings/word/embedding", self.encoder.embeddings.word.embedding[...]
        )
        check_rank(ids, self.head, is_packed=sequence_ids is not None)
        vectors, length = ids.shape[:-1], ids.shape[-1]
        if sequence_starts is not None:
            sequence_starts = integers("sequence_starts", sequence_starts, length)
            vectors = sequence_starts.shape
        if masked_lm_positions is not None:
            masked_lm_positions = predicted(masked_lm_positions, self.head, ids.shape)
        examples = lay_out(ids, attention_mask, sequence_ids, sequence_starts)
        if position_ids is not None:
            places = positions(position_ids, self.config, ids.shape)
            examples = examples._replace(positions=places)
        types = self._types(token_type_ids, ids)
        # As int32: ids that are stored in few bits cannot be compared with the rows of the table.
        input_ids = jnp.asarray(ids, jnp.int32).reshape(-1, length)
        if words is not None:
            words = words.reshape(-1, length, words.shape[-1])
        encoder_key, head_key = split_key(key, 2)
        hidden_states, attentions = self.encoder(
            input_ids, examples, types, encoder_key, words, wants_weights="attentions" in capture
        )
        captured = tuple(weights for weights in attentions if weights is not None)
        projections = self.encoder.projections(hidden_states) if "projections" in capture else None
        output = self._outputs(hidden_states, examples, types, masked_lm_positions, head_key)
        if len(vectors) > 1 and output.pooled is not None:
            output = output._replace(pooled=output.pooled.reshape(*vectors, -1))
        if output.token_vectors is not None:
            of_tokens = output.token_vectors.reshape(*ids.shape, -1)
            output = output._replace(token_vectors=of_tokens)
        if self.head.kind == "multiple_choice":
            assert output.logits is not None
            output = output._replace(logits=output.logits.reshape(vectors))
        return output._replace(
            hidden_states=hidden_states if "hidden_states" in capture else None,
            attentions=captured if "attentions" in capture else None,
            projections=projections,
        )

    def _types(self, given: ArrayOrLists | None, ids: ArrayOrNumpy) -> Int[Array, "batch seq"]:
        """The sentence type of every token; a model that knows one type has no use for them."""
        if given is None:
            return jnp.zeros(ids.shape, jnp.int32).reshape(-1, ids.shape[-1])
        count = self.config.type_vocab_size
        types = integers("token_type_ids", given, count if count > 1 else None)
        check_shape("token_type_ids", types, ids.shape)
        return jnp.asarray(types).reshape(-1, ids.shape[-1])

    def from_features(
        self,
        features: Float[Array, "batch seq layers hidden"],
        attention_mask: Shaped[ArrayOrNumpy, "batch seq"],
        token_type_ids: Int[ArrayOrNumpy, "batch seq"],
        *,
        key: Array | None = None,
    ) -> ModelOutput:
        """The head alone, on what `nn/features.py` takes from the encoder.

        For one text an example, and heads that read no vocabulary. `key` acts on the head as in a
        call of the whole model.
        """
        layers = tuple(features[:, :, layer] for layer in range(features.shape[2]))
        types, (_, head_key) = jnp.asarray(token_type_ids), split_key(key, 2)
        examples = lay_out(types, attention_mask, None, None)
        return self._outputs(layers, examples, types, None, head_key)

    def _outputs(
        self,
        hidden_states: tuple[Array, ...],
        examples: Examples,
        types: Int[Array, "batch seq"],
        masked_lm_positions: Int[ArrayOrNumpy, "batch predictions"] | None,
        key: Array | None,
    ) -> ModelOutput:
        """Everything but what is captured on the way."""
        kind, last = self.head.kind, hidden_states[-1]
        classifier_key, projection_key = split_key(key, 2)
        read = last if self.head.mixture is None else self.mixture(hidden_states)
        pooled: Array | None = None
        logits: Array | None = None
        next_sentence: Array | None = None
        if kind == "late_interaction":
            return ModelOutput(last, token_vectors=self._own_vectors(last, is_unit=True))
        if kind in POOLED:
            pooled = self._pooled(read, examples, types, projection_key)
        elif self.has_projection:
            read = self.projection(read, projection_key)
        if self.head.splade is not None:
            word = self.encoder.embeddings.word.embedding[...]
            pooled = self.masked_lm.weights(last, word, examples, self.head.splade)
        if self.head.predicts_tokens:
            logits = self._vocabulary_logits(last, masked_lm_positions)
        if self.head.has_next_sentence:
            assert pooled is not None
            next_sentence = self.next_sentence(pooled, classifier_key)
        if kind == "next_sentence":
            # HF: a model with the next-sentence head alone calls its output `logits`.
            logits, next_sentence = next_sentence, None
        if not self.head.num_outputs:
            return ModelOutput(last, pooled, logits, next_sentence)
        scores = self.classifier(read if pooled is None else pooled, classifier_key)
        if kind == "question_answering":
            return ModelOutput(last, start_logits=scores[..., 0], end_logits=scores[..., 1])
        is_one = kind in ("replaced_token_detection", "multiple_choice")
        logits = scores[..., 0] if is_one else scores
        return ModelOutput(last, pooled, logits)

    def _vocabulary_logits(
        self, last: Array, positions: Int[ArrayOrNumpy, "batch predictions"] | None
    ) -> Array:
        """Of every position, or of the chosen ones."""
        if positions is not None:
            last = jnp.take_along_axis(last, jnp.asarray(positions)[..., None], axis=1)
        return self.masked_lm.logits(last, self.encoder.embeddings.word.embedding[...])

    def _pooled(
        self,
        x: Array,
        examples: Examples,
        types: Int[Array, "batch seq"],
        key: Array | None,
    ) -> Array | None:
        """The vector of every example, projected where the head has a projection."""
        how: Pooling | Literal["late"] | None = self.head.pooling
        if how is None:
            is_plain = self.head.kind == "none" and self.head.mixture is None
            if is_plain and not self.has_projection:
                return None
            how = head_style(self.config, self.head).pooling
        if how == "late":
            return pool(self.pooler(x, key), examples, types, "mean", self.config.type_vocab_size)
        if how == "attention":
            vector = self.attention_pooling(x, examples)
        else:
            vector = pool(x, examples, types, how, self.config.type_vocab_size)
        if self.head.pooling is not None and self.head.kind == "none":
            return self._own_vectors(vector, is_unit=self.head.is_normalized)
        return self.pooler(vector, key) if self.has_projection else vector

    def _own_vectors(
        self, x: Float[Array, "*shape features"], *, is_unit: bool
    ) -> Float[Array, "*shape dimensions"]:
        """What the head's dense layer, where it has one, makes of vectors, in the compute dtype."""
        found = x if self.head.dense is None else self.vector_projection(x)
        return (unit(found) if is_unit else found).astype(x.dtype)


def head_style(config: EncoderConfig, head: Head) -> HeadStyle:
    """What the family puts between the encoder and this head's last layer."""
    styles = config.heads
    if head.kind == "none":
        # A pooling that was asked for is the vector itself, without BERT's dense layer.
        has_pooler = styles.pooler is not None and head.pooling is None and head.mixture is None
        return styles.pooler if has_pooler and styles.pooler is not None else HeadStyle()
    if head.kind in ("masked_lm", "late_interaction"):
        return HeadStyle()
    if head.kind == "pretraining":
        return styles.next_sentence
    style: HeadStyle = getattr(styles, head.kind)
    return style


def _features(config: EncoderConfig, head: Head) -> int:
    """Width of what the head reads; UserError where the model has nothing of the kind."""
    mixture = head.mixture
    if head.pooling == "segments" and config.type_vocab_size < 2:
        raise UserError(
            f"pooling='segments': {config.model_type} has type_vocab_size="
            f"{config.type_vocab_size}, and no two kinds of sentences: take pooling='mean'"
        )
    if mixture is None:
        return config.hidden_size
    if mixture.num_layers > config.num_hidden_layers + 1:
        raise UserError(
            f"mixture.num_layers={mixture.num_layers}: the model has "
            f"{config.num_hidden_layers} layers and its embeddings"
        )
    return config.hidden_size * (mixture.num_layers if mixture.how == "concatenated" else 1)


def head_dropout(config: EncoderConfig, head: Head) -> tuple[float, float]:
    """The rates before the head's projection and before its last layer."""
    style = head_style(config, head)
    rate = config.hidden_dropout_prob if style.dropout is None else style.dropout
    rate = rate if head.classifier_dropout is None else head.classifier_dropout
    return rate if style.dense_dropout is None else style.dense_dropout, rate


def _check_capture(capture: str | tuple[str, ...]) -> None:
    for name in (capture,) if isinstance(capture, str) else capture:
        if name not in get_args(Capture):
            raise UserError(f"capture={name!r}: expected some of {', '.join(get_args(Capture))}")
