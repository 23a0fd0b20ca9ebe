"""What is taken from a file, what is made new, and what is refused."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch_models import LABELS, Saved, make_torch_model

from jaxbert.errors import UserError
from jaxbert.hub.config_file import read_description
from jaxbert.hub.load import Pretrained, from_pretrained, load_params
from jaxbert.nn.head import Head
from jaxbert.tree import flat

CopyOf = Callable[[str], Path]
Save = Callable[..., Saved]
WORDS = "bert.embeddings.word_embeddings.weight"


def rewrite(directory: Path, change: Callable[[dict[str, np.ndarray]], dict[str, Any]]) -> None:
    """Changes the tensors of a directory."""
    file = directory / "model.safetensors"
    tensors = {key: np.ascontiguousarray(value) for key, value in change(load_file(file)).items()}
    save_file(tensors, file)


def reconfigure(directory: Path, **fields: Any) -> None:
    """Changes fields of config.json; None takes one out."""
    file = directory / "config.json"
    config = {**json.loads(file.read_text()), **fields}
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def assert_equal(ours: Pretrained, expected: Pretrained) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours.params, expected.params)


def legacy_norms(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, old in names.items():
        tensors = {key.replace(new, old): value for key, value in tensors.items()}
    return tensors


def without_prefix(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix("bert."): value for key, value in tensors.items()}


def with_buffers(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**tensors, "bert.embeddings.position_ids": np.arange(80)[None]}


def with_copies(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    copies = {
        "cls.predictions.decoder.weight": tensors[WORDS],
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
    }
    return tensors | copies


def bias_under_its_copy(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    bias = tensors.pop("cls.predictions.bias")
    return {**tensors, "cls.predictions.decoder.bias": bias}


def of_nvidia(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = ("intermediate", "pooler", "transform")
    for name in names:
        old, new = f"{name}.dense.", f"{name}.dense_act."
        tensors = {key.replace(old, new): value for key, value in tensors.items()}
    return tensors


def distributed_and_compiled(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"module._orig_mod.{key}": value for key, value in tensors.items()}


def with_a_compiled_encoder_in_a_trainer(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    compiled = {key.replace("bert.", "bert._orig_mod."): value for key, value in tensors.items()}
    return {f"model.{key}": value for key, value in compiled.items()}


@pytest.mark.parametrize(
    "spelling",
    [
        legacy_norms,
        without_prefix,
        with_buffers,
        with_copies,
        bias_under_its_copy,
        of_nvidia,
        distributed_and_compiled,
        with_a_compiled_encoder_in_a_trainer,
    ],
)
def test_every_spelling_of_a_checkpoint_gives_the_same_parameters(
    saved: Save, copy_of: CopyOf, spelling: Callable[..., Any]
):
    expected = load_params(saved("BertForPreTraining").directory)
    directory = copy_of("BertForPreTraining")
    rewrite(directory, spelling)
    loaded = load_params(directory)
    assert_equal(loaded, expected)
    assert loaded.fresh == loaded.unused == ()


def test_an_output_projection_of_its_own_is_refused(copy_of: CopyOf):
    directory = copy_of("BertForMaskedLM")
    rewrite(directory, lambda t: {**t, "cls.predictions.decoder.weight": t[WORDS] * 1.01})
    with pytest.raises(UserError, match=r"cls\.predictions\.decoder\.weight differs from bert\."):
        load_params(directory)


def test_a_stale_projection_does_not_hinder_a_head_without_one(copy_of: CopyOf):
    directory = copy_of("BertForMaskedLM")
    rewrite(directory, lambda t: {**t, "cls.predictions.decoder.weight": t[WORDS] * 1.01})
    assert "cls.predictions.decoder.weight" in load_params(directory, head="none").unused


def test_two_names_of_one_tensor_are_refused(copy_of: CopyOf):
    directory = copy_of("BertModel")
    rewrite(directory, lambda t: {**t, "embeddings.LayerNorm.gamma": np.ones(24, np.float32)})
    with pytest.raises(UserError, match="two names of one"):
        load_params(directory)


def test_all_tensors_that_do_not_fit_are_named_at_once(copy_of: CopyOf):
    directory = copy_of("BertForMaskedLM")

    def damage(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        del tensors["bert.encoder.layer.0.output.dense.bias"]
        tensors["bert.encoder.layer.1.intermediate.dense.weight"] = np.zeros((24, 36), np.float32)
        tensors["bert.encoder.layer.2.output.dense.bias"] = np.zeros(24, np.float32)
        return tensors

    rewrite(directory, damage)
    with pytest.raises(UserError) as raised:
        load_params(directory)
    message = str(raised.value)
    assert "missing bert.encoder.layer.0.output.dense.bias [24]" in message
    assert (
        "bert.encoder.layer.1.intermediate.dense.weight is [24, 36], expected [36, 24]" in message
    )
    assert "unexpected bert.encoder.layer.2.output.dense.bias [24]" in message
    assert "\n" not in message


def test_a_vocabulary_that_was_padded_is_told_from_another_architecture(copy_of: CopyOf):
    directory = copy_of("BertForMaskedLM")
    vocab_size = json.loads((directory / "config.json").read_text())["vocab_size"]

    def pad(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        bias = "cls.predictions.bias"
        padded = {
            WORDS: np.pad(tensors[WORDS], ((0, 6), (0, 0))),
            bias: np.pad(tensors[bias], (0, 6)),
        }
        return tensors | padded

    rewrite(directory, pad)
    with pytest.raises(UserError, match=rf"padded is read with vocab_size={vocab_size + 6} in con"):
        load_params(directory)
    reconfigure(directory, vocab_size=vocab_size + 6)
    assert load_params(directory).config.vocab_size == vocab_size + 6


def test_half_a_head_is_an_error_even_where_a_new_one_is_allowed(copy_of: CopyOf):
    directory = copy_of("BertForNextSentencePrediction")
    rewrite(directory, lambda t: {k: v for k, v in t.items() if k != "bert.pooler.dense.bias"})
    with pytest.raises(UserError, match=r"missing pooler\.dense\.bias"):
        load_params(directory, head="none")


def test_a_missing_head_is_an_error_unless_it_is_asked_for(copy_of: CopyOf):
    directory = copy_of("BertForMaskedLM")
    reconfigure(directory, architectures=["BertForPreTraining"])
    with pytest.raises(UserError, match=r"missing bert\.pooler\.dense\.weight.*pass head="):
        load_params(directory)
    assert "pooler/dense/kernel" in load_params(directory, head="pretraining").fresh


def test_a_new_head_is_said_logged_and_reproducible(saved: Save, caplog: pytest.LogCaptureFixture):
    directory = saved("BertForMaskedLM").directory
    options: dict[str, Any] = {"head": "sequence_classification", "labels": ["a", "b", "c", "d"]}
    with caplog.at_level(logging.WARNING, "jaxbert"):
        first = load_params(directory, seed=1, **options)
    heads = ("pooler/dense/bias", "pooler/dense/kernel")
    heads = (*heads, "classifier/dense/bias", "classifier/dense/kernel")
    assert sorted(first.fresh) == sorted(heads)
    assert "random until they are trained: classifier/dense, pooler/dense" in caplog.text
    assert all(name.startswith("cls.") for name in first.unused)
    assert first.head == Head("sequence_classification", ("a", "b", "c", "d"))
    assert_equal(load_params(directory, seed=1, **options), first)
    other = flat(load_params(directory, seed=2, **options).params)
    assert not np.array_equal(other["pooler/dense/kernel"], flat(first.params)[heads[1]])


def test_a_new_head_leaves_the_encoder_as_it_is(saved: Save):
    directory = saved("BertForMaskedLM").directory
    encoder = load_params(directory).params["encoder"]
    loaded = load_params(directory, head="next_sentence", seed=3).params["encoder"]
    jax.tree.map(np.testing.assert_array_equal, loaded, encoder)


def test_tensors_of_another_head_are_reported(saved: Save, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "jaxbert"):
        loaded = load_params(saved("BertForPreTraining").directory, head="masked_lm")
    assert loaded.unused == (
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
        "cls.seq_relationship.bias",
        "cls.seq_relationship.weight",
    )
    assert "cls.seq_relationship.bias" in caplog.text


def test_labels_and_problem_type_come_from_the_config(saved: Save):
    head = load_params(saved("BertForSequenceClassification").directory).head
    assert head == Head("sequence_classification", LABELS, "single_label_classification")


def test_a_classifier_for_other_labels_is_not_taken_silently(saved: Save):
    directory = saved("BertForSequenceClassification").directory
    with pytest.raises(UserError, match=r"trained for .*'maybe'.*_heads=True \(a key of fine-t"):
        load_params(directory, labels=["x", "y", "z"])
    loaded = load_params(directory, labels=["x", "y", "z"], ignore_mismatched_heads=True)
    assert sorted(loaded.fresh) == ["classifier/dense/bias", "classifier/dense/kernel"]


def test_a_classifier_of_another_size_is_replaced_only_on_request(saved: Save):
    directory = saved("BertForSequenceClassification").directory
    with pytest.raises(UserError, match=r"classifier\.weight is \[3, 24\], expected \[2, 24\]"):
        load_params(directory, labels=["x", "y"])
    loaded = load_params(directory, labels=["x", "y"], ignore_mismatched_heads=True)
    assert sorted(loaded.fresh) == ["classifier/dense/bias", "classifier/dense/kernel"]


def test_generic_labels_may_be_given_names(copy_of: CopyOf):
    directory = copy_of("BertForSequenceClassification")
    generic = {str(index): f"LABEL_{index}" for index in range(3)}
    reconfigure(directory, id2label=generic)
    loaded = load_params(directory, labels=["x", "y", "z"])
    assert (loaded.fresh, loaded.head.labels) == ((), ("x", "y", "z"))


def test_a_token_classifier_is_not_taken_for_a_sequence_classifier(copy_of: CopyOf):
    directory = copy_of("BertForSequenceClassification")
    reconfigure(directory, architectures=["BertForTokenClassification"])
    loaded = load_params(directory, head="sequence_classification")
    assert sorted(loaded.fresh) == ["classifier/dense/bias", "classifier/dense/kernel"]
    assert loaded.unused == ("classifier.bias", "classifier.weight")


@pytest.mark.parametrize("architectures", [None, ["BertForJokes"]])
def test_where_no_class_is_known_the_classifier_is_what_the_caller_says(
    copy_of: CopyOf, architectures: list[str] | None
):
    directory = copy_of("BertForSequenceClassification")
    expected = load_params(directory)
    reconfigure(directory, architectures=architectures)
    loaded = load_params(directory, head="sequence_classification")
    assert (loaded.fresh, loaded.head) == ((), expected.head)
    assert_equal(loaded, expected)
    loaded = load_params(directory, head="sequence_classification", labels=["x", "y", "z"])
    assert sorted(loaded.fresh) == ["classifier/dense/bias", "classifier/dense/kernel"]


def test_a_class_that_is_not_implemented_gives_its_encoder(copy_of: CopyOf):
    directory = copy_of("BertModel")
    reconfigure(directory, architectures=["BertLMHeadModel"])
    rewrite(directory, lambda t: {**t, "qa_outputs.bias": np.zeros(2, np.float32)})
    with pytest.raises(UserError, match=r"BertLMHeadModel.*pass head="):
        load_params(directory)
    assert load_params(directory, head="none").unused == ("qa_outputs.bias",)


def test_bfloat16_weights_become_the_same_numbers_in_float32(tmp_path: Path):
    model = make_torch_model("BertModel", num_hidden_layers=1).bfloat16()
    model.save_pretrained(tmp_path)
    kernel = flat(load_params(tmp_path).params)["pooler/dense/kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel.T, model.pooler.dense.weight.detach().float().numpy())


def test_shards_hold_the_same_model_as_one_file(saved: Save, tmp_path: Path):
    pretraining = saved("BertForPreTraining")
    pretraining.model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_equal(load_params(tmp_path), load_params(pretraining.directory))


def test_a_lost_shard_is_named(saved: Save, tmp_path: Path):
    saved("BertModel").model.save_pretrained(tmp_path, max_shard_size="20KB")
    lost = sorted(tmp_path.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(UserError, match=f"names {lost.name}, which is not there"):
        load_params(tmp_path)


def test_a_truncated_file_is_refused(copy_of: CopyOf):
    file = copy_of("BertModel") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors is not a whole safetensors file"):
        load_params(file.parent)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was loaded",)


def test_no_code_of_a_pickle_is_run(copy_of: CopyOf):
    directory = copy_of("BertModel")
    (directory / "model.safetensors").unlink()
    torch.save(Trap(), directory / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is not a whole file of tensors"):
        load_params(directory)


def test_keras_weights_are_named(copy_of: CopyOf):
    directory = copy_of("BertModel")
    (directory / "model.safetensors").rename(directory / "tf_model.h5")
    with pytest.raises(
        UserError, match=r"tf_model\.h5 cannot be read: expected model\.safetensors.*from_tf=True"
    ):
        load_params(directory)


def test_a_directory_without_weights_says_so(copy_of: CopyOf):
    directory = copy_of("BertModel")
    (directory / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        load_params(directory)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"is_decoder": True}, r"config\.json: is_decoder=True is not implemented"),
        ({"model_type": "gpt2"}, r"config\.json: model_type='gpt2' is not implemented"),
        ({"model_type": None}, r"config\.json: it names no model_type"),
        ({"architectures": None}, r"config\.json: of its architectures \(none\).*pass head="),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused(
    copy_of: CopyOf, fields: dict[str, Any], message: str
):
    directory = copy_of("BertModel")
    reconfigure(directory, **fields)
    with pytest.raises(UserError, match=message):
        load_params(directory)


def test_broken_json_is_refused(copy_of: CopyOf):
    directory = copy_of("BertModel")
    (directory / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not valid JSON"):
        load_params(directory)


def test_a_misspelt_head_names_the_nearest(saved: Save):
    with pytest.raises(UserError, match=r"head='maskedlm'.*'masked_lm'"):
        load_params(saved("BertModel").directory, head="maskedlm")  # type: ignore[arg-type]


def test_labels_without_a_classifier_are_refused(saved: Save):
    with pytest.raises(UserError, match="need a classifier"):
        from_pretrained(saved("BertModel").directory, labels=["a", "b"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_labels", "two"),
        ("classifier_dropout", "none"),
        ("hidden_act", ["gelu"]),
        ("architectures", 5),
        ("architectures", [["BertModel"]]),
    ],
)
def test_a_field_of_another_type_is_named_with_its_file(tmp_path: Path, field: str, value: Any):
    fields = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(fields | {field: value}))
    with pytest.raises(UserError, match=rf"config\.json: {field}="):
        read_description(tmp_path)


@pytest.mark.parametrize("labels", ["abc", [0, 1], 3])
def test_labels_are_a_list_of_texts(tmp_path, labels):
    with pytest.raises(UserError, match=r"^labels=.*: expected a list of texts"):
        read_description(tmp_path, head="sequence_classification", labels=labels)


@pytest.mark.parametrize("dtype", ["int8", "bf16"])
def test_a_model_computes_in_a_floating_dtype(tmp_path, dtype):
    with pytest.raises(UserError, match=f"^dtype='{dtype}': expected one to compute in"):
        from_pretrained(tmp_path, dtype=dtype)
