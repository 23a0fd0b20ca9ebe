"""What is refused before parameters are read or anything is compiled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest
from small_runs import pretraining

from jaxbert.errors import UserError
from jaxbert.experiment.checks import check_training, check_vocabulary
from jaxbert.families import preset
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import Execution
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.text.tokenizer import load_tokenizer

WITHOUT_DROPOUT = {"attention_probs_dropout_prob": 0.0}


def check(encoder: EncoderConfig, attention: str) -> None:
    settings = replace(pretraining(Path("nowhere")), execution=Execution(attention=attention))  # type: ignore[arg-type]
    mesh = make_mesh(MeshConfig(), jax.devices()[:2])
    check_training(settings, [encoder], mesh, [8])


@pytest.mark.parametrize(
    ("name", "changes", "attention", "message"),
    [
        ("bert-tiny", {}, "splash", "has no dropout of attention weights"),
        ("deberta-v3-base", WITHOUT_DROPOUT, "splash", "disentangled attention"),
        ("mpnet-base", {}, "fused", "no kernel adds a bias to the scores"),
        ("modernbert-base", {}, "fused", "no local windows"),
        ("bert-tiny", WITHOUT_DROPOUT, "cudnn", "runs on gpu, and this is cpu"),
    ],
)
def test_a_kernel_that_cannot_compute_the_attention(
    name: str, changes: dict[str, float], attention: str, message: str
):
    encoder = replace(preset(name), **changes)
    with pytest.raises(UserError, match=message):
        check(encoder, attention)
    check(encoder, "auto")


def test_a_kernel_that_can_is_not_refused():
    check(replace(preset("bert-tiny"), **WITHOUT_DROPOUT), "splash")
    check(preset("bert-tiny"), "fused")


@pytest.mark.parametrize(
    ("tensor", "changes", "message"),
    [
        (8, {}, "mesh.tensor=8 does not divide num_attention_heads=4"),
        # Their widths divide: 2 heads of 32.
        (4, {"num_key_value_heads": 2}, "mesh.tensor=4 does not divide num_key_value_heads=2"),
        (4, {"intermediate_size": 510}, "mesh.tensor=4 does not divide intermediate_size=510"),
        (3, {"num_attention_heads": 3, "hidden_size": 24}, "does not divide intermediate_size=512"),
        (
            *(3, {"num_attention_heads": 3, "hidden_size": 24, "intermediate_size": 48}),
            "mesh.tensor=3 does not divide padded_vocab_size=30592",
        ),
    ],
)
def test_what_a_mesh_splits_over_tensor_divides(tensor: int, changes: Any, message: str):
    small = replace(preset("bert-tiny"), hidden_size=128, num_attention_heads=4)
    mesh = make_mesh(MeshConfig(data=1, tensor=tensor), jax.devices()[:tensor])
    settings = pretraining(Path("nowhere"))
    check_training(
        settings, [small], make_mesh(MeshConfig(data=1, tensor=4), jax.devices()[:4]), [8]
    )
    with pytest.raises(UserError, match=message):
        check_training(settings, [replace(small, **changes)], mesh, [8])


def test_a_model_without_a_tokenizer_is_taken_at_the_users_word_where_the_numbers_are_equal(
    store: Path, tmp_path: Path
):
    (tmp_path / "config.json").write_text("{}")
    tokenizer = load_tokenizer(store)
    check_vocabulary(store, tokenizer, tmp_path, tokenizer.vocab_size)
    for other in (tokenizer.vocab_size - 1, tokenizer.vocab_size + 1):
        with pytest.raises(UserError, match=f"the model one of {other}: prepare the store with"):
            check_vocabulary(store, tokenizer, tmp_path, other)
