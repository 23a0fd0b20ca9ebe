"""Sparse encoders against sentence-transformers: values, gradients, losses and files."""

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_models import Saved, as_torch, make_batch

from jaxbert.cli import main
from jaxbert.errors import UserError
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import file_tensors, layout_for, save_params
from jaxbert.hub.sentence_modules import read_modules
from jaxbert.nn.functional import functional, make_apply
from jaxbert.nn.head import Head, Splade
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.sparse_embedding import SparseEmbedding, SparseEmbeddingConfig
from jaxbert.tasks.text_rows import EmbeddingColumns
from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import train_wordpiece

with warnings.catch_warnings():
    # Of the packages that it imports.
    warnings.simplefilter("ignore")
    reference = pytest.importorskip("sentence_transformers.sparse_encoder", reason="extra `test`")

# LLVM's passes are most of the time that these programs take.
quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
HEAD = Head("masked_lm", splade=Splade())
TEXTS = ["The old cat sees a tree.", "a house", "the green river follows an old, old garden"]


@pytest.mark.parametrize(
    ("architecture", "splade"),
    [
        ("BertForMaskedLM", Splade()),
        ("DistilBertForMaskedLM", Splade("sum", "log1p_relu")),
        ("ModernBertForMaskedLM", Splade("max", "log1p_relu")),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.pooling}-{value.activation}",
)
def test_weights_and_gradients_are_sentence_transformers(
    saved: Callable[..., Saved], architecture: str, splade: Splade
):
    theirs, directory = saved(architecture)
    batch = make_batch(3, 16)
    del batch["token_type_ids"]
    model = from_pretrained(directory, head=Head("masked_lm", splade=splade))
    apply, params = functional(model)
    slopes = np.random.default_rng(0).normal(size=(3, 131)).astype(np.float32)

    @quickly
    @partial(jax.grad, has_aux=True)
    def gradient(params: Any) -> tuple[jax.Array, jax.Array]:
        found = apply(params, **batch).pooled
        return jnp.sum(found * slopes), found

    gradients, found = gradient(params)
    pooling = reference.modules.SpladePooling(splade.pooling, splade.activation).train()
    inputs = as_torch(batch)
    theirs.zero_grad()
    logits = theirs(**inputs).logits
    features = {"token_embeddings": logits, "attention_mask": inputs["attention_mask"]}
    expected = pooling(features)["sentence_embedding"]
    (expected * torch.from_numpy(slopes)).sum().backward()
    assert (expected == 0).any()
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=2e-5)
    ours = file_tensors(gradients, model.config, model.head)
    largest = max(np.abs(gradient).max() for gradient in ours.values())
    for name, parameter in theirs.named_parameters():
        wanted = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        limit = 2e-4 * max(np.abs(wanted).max(), 1e-2 * largest)
        np.testing.assert_allclose(ours[name], wanted, rtol=0, atol=limit, err_msg=name)
    theirs.zero_grad()


@pytest.mark.parametrize("texts", [2, 4])
def test_losses_are_sentence_transformers(texts: int):
    columns = EmbeddingColumns(negatives=tuple("abcd"[: texts - 2]))
    config = SparseEmbeddingConfig(
        columns=columns, scale=2.0, query_flops_weight=0.3, document_flops_weight=0.7
    )
    task, draws = SparseEmbedding(config), np.random.default_rng(texts)
    vectors = np.maximum(draws.normal(size=(6, texts, 11)), 0).astype(np.float32)
    batch = {
        "text_ids": jnp.arange(6 * texts).reshape(6, texts),
        "row_ids": jnp.array([*range(5), -1]),
    }

    @quickly
    @partial(jax.grad, has_aux=True)
    def gradient(vectors: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        sums = task.loss_sums(ModelOutput(jnp.zeros((1, 1, 1)), pooled=vectors), batch)
        losses = {name: sums[name] / weight for name, weight in task.loss_weights(batch).items()}
        return sum(losses.values()), losses

    found, losses = gradient(jnp.asarray(vectors))
    # A row that only fills the batch is left out.
    given = torch.tensor(vectors[:5], requires_grad=True)
    columns_of = [given[:, text] for text in range(texts)]
    ranking = reference.losses.SparseMultipleNegativesRankingLoss(None, scale=2.0)
    flops = reference.losses.FlopsLoss(None).compute_loss_from_embeddings
    expected = {
        "ranking_loss": ranking.compute_loss_from_embeddings(columns_of, None),
        "query_flops_loss": 0.3 * flops(columns_of[0]),
        "document_flops_loss": 0.7 * flops(torch.cat(columns_of[1:])),
    }
    sum(expected.values()).backward()
    assert {name: float(x) for name, x in losses.items()} == pytest.approx(
        {name: x.item() for name, x in expected.items()}, rel=1e-5
    )
    np.testing.assert_allclose(found[:5], given.grad.numpy(), rtol=1e-4, atol=1e-6)
    assert not np.asarray(found[5]).any()


@pytest.fixture
def source(copy_of: Callable[[str], Path]) -> Path:
    """A masked LM with its tokenizer."""
    directory = copy_of("BertForMaskedLM")
    save_tokenizer(train_wordpiece(TEXTS * 3, 131, min_frequency=1), directory)
    return directory


def encoded(directory: Path) -> np.ndarray:
    """sentence-transformers' vectors."""
    with warnings.catch_warnings():
        # Of PyTorch, of its sparse tensors.
        warnings.simplefilter("ignore")
        model = reference.SparseEncoder(str(directory), device="cpu", local_files_only=True)
        return model.encode(TEXTS, convert_to_sparse_tensor=False).numpy()


@pytest.mark.parametrize("splade", [Splade(), Splade("sum", "log1p_relu")], ids=["max", "sum"])
def test_sentence_transformers_opens_ours(source: Path, tmp_path: Path, splade: Splade):
    head, out = Head("masked_lm", splade=splade), tmp_path / "out"
    first = load_params(source, head=head)
    assert layout_for(first.config, head) == "huggingface"
    prompts = {"prompts": {"query": "a ", "document": ""}}
    tokenizer = train_wordpiece(TEXTS * 3, 131, min_frequency=1)
    save_params(first.params, first.config, head, tokenizer, out, prompts=prompts)
    fields = json.loads((out / "config_sentence_transformers.json").read_text())
    assert fields == {"model_type": "SparseEncoder"} | prompts
    again = load_params(out)
    assert (again.head, again.fresh, again.unused, read_modules(out)) == (head, (), (), head)
    # By its name it is the plain one.
    assert load_params(out).head == head
    assert load_params(out, head="masked_lm").head == Head("masked_lm")
    assert load_params(out, head=Head("masked_lm")).head == Head("masked_lm")
    assert load_params(out, head="none").head == Head()
    predictor = Predictor(out)
    found = predictor.sparse_vectors(TEXTS)
    np.testing.assert_allclose(found.toarray(), encoded(out), rtol=1e-4, atol=2e-5)
    [words] = predictor(TEXTS[:1])
    vocabulary = tokenizer.vocab()
    names = [*vocabulary, *(f"<{place}>" for place in range(len(vocabulary), 131))]
    row = found.toarray()[0]
    weights = {names[place]: row[place] for place in np.flatnonzero(row)}
    assert words["embedding"] == pytest.approx(weights)
    assert [*words["embedding"].values()] == sorted(words["embedding"].values(), reverse=True)
    assert predictor.sparse_vectors([]).shape == (0, 131)
    with pytest.raises(UserError, match=r"are sparse: take sparse_vectors"):
        predictor.vectors(TEXTS)


OLD = "sentence_transformers.sparse_encoder.models."


def test_those_of_its_older_versions_are_opened_and_converted(source: Path, tmp_path: Path):
    paths = {"MLMTransformer": "", "SpladePooling": "1_SpladePooling"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": OLD + kind}
        for number, (kind, path) in enumerate(paths.items())
    ]
    (source / "modules.json").write_text(json.dumps(modules))
    (source / "1_SpladePooling").mkdir()
    pooling = {"pooling_strategy": "max", "word_embedding_dimension": 131}
    (source / "1_SpladePooling" / "config.json").write_text(json.dumps(pooling))
    prompts = {"prompts": {"query": "a "}, "default_prompt_name": "query"}
    file = "config_sentence_transformers.json"
    (source / file).write_text(json.dumps({"model_type": "SparseEncoder"} | prompts))
    out, native = tmp_path / "out", tmp_path / "native"
    assert main(["convert", str(source), str(out), "--verify"]) == 0
    assert main(["convert", str(out), str(native), "--to", "orbax"]) == 0
    assert main(["convert", str(native), str(out), "--overwrite"]) == 0
    assert json.loads((out / file).read_text())["prompts"] == prompts["prompts"]
    expected = encoded(source)
    np.testing.assert_allclose(encoded(out), expected, rtol=1e-4, atol=2e-5)
    for directory in (source, native, out):
        assert load_params(directory).head == HEAD
        found = Predictor(directory).sparse_vectors(TEXTS).toarray()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_what_sentence_transformers_would_pool_otherwise_is_refused(source: Path):
    kinds = {"": OLD + "MLMTransformer", "1_SpladePooling": OLD + "SpladePooling"}
    modules = [{"path": path, "type": kind} for path, kind in kinds.items()]
    (source / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match=r"1_SpladePooling/config\.json is missing"):
        load_params(source)
    (source / "1_SpladePooling").mkdir()
    file = source / "1_SpladePooling" / "config.json"
    file.write_text('{"pooling_strategy": "mean"}')
    with pytest.raises(UserError, match=r"1_SpladePooling/config\.json: .*pooling"):
        load_params(source)
    file.write_text("{}")
    assert load_params(source).head == HEAD


def test_a_masked_lm_that_transformers_makes_of_ours_is_none_of_weights(
    source: Path, tmp_path: Path
):
    import transformers

    first = load_params(source, head=HEAD)
    save_params(first.params, first.config, HEAD, None, tmp_path / "ours")
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path / "ours").eval()
    theirs.save_pretrained(tmp_path / "theirs")
    assert "jaxbert_splade" in json.loads((tmp_path / "theirs" / "config.json").read_text())
    again = load_params(tmp_path / "theirs")
    assert again.head == Head("masked_lm")
    batch = make_batch(2, 9)
    with torch.no_grad():
        expected = theirs(**as_torch(batch)).logits.numpy()
    found = np.asarray(quickly(make_apply(again.config, again.head))(again.params, **batch).logits)
    real = batch["attention_mask"] == 1
    np.testing.assert_allclose(found[real], expected[real], atol=2e-5)
