"""`jaxbert convert` and the verification behind it."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file
from torch_models import Saved, make_torch_model

from jaxbert.cli import convert
from jaxbert.errors import UserError
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.verify import Difference, Differences, verify
from jaxbert.hub.verify_tokenizer import TEXTS, tokenizer_differences
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_wordpiece

Save = Callable[..., Saved]
CopyOf = Callable[[str], Path]
CHECKPOINT = Path(__file__).parent / "tensorflow_checkpoint"


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    return convert.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.mark.parametrize(
    "architecture",
    [
        "BertForPreTraining",
        "BertForMaskedLM",
        "BertForNextSentencePrediction",
        "BertForSequenceClassification",
        "BertModel",
    ],
)
def test_a_conversion_verifies(
    saved: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str], architecture: str
):
    assert run(saved(architecture).directory, tmp_path / "out", "--verify") == 0
    printed = capsys.readouterr().out
    assert "hidden states" in printed
    assert "missing keys: none" in printed
    assert "DIFFERS" not in printed


@pytest.mark.parametrize("options", [["--dtype", "bfloat16"], ["--to", "orbax"]])
def test_other_layouts_verify(saved: Save, tmp_path: Path, options: list[str]):
    source = saved("BertForMaskedLM").directory
    assert run(source, tmp_path / "out", "--verify", *options) == 0


@pytest.mark.parametrize("source", [CHECKPOINT, CHECKPOINT / "bert_model.ckpt"])
def test_a_tensorflow_checkpoint_converts_into_shards_and_verifies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: Path
):
    assert run(source, tmp_path / "out", "--verify", "--max-shard-size", "2000") == 0
    assert "The export has no tokenizer: " in capsys.readouterr().out
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()


def test_the_case_of_a_bare_vocabulary_is_asked_for(copy_of: CopyOf, tmp_path: Path):
    directory = copy_of("BertModel")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    with pytest.raises(UserError, match="--lowercase or --cased"):
        run(directory, tmp_path / "out")
    run(directory, tmp_path / "out", "--lowercase")
    assert load_tokenizer(tmp_path / "out").encode_plain(["DOG"]) == [[5]]
    run(directory, tmp_path / "cased", "--cased")
    assert load_tokenizer(tmp_path / "cased").encode_plain(["DOG"]) == [[1]]


def test_there_and_back_changes_no_tensor(saved: Save, tmp_path: Path):
    source = saved("BertForPreTraining").directory
    assert run(source, tmp_path / "native", "--to", "orbax") == 0
    assert run(tmp_path / "native", tmp_path / "back") == 0
    before = load_file(source / "model.safetensors")
    after = load_file(tmp_path / "back" / "model.safetensors")
    assert set(before) == set(after)
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_a_wrong_export_fails_the_verification(copy_of: CopyOf):
    directory = copy_of("BertForMaskedLM")
    model = from_pretrained(directory)
    tensors = load_file(directory / "model.safetensors")
    key = "bert.encoder.layer.1.output.dense.bias"
    tensors[key][0] += 1e-3
    save_file(tensors, directory / "model.safetensors")
    differences = verify(model, directory)
    assert not differences.is_equivalent
    assert {output.name for output in differences.outputs} == {"hidden states", "logits"}


def test_keys_that_pytorch_misses_fail_the_verification(copy_of: CopyOf):
    directory = copy_of("BertForMaskedLM")
    model = from_pretrained(directory)
    tensors = load_file(directory / "model.safetensors")
    tensors["bert.surplus"] = tensors.pop("cls.predictions.transform.dense.bias") * 0
    save_file(tensors, directory / "model.safetensors")
    differences = verify(model, directory)
    assert differences.missing == ("cls.predictions.transform.dense.bias",)
    assert differences.unexpected == ("bert.surplus",)
    assert not differences.is_equivalent


def test_a_failed_verification_is_the_exit_status(
    saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bad = Differences("BertModel", (Difference("logits", 3e-5, 1.0),), (), ())
    monkeypatch.setattr("jaxbert.hub.verify.verify", lambda *_: bad)
    assert run(saved("BertModel").directory, tmp_path / "out", "--verify") == 1


def test_the_tolerance_is_absolute_up_to_one_and_relative_beyond():
    assert Difference("logits", 1.9e-5, 0.1).is_within_tolerance
    assert not Difference("logits", 2.1e-5, 0.1).is_within_tolerance
    assert Difference("logits", 1.9e-4, 10.0).is_within_tolerance
    assert not Difference("logits", float("nan"), 1.0).is_within_tolerance


def test_verification_without_torch_names_the_extra(saved: Save, monkeypatch: pytest.MonkeyPatch):
    directory = saved("BertModel").directory
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install 'jaxbert\[parity\]'"):
        verify(from_pretrained(directory), directory)


def test_a_run_directory_converts_with_its_tokenizer(tmp_path: Path):
    tokenizer = train_wordpiece(["the small dog saw the other small dog run"] * 3, 60)
    make_torch_model("BertForMaskedLM").save_pretrained(tmp_path / "run" / "model")
    save_tokenizer(tokenizer, tmp_path / "run" / "model")
    assert run(tmp_path / "run", tmp_path / "out") == 0
    assert load_tokenizer(tmp_path / "out").vocab() == tokenizer.vocab()


def test_the_exported_tokenizer_is_verified_too(
    copy_of: CopyOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    directory = copy_of("BertModel")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fox", "dogs", "two"]
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    assert run(directory, tmp_path / "out", "--verify", "--lowercase") == 0
    assert "transformers gives 5 of 5 texts the same ids" in capsys.readouterr().out
    config = tmp_path / "out" / "tokenizer_config.json"
    tokenizer = load_tokenizer(tmp_path / "out")
    config.write_text(config.read_text().replace('"do_lower_case": true', '"do_lower_case": false'))
    assert tokenizer_differences(tokenizer, tmp_path / "out") == TEXTS[:1]
    config.write_text(config.read_text().replace('"[PAD]"', '{"content": "[PAD]"}'))
    with pytest.raises(UserError, match="transformers does not open the tokenizer"):
        tokenizer_differences(tokenizer, tmp_path / "out")


def test_weights_convert_without_a_tokenizer_of_a_class_that_is_not_built_here(
    copy_of: CopyOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    directory = copy_of("BertModel")
    (directory / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    config = directory / "tokenizer_config.json"
    config.write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')
    assert run(directory, tmp_path / "out", "--verify") == 0
    printed = capsys.readouterr().out
    assert "The export has no tokenizer: " in printed
    assert "no BertJapaneseTokenizer can be made of this; give a tokenizer.json" in printed
    assert not (tmp_path / "out" / "vocab.txt").exists()
    # Whoever needs the tokenizer is told.
    with pytest.raises(UserError, match="no BertJapaneseTokenizer"):
        load_tokenizer(directory)
    # Files that are at fault are no reason to go without.
    config.write_text('{"tokenizer_class": "AlbertTokenizer"}')
    with pytest.raises(UserError, match=r"give tokenizer.json or spiece.model"):
        run(directory, tmp_path / "other")


TOKEN_IDS = {
    "CamembertModel": {"bos_token_id": 5, "eos_token_id": 6},
    "ModernBertModel": {"bos_token_id": 2, "eos_token_id": 1, "cls_token_id": 7, "sep_token_id": 9},
    "EuroBertModel": {"bos_token_id": 7, "eos_token_id": None, "mask_token_id": 9},
    "AlbertModel": {"bos_token_id": 11, "eos_token_id": 12},
}


@pytest.mark.parametrize("architecture", TOKEN_IDS)
@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_token_ids_are_those_of_the_tokenizer_or_else_of_the_source(
    tmp_path: Path, architecture: str, with_tokenizer: bool
):
    ids = TOKEN_IDS[architecture]
    make_torch_model(architecture, **ids, pad_token_id=0).save_pretrained(tmp_path / "in")
    if with_tokenizer:
        # [PAD], [UNK], [CLS], [SEP], [MASK]; bos and eos are what begins and ends a text.
        save_tokenizer(train_wordpiece(["the small dog saw"] * 3, 60), tmp_path / "in")
        known = {"bos": 2, "eos": 3, "cls": 2, "sep": 3, "mask": 4}
        ids = {name: known[name.removesuffix("_token_id")] for name in ids}
    run(tmp_path / "in", tmp_path / "out")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    assert {name: getattr(config, name) for name in ids} == ids


def test_a_head_can_be_left_behind(saved: Save, tmp_path: Path):
    assert run(saved("BertForPreTraining").directory, tmp_path / "out", "--head", "none") == 0
    assert load_params(tmp_path / "out").head.kind == "none"


def test_an_existing_model_needs_overwrite(saved: Save, tmp_path: Path):
    source = saved("BertModel").directory
    run(source, tmp_path / "out")
    with pytest.raises(UserError, match="--overwrite"):
        run(source, tmp_path / "out")
    assert run(source, tmp_path / "out", "--overwrite") == 0


def test_advice_names_the_flags_of_the_command_line(copy_of: CopyOf, tmp_path: Path):
    directory = copy_of("BertForSequenceClassification")
    config = (directory / "config.json").read_text()
    labels = {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    (directory / "config.json").write_text(json.dumps(json.loads(config) | labels))
    with pytest.raises(UserError, match=r"classifier.*\(--head none\) to leave it out"):
        run(directory, tmp_path / "out")
    assert run(directory, tmp_path / "out", "--head", "none") == 0
    architectures = {"architectures": ["BertLMHeadModel"]}
    (directory / "config.json").write_text(json.dumps(json.loads(config) | architectures))
    with pytest.raises(UserError, match=r"pass head= \(jaxbert convert --head\) to choose"):
        run(directory, tmp_path / "other")
