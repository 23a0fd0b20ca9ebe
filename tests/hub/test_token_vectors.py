"""Models of late interaction, against sentence-transformers' MultiVectorEncoder."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

from jaxbert.cli import main
from jaxbert.errors import UserError
from jaxbert.experiment.inference import reading_of, ready, section_of
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.load import load_params
from jaxbert.hub.sentence_prompts import read_prompts
from jaxbert.nn.head import COLBERT, DenseLayer, Head
from jaxbert.tasks.sides import QueryExpansion
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_wordpiece

QUERIES = ["one two", "what, of three?", "a much longer text of seven words, and of one word more"]
DOCUMENTS = ["one, two three.", "text", "a much longer text of seven words; of words, of words."]
SIDES = {"query": QUERIES, "document": DOCUMENTS}
HEAD = Head("late_interaction", dense=DenseLayer(4, "identity", bias=False))


@pytest.fixture(scope="module", autouse=True)
def _quickly():
    """LLVM's passes are most of the time that these programs take."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def encoder(copy_of: Callable[[str], Path]) -> Path:
    """A BERT with a tokenizer that knows ColBERT's marks as words."""
    directory = copy_of("BertModel")
    texts = ["one two three what a much longer text of seven words word more and , . ; ?"] * 3
    tokenizer = train_wordpiece(texts, 90)
    save_tokenizer(tokenizer, directory)
    return directory


def written(encoder: Path, place: Path, *, prompts: dict[str, str], **options: Any) -> Path:
    """A directory of sentence-transformers with a random projection."""
    skiplist = options.pop("skiplist", [])
    sides = options.pop("sides", None)
    transformer = Transformer(str(encoder), **options)
    torch.manual_seed(0)
    dense = Dense(
        transformer.get_embedding_dimension(),
        4,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    mask = MultiVectorMask(skiplist, skiplist_tasks=sides)
    parts = [transformer, dense, mask, Normalize(module_input_name="token_embeddings")]
    model = MultiVectorEncoder(modules=parts, device="cpu", prompts=prompts)
    model.save(str(place), create_model_card=False)
    return place


def theirs(place: Path) -> dict[str, list[np.ndarray]]:
    model = MultiVectorEncoder(str(place), device="cpu")
    return {
        "query": [np.asarray(x) for x in model.encode_query(QUERIES)],
        "document": [np.asarray(x) for x in model.encode_document(DOCUMENTS)],
    }


def ours(place: Path) -> dict[str, list[np.ndarray]]:
    model = ready(place)
    sections = {side: section_of(model, None, [f"task.side={side}"]) for side in SIDES}
    return {
        side: Predictor(model, section=sections[side]).token_vectors(texts)
        for side, texts in SIDES.items()
    }


def assert_equal(found: dict[str, list[np.ndarray]], expected: dict[str, list[np.ndarray]]) -> None:
    for side in SIDES:
        assert [len(each) for each in found[side]] == [len(each) for each in expected[side]]
        for one, other in zip(found[side], expected[side], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def expansion(strategy: str, length: int, *, attend: bool) -> dict[str, Any]:
    return {"strategy": strategy, "length": length, "attend": attend, "token": None}


COLBERTS = {
    "prompts": {"query": "one ", "document": "two "},
    "query_expansion": expansion("fixed", 12, attend=False),
    "document_length": 14,
    "skiplist": list(string.punctuation),
}
OTHERS = {
    "prompts": {"query": "", "document": ""},
    "query_expansion": expansion("min", 8, attend=True),
    "query_length": 13,
    "skiplist": [","],
    "sides": ["query", "document"],
}
PLAIN = {"prompts": {"query": "", "document": ""}, "query_length": 7}


@pytest.mark.parametrize("options", [COLBERTS, OTHERS, PLAIN], ids=["colbert", "others", "plain"])
def test_vectors_equal_those_of_sentence_transformers_both_ways(
    encoder: Path, tmp_path: Path, options: dict[str, Any]
):
    place = written(encoder, tmp_path / "st", **options)
    expected = theirs(place)
    assert expected["query"][0].shape[1] == 4
    opened = load_params(place)
    assert (opened.head, opened.fresh) == (HEAD, ())
    assert load_params(place, head="none").head == Head()
    assert_equal(ours(place), expected)
    out = tmp_path / "out"
    assert main(["convert", str(place), str(out)]) == 0
    assert read_prompts(out) == read_prompts(place)
    assert_equal(theirs(out), expected)


def test_the_layouts_say_the_same(encoder: Path, tmp_path: Path):
    place = written(encoder, tmp_path / "st", **COLBERTS)
    native, out = tmp_path / "native", tmp_path / "out"
    assert main(["convert", str(place), str(native), "--to", "orbax"]) == 0
    for _ in range(2):
        assert main(["convert", str(native), str(out), "--verify", "--overwrite"]) == 0
    assert read_prompts(out) == read_prompts(place) == read_prompts(native)
    first = load_params(place)
    for directory in (native, out):
        again = load_params(directory)
        assert (again.head, again.fresh, again.unused) == (HEAD, (), ())
        pairs = zip(*(jax.tree.leaves(each.params) for each in (first, again)), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)


def test_options_of_the_files_are_those_of_the_task(encoder: Path, tmp_path: Path):
    model = ready(written(encoder, tmp_path / "st", **COLBERTS))
    section, reading = section_of(model), reading_of(model)
    assert section.query_expansion == QueryExpansion(12)
    assert (section.query_length, reading.max_seq_length) == (12, 14)
    assert section.skiplist_words == tuple(string.punctuation)
    other = section_of(ready(written(encoder, tmp_path / "other", **OTHERS)))
    assert other.query_expansion == QueryExpansion(8, attend=True)
    assert (other.query_length, other.skiplist_tasks) == (13, ("query", "document"))
    assert section_of(ready(written(encoder, tmp_path / "plain", **PLAIN))).query_expansion is None


def marked(encoder: Path) -> tuple[int, int]:
    """Ids of two rare words, which are to be [unused0] and [unused1] from now on."""
    tokenizer = load_tokenizer(encoder)
    names = {"seven": "[unused0]", "more": "[unused1]"}
    values = json.loads(tokenizer.backend.to_str())
    values["model"]["vocab"] = {names.get(k, k): v for k, v in values["model"]["vocab"].items()}
    (encoder / "tokenizer.json").write_text(json.dumps(values))
    words = (encoder / "vocab.txt").read_text().splitlines()
    (encoder / "vocab.txt").write_text("\n".join(names.get(w, w) for w in words) + "\n")
    return tokenizer.backend.token_to_id("seven"), tokenizer.backend.token_to_id("more")


def test_a_checkpoint_of_stanford_is_opened_as_sentence_transformers_does(
    encoder: Path, tmp_path: Path
):
    ids = marked(encoder)
    file = encoder / "model.safetensors"
    tensors = {f"bert.{name}": tensor for name, tensor in load_file(file).items()}
    width = tensors["bert.pooler.dense.bias"].shape[0]
    kernel = np.random.default_rng(0).normal(size=(6, width)).astype(np.float32)
    save_file(tensors | {"linear.weight": kernel}, file, {"format": "pt"})
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | {"architectures": ["HF_ColBERT"]}))
    metadata = {"dim": 6, "query_maxlen": 11, "doc_maxlen": 20, "attend_to_mask_tokens": False}
    (encoder / "artifact.metadata").write_text(json.dumps(metadata))
    expected = theirs(encoder)
    assert expected["document"][0].shape[1] == 6
    assert_equal(ours(encoder), expected)
    assert main(["convert", str(encoder), str(tmp_path / "out")]) == 0
    assert_equal(theirs(tmp_path / "out"), expected)
    assert_equal(ours(tmp_path / "out"), expected)
    found = load_tokenizer(tmp_path / "out").encode(["[unused0] one"], padding=False)["input_ids"]
    assert found[0][1] == ids[0], "one token, not brackets and letters"


def test_a_checkpoint_of_pylate_is_opened_as_sentence_transformers_does(
    encoder: Path, tmp_path: Path
):
    marked(encoder)
    place = written(encoder, tmp_path / "st", prompts={})
    modules = json.loads((place / "modules.json").read_text())[:2]
    modules[1]["type"] = "pylate.models.Dense.Dense"
    (place / "modules.json").write_text(json.dumps(modules))
    file = place / "1_Dense" / "config.json"
    layer = json.loads(file.read_text())
    for name in ("module_input_name", "module_output_name"):
        layer.pop(name)
    file.write_text(json.dumps(layer))
    described = {
        "model_type": "ColBERT",
        "query_prefix": "[unused0] ",
        "document_prefix": "[unused1] ",
        "query_length": 10,
        "document_length": 16,
        "attend_to_expansion_tokens": True,
        "prompts": {},
        "similarity_fn_name": "MaxSim",
    }
    (place / "config_sentence_transformers.json").write_text(json.dumps(described))
    expected = theirs(place)
    assert [len(each) for each in expected["query"]] == [10] * 3
    assert_equal(ours(place), expected)
    assert main(["convert", str(place), str(tmp_path / "out")]) == 0
    assert_equal(theirs(tmp_path / "out"), expected)


def test_a_bare_encoder_begins_with_a_projection_of_its_own(encoder: Path):
    opened = load_params(encoder, head="late_interaction")
    assert opened.head == Head("late_interaction", dense=COLBERT)
    assert opened.fresh == ("vector_projection/dense/kernel",)


def test_other_modules_and_what_is_not_implemented_are_refused(encoder: Path, tmp_path: Path):
    place = written(encoder, tmp_path / "st", **PLAIN)
    file = place / "2_MultiVectorMask" / "config.json"
    mask = json.loads(file.read_text())
    file.write_text(json.dumps(mask | {"keep_only_token_ids": [3]}))
    with pytest.raises(UserError, match=r"MultiVectorMask.*: keep_only_token_ids"):
        section_of(ready(place))
    modules = json.loads((place / "modules.json").read_text())
    (place / "modules.json").write_text(json.dumps([*modules[:2], modules[1], *modules[2:]]))
    with pytest.raises(UserError, match="Transformer, Dense, Dense, MultiVectorMask, Normalize: e"):
        load_params(place)
    (place / "modules.json").write_text(json.dumps(modules[:3]))
    with pytest.raises(UserError, match="modules Transformer, Dense, MultiVectorMask: expected"):
        load_params(place)
