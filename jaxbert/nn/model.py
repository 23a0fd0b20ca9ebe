"""An encoder with a head: the module that users call."""

from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Int, Shaped

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig, Head
from jaxbert.nn.dropout import split_key
from jaxbert.nn.encoder import Encoder
from jaxbert.nn.heads import Classifier, MaskedLM, Pooler
from jaxbert.typing import Array, ArrayOrNumpy

Capture = Literal["hidden_states", "attentions"]


class ModelOutput(NamedTuple):
    """What a model returns; what its head does not have is None."""

    last_hidden_state: Array
    """[batch, seq, hidden], compute dtype."""
    pooled: Array | None = None
    """[batch, hidden], compute dtype."""
    logits: Array | None = None
    """float32; masked LM: [batch, seq | predictions, vocab]; classifiers: [batch, classes]."""
    seq_relationship_logits: Array | None = None
    """float32 [batch, 2] of the pretraining head; class 0 = B follows A, 1 = B is random."""
    hidden_states: tuple[Array, ...] | None = None
    """Embeddings, then every layer; only with capture=("hidden_states",)."""
    attentions: tuple[Array, ...] | None = None
    """float32 [batch, heads, seq, seq] of every layer; only with capture=("attentions",)."""


class Model(nnx.Module):
    """BERT with the modules that `head` asks for. Without a key it is deterministic."""

    def __init__(
        self,
        config: EncoderConfig,
        head: Head | None = None,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        head = Head() if head is None else head
        self.config, self.head = config, head
        self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
        if head.has_pooler:
            self.pooler = Pooler(config, dtype=dtype, rngs=rngs)
        if head.has_masked_lm:
            self.masked_lm = MaskedLM(config, dtype=dtype, rngs=rngs)
        if head.has_next_sentence:
            self.next_sentence = Classifier(config, 2, 0.0, dtype=dtype, rngs=rngs)
        if head.has_classifier:
            rate = head.classifier_dropout
            rate = config.hidden_dropout_prob if rate is None else rate
            self.classifier = Classifier(config, len(head.labels), rate, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        input_ids: Int[ArrayOrNumpy, "batch seq"],
        attention_mask: Shaped[ArrayOrNumpy, "batch seq"] | None = None,
        token_type_ids: Int[ArrayOrNumpy, "batch seq"] | None = None,
        *,
        masked_lm_positions: Int[ArrayOrNumpy, "batch predictions"] | None = None,
        capture: tuple[Capture, ...] = (),
        key: Array | None = None,
    ) -> ModelOutput:
        """Runs the encoder and its head.

        `attention_mask`: 1 or True = attend; None: everywhere. `token_type_ids` None: sentence A.
        `masked_lm_positions`: the vocabulary projection runs on these positions only.
        `key`: dropout acts with it, and only with it.
        """
        _check_capture(capture)
        input_ids = jnp.asarray(input_ids)
        mask = jnp.ones_like(input_ids) if attention_mask is None else attention_mask
        types = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        encoder_key, classifier_key = split_key(key, 2)
        hidden_states, attentions = self.encoder(
            input_ids, jnp.asarray(mask, bool), jnp.asarray(types), encoder_key
        )
        last = hidden_states[-1]
        pooled = self.pooler(last) if self.head.has_pooler else None
        logits = next_sentence = None
        if self.head.has_masked_lm:
            chosen = last
            if masked_lm_positions is not None:
                positions = jnp.asarray(masked_lm_positions)[..., None]
                chosen = jnp.take_along_axis(last, positions, axis=1)
            logits = self.masked_lm(chosen, self.encoder.embeddings.word.embedding[...])
        if pooled is not None and self.head.has_next_sentence:
            next_sentence = self.next_sentence(pooled, None)
        if pooled is not None and self.head.has_classifier:
            logits = self.classifier(pooled, classifier_key)
        return ModelOutput(
            last_hidden_state=last,
            pooled=pooled,
            # HF: a model with the next-sentence head alone calls its output `logits`.
            logits=next_sentence if self.head.kind == "next_sentence" else logits,
            seq_relationship_logits=None if self.head.kind == "next_sentence" else next_sentence,
            hidden_states=hidden_states if "hidden_states" in capture else None,
            attentions=attentions if "attentions" in capture else None,
        )


def _check_capture(capture: str | tuple[str, ...]) -> None:
    for name in (capture,) if isinstance(capture, str) else capture:
        if name not in get_args(Capture):
            raise UserError(f"capture={name!r}: expected some of {', '.join(get_args(Capture))}")
