"""Where the heads drop out, in models whose encoders do not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbert.families import family_of
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.model import Model, ModelOutput

SIZES = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
NEVER = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def outputs(model_type: str, kind: HeadKind, **fields: float) -> tuple[ModelOutput, ModelOutput]:
    """Without and with a key."""
    config = replace(family_of(model_type).config_from_hf(fields), **SIZES, **NEVER)
    labels = ("a", "b") if kind in ("sequence_classification", "token_classification") else ()
    model = Model(config, Head(kind, labels), rngs=nnx.Rngs(0))
    ids = jnp.arange(5, 17).reshape((1, 2, 6) if kind == "multiple_choice" else (2, 6))
    return model(ids), model(ids, key=jax.random.key(0))


def test_robertas_classifier_drops_out_before_both_of_its_layers():
    plain, dropped = outputs("roberta", "sequence_classification", classifier_dropout=0.5)
    assert jnp.array_equal(plain.last_hidden_state, dropped.last_hidden_state)
    assert not jnp.allclose(plain.pooled, dropped.pooled)
    zero_rate, unchanged = outputs("roberta", "sequence_classification", classifier_dropout=0.0)
    assert jnp.array_equal(zero_rate.logits, unchanged.logits)


def test_robertas_multiple_choice_goes_by_the_encoders_dropout():
    plain, dropped = outputs("roberta", "multiple_choice", classifier_dropout=0.5)
    assert jnp.array_equal(plain.logits, dropped.logits)


def test_distilberts_classifier_drops_out_before_its_last_layer_only():
    plain, dropped = outputs("distilbert", "sequence_classification", seq_classif_dropout=0.5)
    assert jnp.array_equal(plain.pooled, dropped.pooled)
    assert not jnp.allclose(plain.logits, dropped.logits)


def test_distilberts_spans_have_a_dropout_of_their_own():
    plain, dropped = outputs("distilbert", "question_answering", qa_dropout=0.5)
    assert not jnp.allclose(plain.start_logits, dropped.start_logits)
    zero_rate, unchanged = outputs("distilbert", "question_answering", qa_dropout=0.0)
    assert jnp.array_equal(zero_rate.start_logits, unchanged.start_logits)


def test_alberts_order_of_sentences_drops_out_before_its_last_layer_only():
    plain, dropped = outputs("albert", "pretraining", classifier_dropout_prob=0.5)
    assert jnp.array_equal(plain.pooled, dropped.pooled)
    assert jnp.array_equal(plain.logits, dropped.logits)
    assert not jnp.allclose(plain.seq_relationship_logits, dropped.seq_relationship_logits)


def test_electras_classifier_drops_out_before_both_of_its_layers():
    plain, dropped = outputs("electra", "sequence_classification", classifier_dropout=0.5)
    assert jnp.array_equal(plain.last_hidden_state, dropped.last_hidden_state)
    assert not jnp.allclose(plain.pooled, dropped.pooled)


def test_electras_multiple_choice_drops_out_after_its_summary():
    plain, dropped = outputs("electra", "multiple_choice", summary_last_dropout=0.5)
    assert jnp.array_equal(plain.pooled, dropped.pooled)
    assert not jnp.allclose(plain.logits, dropped.logits)
    zero_rate, unchanged = outputs("electra", "multiple_choice", summary_last_dropout=0.0)
    assert jnp.array_equal(zero_rate.logits, unchanged.logits)


def test_debertas_pooler_and_classifier_drop_out_by_fields_of_their_own():
    plain, dropped = outputs("deberta-v2", "sequence_classification", pooler_dropout=0.5)
    assert jnp.array_equal(plain.last_hidden_state, dropped.last_hidden_state)
    assert not jnp.allclose(plain.pooled, dropped.pooled)
    plain, dropped = outputs("deberta-v2", "multiple_choice", cls_dropout=0.5)
    assert jnp.array_equal(plain.pooled, dropped.pooled)
    assert not jnp.allclose(plain.logits, dropped.logits)


def test_debertas_token_classifier_goes_by_the_encoders_dropout():
    plain, dropped = outputs("deberta-v2", "token_classification", cls_dropout=0.5)
    assert jnp.array_equal(plain.logits, dropped.logits)
