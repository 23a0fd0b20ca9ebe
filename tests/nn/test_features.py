"""A head on features gives what the whole model gives, in every family and for every reading."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from jaxbert.families import preset
from jaxbert.nn.dropout_rates import DropoutConfig, with_dropout
from jaxbert.nn.features import features_of, layers_read, vector_read
from jaxbert.nn.functional import make_apply, make_head_apply, parameter_shapes
from jaxbert.nn.head import Head, LayerMixture

SIZES: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "pad_token_id": 1,
}
BERT = replace(preset("bert-base-uncased"), **SIZES)
EUROBERT = replace(preset("eurobert-210m"), **SIZES, num_key_value_heads=1)
LABELS = ("a", "b", "c")
CLASSIFIER = partial(Head, "sequence_classification", LABELS)
WEIGHTED, BESIDE = LayerMixture(2), LayerMixture(2, "concatenated")


@pytest.mark.parametrize(
    ("encoder", "head", "is_vector"),
    [
        (BERT, CLASSIFIER(pooling="mean", mixture=WEIGHTED), True),
        (BERT, CLASSIFIER(pooling="segments"), True),
        (BERT, CLASSIFIER(pooling="max", mixture=BESIDE), True),
        (BERT, CLASSIFIER(pooling="max", mixture=WEIGHTED), False),
        (BERT, Head("question_answering"), False),
        (EUROBERT, CLASSIFIER(), False),
    ],
)
def test_a_head_on_features_is_the_whole_model(encoder, head, is_vector):
    assert (vector_read(encoder, head) is not None) == is_vector
    generator = np.random.default_rng(0)
    lengths = np.array([7, 1, 4])
    mask = (np.arange(7) < lengths[:, None]).astype(np.int32)
    ids = np.where(mask, generator.integers(2, 131, mask.shape), 1)
    types = np.where(mask, np.arange(7) >= 3, 0).astype(np.int32)
    params = unflatten_dict(
        {
            tuple(path.split("/")): generator.normal(size=shape, scale=0.3).astype(np.float32)
            for path, shape in parameter_shapes(encoder, head).items()
        }
    )
    key = jax.random.key(3)
    # Dropout of the head alone: that of the encoder would act in one of the two.
    still = with_dropout(encoder, DropoutConfig(0.0, 0.0, 0.0, 0.0, 0.0))
    head = replace(head, classifier_dropout=0.5) if head.labels else head

    @jax.jit
    def both(params):
        whole = make_apply(still, head)
        expected = whole(params, ids, mask, types, key=key, capture=("hidden_states",))
        features = features_of(expected.hidden_states, mask, types, still, head)
        alone = {name: values for name, values in params.items() if name != "encoder"}
        if is_vector:
            inputs = {"attention_mask": np.ones((3, 1)), "token_type_ids": np.zeros((3, 1), int)}
        else:
            inputs = {"attention_mask": mask, "token_type_ids": types}
        found = make_head_apply(still, head)(alone, features=features, key=key, **inputs)
        return features, expected, found

    features, expected, found = both(params)
    assert features.shape == (3, 1 if is_vector else 7, layers_read(head), 16)
    for name in ("logits", "start_logits", "end_logits"):
        values = getattr(expected, name)
        assert (values is None) == (getattr(found, name) is None)
        if values is not None:
            np.testing.assert_allclose(getattr(found, name), values, atol=1e-6)
