"""The directories that we write, read by safetensors, by transformers and by us."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file
from torch_models import LABELS, Saved, as_torch, make_batch

import jaxbert.hub.save
from jaxbert.errors import UserError
from jaxbert.families import preset
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import check_tokenizer, file_tensors, save_params, save_pretrained
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import functional, init_params
from jaxbert.nn.head import Head
from jaxbert.nn.model import Model
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import residue_tokenizer, train_wordpiece
from jaxbert.tree import flat

Save = Callable[..., Saved]
Open = Callable[..., Model]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_wordpiece(["the small dog saw the other small dog run"] * 3, 60)


def sides(*modules: str) -> Iterator[str]:
    for module in modules:
        yield f"{module}.weight"
        yield f"{module}.bias"


def encoder_keys(prefix: str = "bert.") -> set[str]:
    keys = {f"{prefix}embeddings.{name}_embeddings.weight" for name in EMBEDDINGS}
    keys.update(sides(f"{prefix}embeddings.LayerNorm"))
    for layer in range(2):
        keys.update(sides(*(f"{prefix}encoder.layer.{layer}.{module}" for module in LAYER)))
    return keys


EMBEDDINGS = ("word", "position", "token_type")
LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
POOLER = set(sides("bert.pooler.dense"))
MASKED_LM = {
    *sides("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"),
    "cls.predictions.bias",
}
# What transformers 5.23 saves for each class: no decoder, no position ids.
KEYS = {
    "BertModel": encoder_keys("") | set(sides("pooler.dense")),
    "BertForPreTraining": encoder_keys() | POOLER | MASKED_LM | set(sides("cls.seq_relationship")),
    "BertForMaskedLM": encoder_keys() | MASKED_LM,
    "BertForNextSentencePrediction": encoder_keys() | POOLER | set(sides("cls.seq_relationship")),
    "BertForSequenceClassification": encoder_keys() | POOLER | set(sides("classifier")),
}


@pytest.mark.parametrize("architecture", KEYS)
def test_the_tensors_are_those_that_transformers_saves(
    saved: Save, opened: Open, tmp_path: Path, architecture: str
):
    save_pretrained(opened(architecture), None, tmp_path / "out")
    theirs = load_file(saved(architecture).directory / "model.safetensors")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    assert set(ours) == set(theirs) == KEYS[architecture]
    for key, tensor in theirs.items():
        np.testing.assert_array_equal(ours[key], tensor)
    with safe_open(tmp_path / "out" / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("architecture", KEYS)
def test_transformers_opens_the_export_as_the_same_model(
    saved: Save, opened: Open, tmp_path: Path, architecture: str
):
    save_pretrained(opened(architecture), None, tmp_path / "out")
    original = saved(architecture).model
    again, report = type(original).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert again.config.architectures == [architecture]
    with torch.no_grad():
        batch = as_torch(make_batch(3, 20))
        expected, found = original(**batch), again.eval()(**batch)
    for a, b in zip(expected.to_tuple(), found.to_tuple(), strict=True):
        assert (a - b).abs().max() <= 1e-6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_second_round_trip_changes_no_byte(opened: Open, tmp_path: Path, dtype: Any):
    first, second = tmp_path / "first", tmp_path / "second"
    save_pretrained(opened("BertForPreTraining"), None, first, dtype=dtype)
    save_pretrained(from_pretrained(first), None, second, dtype=dtype)
    for name in ("model.safetensors", "config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_shards_are_those_that_transformers_writes(saved: Save, opened: Open, tmp_path: Path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    save_pretrained(opened("BertForPreTraining"), None, ours, max_shard_size="20KB")
    saved("BertForPreTraining").model.save_pretrained(theirs, max_shard_size="20KB")
    shards = sorted(path.name for path in theirs.glob("model*.safetensors"))
    assert len(shards) > 2
    assert sorted(path.name for path in ours.glob("model*.safetensors")) == shards
    ours_index, their_index = (
        json.loads((place / "model.safetensors.index.json").read_text()) for place in (ours, theirs)
    )
    assert ours_index["metadata"] == their_index["metadata"]
    assert set(ours_index["weight_map"]) == set(their_index["weight_map"])
    again, report = transformers.BertForPreTraining.from_pretrained(ours, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    for name, tensor in saved("BertForPreTraining").model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    whole = load_params(saved("BertForPreTraining").directory)
    jax.tree.map(np.testing.assert_array_equal, load_params(ours).params, whole.params)


def test_a_model_within_the_size_is_one_file(opened: Open, tmp_path: Path):
    save_pretrained(opened("BertModel"), None, tmp_path / "out", max_shard_size=10**9)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors"}


def test_a_size_that_is_none_is_refused(opened: Open, tmp_path: Path):
    with pytest.raises(UserError, match=r"max_shard_size='big': expected a number of bytes, or"):
        save_pretrained(opened("BertModel"), None, tmp_path / "out", max_shard_size="big")
    assert not list(tmp_path.iterdir())


def test_the_dtype_is_written_where_transformers_looks(opened: Open, tmp_path: Path):
    save_pretrained(opened("BertForMaskedLM"), None, tmp_path / "out", dtype="bfloat16")
    model = transformers.BertForMaskedLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    fields = json.loads((tmp_path / "out" / "config.json").read_text())
    assert fields["dtype"] == "bfloat16"


def test_bfloat16_rounds_as_pytorch_does(saved: Save, opened: Open, tmp_path: Path):
    save_pretrained(opened("BertModel"), None, tmp_path / "out", dtype="bfloat16")
    ours = flat(load_params(tmp_path / "out").params)["pooler/dense/kernel"]
    theirs = saved("BertModel").model.pooler.dense.weight.detach().bfloat16().float().numpy()
    np.testing.assert_array_equal(ours.T, theirs)


def test_labels_reach_transformers(opened: Open, tmp_path: Path):
    save_pretrained(opened("BertForSequenceClassification"), None, tmp_path / "out")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {label: index for index, label in enumerate(LABELS)}
    assert config.problem_type == "single_label_classification"
    assert config.num_labels == 3


def test_a_regression_head_reaches_transformers(tmp_path: Path):
    config = EncoderConfig(50, 8, 1, 2, 16, max_position_embeddings=16)
    head = Head("sequence_classification", ("score",), "regression", 0.25)
    save_params(init_params(config, head, 0), config, head, None, tmp_path / "out")
    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "out")
    assert (theirs.config.num_labels, theirs.config.problem_type) == (1, "regression")
    assert theirs.dropout.p == 0.25
    loaded = load_params(tmp_path / "out")
    assert loaded.head == Head("sequence_classification", ("score",), "regression")
    # The rate is from now on the model's own.
    assert loaded.config.heads.sequence_classification.dropout == 0.25


def test_one_class_alone_is_refused(opened: Open, tmp_path: Path):
    params, config = functional(opened("BertModel"))[1], opened("BertModel").config
    head = Head("sequence_classification", ("x",), "single_label_classification")
    with pytest.raises(UserError, match="one class is nothing to tell apart"):
        save_params(params, config, head, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_padding_of_the_vocabulary_stays_inside(opened: Open):
    model = opened("BertForMaskedLM")
    params = functional(model)[1]
    assert params["encoder"]["embeddings"]["word"]["embedding"].shape == (256, 24)
    tensors = file_tensors(params, model.config, model.head)
    assert tensors["bert.embeddings.word_embeddings.weight"].shape == (131, 24)
    assert tensors["cls.predictions.bias"].shape == (131,)


def test_an_export_holds_the_tokenizer_and_the_card(
    opened: Open, tokenizer: Tokenizer, tmp_path: Path
):
    save_pretrained(opened("BertForMaskedLM"), tokenizer, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    # The tokenizer itself has no limit, and transformers would cut nothing.
    longest = opened("BertForMaskedLM").config.max_position_embeddings
    assert tokenizer.model_max_length is None
    assert len(theirs("dog " * 600, truncation=True)["input_ids"]) == longest
    assert theirs("the dog")["input_ids"] == tokenizer.encode(["the dog"])["input_ids"][0].tolist()


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(tokenizer: Tokenizer, tmp_path: Path):
    config, head = EncoderConfig(10, 8, 1, 2, 16, max_position_embeddings=16), Head()
    with pytest.raises(UserError, match=r"tokenizer has \d+ tokens and the model vocab_size=10"):
        save_params(init_params(config, head, 0), config, head, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_with_another_mask_than_the_one_that_is_dropped_is_refused():
    config = replace(preset("esm2_t6_8M"), mask_token_id=31)
    check_tokenizer(residue_tokenizer(), replace(config, token_dropout=False))
    with pytest.raises(UserError, match="masks with id 32 and the model mask_token_id=31"):
        check_tokenizer(residue_tokenizer(), config)


@pytest.mark.parametrize("other", ["out", object()])
def test_another_librarys_tokenizer_is_refused(other: Any):
    """A path here is an argument in another's place."""
    with pytest.raises(UserError, match=r"^tokenizer is (str|object): expected one of jaxbert.lo"):
        check_tokenizer(other, EncoderConfig())


def test_an_unknown_dtype_is_refused(opened: Open, tmp_path: Path):
    with pytest.raises(UserError, match="dtype='float16'"):
        save_pretrained(opened("BertModel"), None, tmp_path / "out", dtype="float16")  # type: ignore[arg-type]


def test_a_misspelt_layout_is_refused(opened: Open, tmp_path: Path):
    with pytest.raises(UserError, match="layout='orbx': did you mean 'orbax'"):
        save_pretrained(opened("BertModel"), None, tmp_path / "out", layout="orbx")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_an_interrupted_save_leaves_the_old_model_and_nothing_else(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    save_pretrained(opened("BertModel"), None, tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    monkeypatch.setattr(jaxbert.hub.save, "write_safetensors", fail)
    with pytest.raises(KeyboardInterrupt):
        save_pretrained(opened("BertForMaskedLM"), None, tmp_path / "out", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def test_an_interruption_between_the_two_renames_leaves_the_old_model(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    save_pretrained(opened("BertModel"), None, tmp_path / "out")
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_pretrained(opened("BertForMaskedLM"), None, tmp_path / "out", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert load_params(tmp_path / "out").head.kind == "none"


def test_a_model_is_replaced_only_on_request(opened: Open, tmp_path: Path):
    save_pretrained(opened("BertModel"), None, tmp_path / "out")
    with pytest.raises(UserError, match=r"not empty.*overwrite"):
        save_pretrained(opened("BertForMaskedLM"), None, tmp_path / "out")
    save_pretrained(opened("BertForMaskedLM"), None, tmp_path / "out", overwrite=True)
    assert load_params(tmp_path / "out").head.kind == "masked_lm"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_behind_a_link_the_directory_itself_is_replaced(opened: Open, tmp_path: Path):
    model = opened("BertForMaskedLM")
    (tmp_path / "disk").mkdir()
    save_pretrained(model, None, tmp_path / "disk" / "model")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "model")
    save_pretrained(model, None, link, dtype="bfloat16", overwrite=True)
    assert link.is_symlink()
    fields = json.loads((tmp_path / "disk" / "model" / "config.json").read_text())
    assert fields["dtype"] == "bfloat16"


def test_the_current_directory_is_not_replaced(opened: Open, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is the current directory, whose place"):
        save_pretrained(opened("BertModel"), None, ".")


def test_a_directory_with_other_things_is_never_replaced(opened: Open, tmp_path: Path):
    save_pretrained(opened("BertModel"), None, tmp_path / "out")
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"also holds thesis\.tex"):
        save_pretrained(opened("BertModel"), None, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_a_place_where_no_directory_can_be_is_refused(opened: Open, tmp_path: Path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "out", Path("/proc/out"), tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=r"cannot be made \(.*choose another directory"):
            save_pretrained(opened("BertModel"), None, place)


def test_a_saved_directory_is_as_readable_as_one_made_by_hand(opened: Open, tmp_path: Path):
    (tmp_path / "by hand").mkdir()
    save_pretrained(opened("BertModel"), None, tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "by hand").stat().st_mode


def test_every_class_loads_again_as_it_was(opened: Open, tmp_path: Path):
    for architecture in KEYS:
        model = opened(architecture)
        save_pretrained(model, None, tmp_path / architecture)
        loaded = load_params(tmp_path / architecture)
        assert (loaded.config, loaded.head) == (model.config, model.head)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loaded.params))
