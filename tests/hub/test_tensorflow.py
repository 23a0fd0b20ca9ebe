"""TensorFlow 1 checkpoints: one that TensorFlow wrote, and what an independent writer makes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import torch
import transformers
from tensor_bundles import entry, field, table, write_bundle
from torch_models import Saved, as_torch, make_batch

from jaxbert.errors import UserError
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.sorted_table import masked_checksum, read_table
from jaxbert.hub.tensor_bundle import open_bundle
from jaxbert.hub.tensorflow_names import pytorch_names
from jaxbert.hub.tensors import in_pytorch_names
from jaxbert.nn.functional import functional

REAL = Path(__file__).parent / "tensorflow_checkpoint"
SLOTS = {"global_step", "bert/pooler/dense/bias/adam_m", "bert/pooler/dense/bias/adam_v"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A private copy of what TensorFlow wrote, to damage."""
    return Path(shutil.copytree(REAL, tmp_path / "uncased"))


def rewritten(directory: Path, change: Any) -> None:
    """Changes the variables of the copy, with their checksums."""
    bundle = open_bundle(directory / "bert_model.ckpt")
    tensors = change({name: bundle.read(name) for name in bundle.shapes})
    for file in directory.glob("bert_model.ckpt*"):
        file.unlink()
    write_bundle(directory / "bert_model.ckpt", tensors)


def test_what_tensorflow_wrote_is_read_bit_for_bit():
    bundle = open_bundle(REAL / "bert_model.ckpt")
    draws = np.random.default_rng(0)
    for name in sorted(set(bundle.shapes) - SLOTS):
        expected = draws.standard_normal(bundle.shapes[name]).astype(np.float32)
        np.testing.assert_array_equal(bundle.read(name), expected)
    assert bundle.shapes["global_step"] == ()
    assert bundle.read("global_step").dtype == np.int64


def as_variable(key: str, names: list[tuple[str, str]]) -> str:
    """What TensorFlow called a parameter of PyTorch's."""
    for theirs, googles in names:
        key = key.replace(theirs, googles)
    key = key.replace(".layer.", ".layer_").replace("_embeddings.weight", "_embeddings")
    if "output_" not in key and "LayerNorm" in key:
        key = key.replace(".weight", ".gamma").replace(".bias", ".beta")
    return key.replace(".weight", ".kernel").replace(".", "/")


BERT = [
    ("cls.predictions.bias", "cls.predictions.output_bias"),
    ("cls.seq_relationship.weight", "cls.seq_relationship.output_weights"),
    ("cls.seq_relationship.bias", "cls.seq_relationship.output_bias"),
]
ALBERT = [
    (".encoder.albert_layer_groups.", ".encoder.transformer.group_"),
    (".albert_layers.", ".inner_group_"),
    (".attention.LayerNorm", ".LayerNorm"),
    (".attention.dense", ".attention_1.output.dense"),
    (".attention.", ".attention_1.self."),
    ("attention_1.self.output", "attention_1.output"),
    (".full_layer_layer_norm", ".LayerNorm_1"),
    (".ffn_output", ".ffn_1.intermediate.output.dense"),
    (".ffn.", ".ffn_1.intermediate.dense."),
    (".pooler.", ".pooler.dense."),
    ("albert.", "bert."),
    ("sop_classifier.classifier.weight", "cls.seq_relationship.output_weights"),
    ("sop_classifier.classifier.bias", "cls.seq_relationship.output_bias"),
    ("predictions.bias", "cls.predictions.output_bias"),
    ("predictions.dense", "cls.predictions.transform.dense"),
    ("predictions.LayerNorm", "cls.predictions.transform.LayerNorm"),
]
ELECTRA = [("dense_prediction", "dense_1")]
GENERATOR = [
    ("electra.embeddings.", "shared."),
    ("electra.", "generator."),
    ("shared.", "electra.embeddings."),
    ("generator_lm_head.bias", "generator_predictions.output_bias"),
]


def test_the_checkpoint_in_googles_names_is_transformers_model():
    fields = json.loads((REAL / "bert_config.json").read_text())
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**fields)).eval()
    bundle = open_bundle(REAL / "bert_model.ckpt")
    with torch.no_grad():
        for key, parameter in theirs.named_parameters():
            variable = as_variable(key, BERT)
            values = torch.from_numpy(bundle.read(variable).copy())
            parameter.copy_(values.T if variable.endswith("kernel") else values)
    batch = make_batch(3, 12, vocab_size=31)
    ours = from_pretrained(REAL)(**batch)
    with torch.no_grad():
        expected = theirs(**as_torch(batch))
    assert np.abs(ours.logits - expected.prediction_logits.numpy()).max() <= 2e-5
    difference = np.abs(ours.seq_relationship_logits - expected.seq_relationship_logits.numpy())
    assert difference.max() <= 2e-5


@pytest.mark.parametrize(
    ("architecture", "config_file", "names"),
    [
        ("BertForPreTraining", "bert_config.json", BERT),
        ("AlbertForPreTraining", "albert_config.json", ALBERT),
        ("ElectraForPreTraining", "config.json", ELECTRA),
        ("ElectraForMaskedLM", "config.json", GENERATOR),
    ],
)
def test_googles_names_give_every_parameter_of_the_family(
    saved: Callable[..., Saved],
    tmp_path: Path,
    architecture: str,
    config_file: str,
    names: list[tuple[str, str]],
):
    model, theirs = saved(architecture)
    variables = {}
    for key, parameter in model.named_parameters():
        variable, values = as_variable(key, names), parameter.detach().numpy()
        variables[variable] = values.T if variable.endswith("kernel") else values
    for name in ("discriminator_predictions/dense/bias", "generator_predictions/dense/bias"):
        if architecture.startswith("Electra"):
            # The other of the two models lies in the same checkpoint.
            variables.setdefault(name, np.zeros(24, np.float32))
    write_bundle(tmp_path / "model.ckpt-best", variables)
    fields = json.loads((theirs / "config.json").read_text())
    if config_file != "config.json":
        fields = {name: fields[name] for name in fields if name not in ("model_type", "dtype")}
        del fields["architectures"]
    (tmp_path / config_file).write_text(json.dumps(fields))
    loaded = load_params(tmp_path)
    assert (loaded.fresh, loaded.unused) == ((), ())
    jax.tree.map(np.testing.assert_array_equal, loaded.params, load_params(theirs).params)


def test_an_open_model_does_not_depend_on_its_files(directory: Path):
    model = from_pretrained(directory)
    before = jax.tree.map(np.array, functional(model)[1])
    for file in directory.glob("*.data-*"):
        with open(file, "r+b") as opened:
            opened.write(bytes(file.stat().st_size))
    jax.tree.map(np.testing.assert_array_equal, functional(model)[1], before)


def test_a_checkpoint_may_be_named_by_its_prefix(directory: Path):
    for file in directory.glob("bert_model.ckpt*"):
        shutil.copy(file, directory / file.name.replace("bert_model", "other"))
    with pytest.raises(UserError, match=r"several TensorFlow checkpoints \(bert_model.ckpt, other"):
        load_params(directory)
    loaded = load_params(directory / "other.ckpt")
    assert loaded.directory == directory
    assert (loaded.head.kind, loaded.fresh, loaded.unused) == ("pretraining", (), ())


def test_every_data_type_comes_back_as_it_was(tmp_path: Path):
    draws = np.random.default_rng(0)
    names = ["float16", "float32", "float64", "int32", "int64", ml_dtypes.bfloat16]
    tensors = {f"a/{i}": (draws.standard_normal((3, 5)) * 9).astype(n) for i, n in enumerate(names)}
    tensors |= {f"b/layer_{i}/kernel": np.full((i % 3, 2), i, np.float32) for i in range(60)}
    tensors["scalar"] = np.asarray(2.5, np.float32)
    write_bundle(tmp_path / "x", tensors, shards=3)
    bundle = open_bundle(tmp_path / "x")
    assert bundle.shapes == {name: tensor.shape for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        assert bundle.read(name).dtype == tensor.dtype
        np.testing.assert_array_equal(bundle.read(name), tensor)


@pytest.mark.parametrize(
    ("model_type", "variable", "key"),
    [
        ("bert", "bert/embeddings/LayerNorm/beta", "bert.embeddings.LayerNorm.bias"),
        ("bert", "output_weights", "classifier.weight"),
        ("bert", "cls/squad/output_bias", "qa_outputs.bias"),
        ("bert", "bert/pooler/dense/kernel/AdamWeightDecayOptimizer_1", None),
        ("albert", "bert/encoder/embedding_hidden_mapping_in/bias", "{encoder}_mapping_in.bias"),
        ("albert", "{group}/attention_1/self/query/bias", "{layer}.attention.query.bias"),
        ("albert", "{group}/attention_1/output/dense/bias", "{layer}.attention.dense.bias"),
        ("albert", "{group}/LayerNorm/gamma", "{layer}.attention.LayerNorm.weight"),
        ("albert", "{group}/LayerNorm_1/beta", "{layer}.full_layer_layer_norm.bias"),
        ("albert", "{group}/ffn_1/intermediate/dense/bias", "{layer}.ffn.bias"),
        ("albert", "{group}/ffn_1/intermediate/output/dense/bias", "{layer}.ffn_output.bias"),
        ("albert", "module/bert/pooler/dense/bias", "albert.pooler.bias"),
        ("albert", "cls/predictions/transform/LayerNorm/beta", "predictions.LayerNorm.bias"),
        ("albert", "cls/predictions/output_bias", "predictions.bias"),
        ("albert", "cls/seq_relationship/output_weights", "sop_classifier.classifier.weight"),
        ("electra", "discriminator_predictions/dense_1/bias", "{discriminator}_prediction.bias"),
        ("electra", "generator/encoder/layer_3/output/dense/bias", None),
    ],
)
def test_google_variables_have_pytorch_names(model_type: str, variable: str, key: str | None):
    short = {
        "group": "bert/encoder/transformer/group_0/inner_group_0",
        "layer": "albert.encoder.albert_layer_groups.0.albert_layers.0",
        "encoder": "albert.encoder.embedding_hidden",
        "discriminator": "discriminator_predictions.dense",
    }
    named = pytorch_names(model_type)(variable.format(**short))
    assert (named and named.key) == (key and key.format(**short))


def test_electras_generator_shares_the_discriminators_embeddings():
    name = pytorch_names("electra", is_generator=True)
    variables = {
        "electra/embeddings/word_embeddings": "electra.embeddings.word_embeddings.weight",
        "electra/encoder/layer_0/output/dense/bias": None,
        "generator/encoder/layer_0/output/dense/bias": "electra.encoder.layer.0.output.dense.bias",
        "generator_predictions/dense/bias": "generator_predictions.dense.bias",
        "generator_predictions/output_bias": "generator_lm_head.bias",
        "discriminator_predictions/dense/bias": None,
    }
    for variable, key in variables.items():
        named = name(variable)
        assert (named and named.key) == key


def test_kernels_are_transposed_and_output_weights_are_not(tmp_path: Path):
    tensors = {"a/kernel": np.arange(6.0).reshape(2, 3), "output_weights": np.ones((2, 8))}
    write_bundle(tmp_path / "x", tensors)
    named = in_pytorch_names(open_bundle(tmp_path / "x"), pytorch_names("bert"))
    assert named.shapes == {"a.weight": (3, 2), "classifier.weight": (2, 8)}
    np.testing.assert_array_equal(named.read("a.weight"), [[0, 3], [1, 4], [2, 5]])


def test_a_missing_and_an_unknown_variable_are_named(directory: Path):
    def change(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        del tensors["bert/pooler/dense/bias"]
        tensors["bert/encoder/layer_1/output/dense/bias"] = np.zeros(8, np.float32)
        return tensors

    rewritten(directory, change)
    with pytest.raises(UserError) as raised:
        load_params(directory)
    assert "missing bert.pooler.dense.bias [8]" in str(raised.value)
    assert "unexpected bert.encoder.layer.1.output.dense.bias [8]" in str(raised.value)


def test_a_flipped_bit_of_a_tensor_is_found(directory: Path):
    file = directory / "bert_model.ckpt.data-00001-of-00003"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"data-00001-of-00003: the checksum of bert/.* is wrong"):
        load_params(directory)


def test_a_flipped_bit_of_the_index_is_found(directory: Path):
    file = directory / "bert_model.ckpt.index"
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"index is damaged \(the checksum of the block at 0"):
        load_params(directory)


@pytest.mark.parametrize("left", [0, 30, 700])
def test_a_truncated_index_is_refused(directory: Path, left: int):
    file = directory / "bert_model.ckpt.index"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(UserError, match="is no whole index of a TensorFlow checkpoint"):
        load_params(directory)


def test_a_truncated_shard_is_refused(directory: Path):
    file = directory / "bert_model.ckpt.data-00001-of-00003"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match="data-00001-of-00003 is cut short"):
        load_params(directory)


def test_a_missing_shard_of_a_checkpoint_is_named(directory: Path):
    (directory / "bert_model.ckpt.data-00002-of-00003").unlink()
    with pytest.raises(
        UserError, match=r"names bert_model\.ckpt\.data-00002-of-00003, which is not"
    ):
        load_params(directory)


_SHAPE = field(2, field(2, field(1, 3)))


@pytest.mark.parametrize(
    ("header", "described", "message"),
    [
        (b"", field(2, field(2, field(1, 5))), r"a has 12 bytes, .* not those of its shape \[5\]"),
        (b"", field(2, field(2, field(1, 2**64 - 1))), "not those of its shape"),
        (b"", _SHAPE + field(5, 11), "a has 11 bytes"),
        (b"", _SHAPE + field(4, 2**64 - 1), "is cut short"),
        (b"", field(2, field(2, field(1, b"text"))), "is no index of a TensorFlow checkpoint"),
        (b"", _SHAPE + field(3, 7), "is no index of a TensorFlow checkpoint"),
        (field(1, b"text"), _SHAPE, "is no index of a TensorFlow checkpoint"),
        (field(1, 10**12), _SHAPE, "data-00000-of-1000000000000, which is not there"),
    ],
)
def test_an_odd_description_of_a_variable_is_refused(
    tmp_path: Path, header: bytes, described: bytes, message: str
):
    tensor = np.arange(3, dtype=np.float32)
    # Of a field that is there twice the first one counts.
    variable = described + entry(tensor, tensor.tobytes(), 0, 0)
    (tmp_path / "x.index").write_bytes(table([(b"", header), (b"a", variable)]))
    (tmp_path / "x.data-00000-of-00001").write_bytes(tensor.tobytes())
    with pytest.raises(UserError, match=message):
        open_bundle(tmp_path / "x").read("a")


def test_an_object_graph_of_tensorflow_2_is_refused(directory: Path):
    rewritten(directory, lambda t: {**t, "_CHECKPOINTABLE_OBJECT_GRAPH": np.zeros(1, np.float32)})
    with pytest.raises(UserError, match=r"TensorFlow 2 as an object graph.*tf2_checkpoint"):
        load_params(directory)


def test_a_compressed_index_is_refused(tmp_path: Path):
    content = bytearray(table([(b"", b""), (b"a", b"x")]))
    end = content.index(b"x") + 1 + 8
    content[end] = 1
    checksum = masked_checksum(bytes(content[: end + 1]))
    content[end + 1 : end + 5] = checksum.to_bytes(4, "little")
    (tmp_path / "x.index").write_bytes(content)
    with pytest.raises(UserError, match="it is compressed"):
        read_table(tmp_path / "x.index")


def test_a_family_without_such_checkpoints_is_refused():
    with pytest.raises(UserError, match="model_type='roberta' are not known"):
        pytorch_names("roberta")
