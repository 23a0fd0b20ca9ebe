"""What is refused before parameters are read or anything is compiled."""

from dataclasses import replace
from pathlib import Path

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


def test_a_model_without_a_tokenizer_is_taken_at_the_users_word_where_the_numbers_are_equal(
    store: Path, tmp_path: Path
):
    (tmp_path / "config.json").write_text("{}")
    tokenizer = load_tokenizer(store)
    check_vocabulary(store, tokenizer, tmp_path, tokenizer.vocab_size)
    for other in (tokenizer.vocab_size - 1, tokenizer.vocab_size + 1):
        with pytest.raises(UserError, match=f"the model one of {other}: prepare the store with"):
            check_vocabulary(store, tokenizer, tmp_path, other)
