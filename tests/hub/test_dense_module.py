"""A Dense layer behind the pooling, against sentence-transformers itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as theirs

from jaxbert.cli import main
from jaxbert.errors import UserError
from jaxbert.experiment.from_values import finetune
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import save_pretrained
from jaxbert.nn.head import DenseLayer, Head
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_wordpiece

TEXTS = ["one two three", "a much longer text of seven words", "two"]


@pytest.fixture(scope="module", autouse=True)
def _quickly():
    """LLVM's passes are most of the time that these programs take."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def encoder(copy_of: Callable[[str], Path]) -> Path:
    """A BERT with a tokenizer."""
    directory = copy_of("BertModel")
    tokenizer = train_wordpiece(["one two three a much longer text of seven words"] * 3, 60)
    save_tokenizer(tokenizer, directory)
    return directory


def written(encoder: Path, place: Path, *, tanh: bool, bias: bool, normalized: bool) -> Path:
    """A directory of sentence-transformers with a random Dense layer."""
    transformer = theirs.Transformer(str(encoder))
    width = transformer.get_embedding_dimension()
    torch.manual_seed(0)
    activation = torch.nn.Tanh() if tanh else torch.nn.Identity()
    dense = theirs.Dense(width, 5, bias=bias, activation_function=activation)
    parts = [transformer, theirs.Pooling(width, pooling_mode="mean"), dense]
    parts += [theirs.Normalize()] if normalized else []
    SentenceTransformer(modules=parts, device="cpu").save(str(place), create_model_card=False)
    return place


@pytest.mark.parametrize(
    ("tanh", "bias", "normalized"), [(True, True, True), (False, False, False)]
)
def test_vectors_equal_those_of_sentence_transformers_both_ways(
    encoder: Path, tmp_path: Path, tanh: bool, bias: bool, normalized: bool
):
    place = written(encoder, tmp_path / "st", tanh=tanh, bias=bias, normalized=normalized)
    expected = SentenceTransformer(str(place), device="cpu").encode(TEXTS)
    assert expected.shape == (3, 5)
    layer = DenseLayer(5, "tanh" if tanh else "identity", bias)
    head = Head(pooling="mean", dense=layer, is_normalized=normalized)
    opened = load_params(place)
    assert (opened.head, opened.fresh) == (head, ())
    np.testing.assert_allclose(Predictor(place).vectors(TEXTS), expected, atol=2e-6)
    out, native = tmp_path / "out", tmp_path / "native"
    assert main(["convert", str(place), str(native), "--to", "orbax"]) == 0
    assert main(["convert", str(native), str(out), "--verify"]) == 0
    again = SentenceTransformer(str(out), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(again, expected, atol=2e-6)
    np.testing.assert_allclose(Predictor(out).vectors(TEXTS), expected, atol=2e-6)


def changed(place: Path, **options: Any) -> None:
    file = place / "2_Dense" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | options))


def test_what_is_not_implemented_is_refused_by_name(encoder: Path, tmp_path: Path):
    place = written(encoder, tmp_path / "st", tanh=True, bias=True, normalized=False)
    file = place / "2_Dense" / "config.json"
    for options, told in (
        ({"activation_function": "torch.nn.modules.activation.GELU"}, "activation_function="),
        ({"activation_function": "mine.Tanh"}, "activation_function='mine.Tanh' is not impl"),
        ({"module_input_name": "token_embeddings"}, "expected sentence_embedding"),
        ({"use_residual": True}, "use_residual=true is not implemented"),
        ({"out_features": None}, "out_features=None: expected a whole number"),
    ):
        before = file.read_text()
        changed(place, **options)
        with pytest.raises(UserError, match="2_Dense/config.json: .*" + told):
            load_params(place)
        file.write_text(before)
    changed(place, out_features=6)
    with pytest.raises(UserError, match=r"2_Dense/linear.weight is \[5, \d+\], expected \[6, "):
        load_params(place)
    changed(place, out_features=5)
    weights = place / "2_Dense" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(UserError, match=r"model.safetensors is missing; pytorch_model.bin beside"):
        load_params(place)


def test_a_model_in_memory_is_saved_with_its_layer(encoder: Path, tmp_path: Path):
    head = Head(pooling="cls", dense=DenseLayer(4))
    model = from_pretrained(encoder, head=head)
    save_pretrained(model, load_tokenizer(encoder), tmp_path / "out")
    expected = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(Predictor(tmp_path / "out").vectors(TEXTS), expected, atol=2e-6)
    kernel = model.vector_projection.dense.kernel[...]
    assert np.any(kernel), "a layer that no file holds is drawn"


def test_a_layer_has_its_place_behind_a_pooling_alone():
    with pytest.raises(UserError, match="dense: only an encoder with a pooling"):
        Head(dense=DenseLayer(4))
    with pytest.raises(UserError, match=r"dense.dimensions=0: must be at least 1"):
        DenseLayer(0)


def test_training_goes_on_from_a_layer_and_keeps_it(encoder: Path, tmp_path: Path):
    place = written(encoder, tmp_path / "st", tanh=True, bias=True, normalized=True)
    table = tmp_path / "pairs.tsv"
    table.write_text("anchor\tpositive\n" + "one two\tthree much\nlonger\tseven text\n" * 4)
    config = {
        "model": str(place),
        "train": str(table),
        "task": {"kind": "sentence_embedding"},
        "batch_size": 8,
        "num_steps": 2,
        "max_seq_length": 16,
        "optimizer": {"learning_rate": 1e-3},
    }
    results = finetune(config, tmp_path / "run", quiet=True)
    kernel = results.params["vector_projection"]["dense"]["kernel"]
    before = load_params(place).params["vector_projection"]["dense"]["kernel"]
    assert 1e-5 < np.abs(kernel - before).max() < 0.01, "two steps from where it was"
    model = tmp_path / "run" / "model"
    assert load_params(model).head == load_params(place).head
    expected = SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(Predictor(model).vectors(TEXTS), expected, atol=2e-6)
