"""`jaxbert convert --average` of models, against the mean of PyTorch's tensors."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch_models import NAMED_LABELS, as_torch, make_batch, make_torch_model

import jaxbert
from jaxbert.cli import convert
from jaxbert.errors import UserError
from jaxbert.hub.load import load_params
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_wordpiece


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    return convert.run(parser.parse_args([str(argument) for argument in arguments]))


def save(directory: Path, seed: int, architecture: str = "BertForMaskedLM", **options: Any) -> Any:
    torch.manual_seed(seed)
    model = make_torch_model(architecture, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    return model


def mean_in_torch(models: list[Any], weights: list[float]) -> Any:
    states = [model.state_dict() for model in models]
    mean = {
        key: sum(w * state[key].double() for w, state in zip(weights, states, strict=True))
        / sum(weights)
        for key in states[0]
    }
    models[0].load_state_dict(mean)
    return models[0].eval()


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "BertForSequenceClassification"])
def test_transformers_computes_what_it_does_of_the_mean_of_its_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], architecture: str
):
    options = {} if architecture == "BertForMaskedLM" else NAMED_LABELS
    names = [tmp_path / name for name in "abc"]
    models = [save(path, seed, architecture, **options) for seed, path in enumerate(names)]
    assert run(*names, tmp_path / "out", "--average") == 0
    assert f"{architecture}, the mean of 3 models" in capsys.readouterr().out
    jaxbert.convert(names, tmp_path / "weighted", weights=[1, 2, 5])
    batch = as_torch(make_batch(3, 17))
    for out, weights in (("out", [1, 1, 1]), ("weighted", [1, 2, 5])):
        found = getattr(transformers, architecture).from_pretrained(tmp_path / out).eval()
        originals = [type(found).from_pretrained(name) for name in names]
        with torch.no_grad():
            ours, theirs = found(**batch).logits, mean_in_torch(originals, weights)(**batch).logits
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
        assert (ours - models[0].eval()(**batch).logits).abs().max() > 1e-2
    if architecture == "BertForMaskedLM":
        assert found.cls.predictions.decoder.weight is found.get_input_embeddings().weight
    # Rows that only fill the table up to a multiple of 128.
    words = load_params(tmp_path / "out").params["encoder"]["embeddings"]["word"]["embedding"]
    assert (words.shape[0], np.abs(words[131:]).max()) == (256, 0)


def test_the_card_names_the_models_and_what_theirs_say(tmp_path: Path):
    for seed, name in enumerate("ab"):
        save(tmp_path / name, seed)
        front = f"license: mit\nlanguage: en\ndatasets: [{name}, both]\n"
        (tmp_path / name / "README.md").write_text(f"---\n{front}---\n")
    jaxbert.convert([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"The mean of `{tmp_path / 'a'}` and `{tmp_path / 'b'}`." in card
    assert "language: en\nlicense: mit\n" in card
    assert "datasets:\n- a\n- both\n- b\n" in card
    (tmp_path / "b" / "README.md").write_text("---\nlicense: gpl-3.0\n---\n")
    with pytest.raises(UserError, match=r"license: gpl-3.0, another one mit: give"):
        jaxbert.convert([tmp_path / "a", tmp_path / "b"], tmp_path / "other")


def test_models_that_differ_in_more_than_weights_are_refused(tmp_path: Path):
    first, labels = tmp_path / "first", tmp_path / "labels"
    save(first, 0, "BertForSequenceClassification", **NAMED_LABELS)
    save(labels, 1, "BertForSequenceClassification", id2label={0: "a", 1: "b", 2: "c"})
    save(tmp_path / "deeper", 1, "BertForSequenceClassification", num_hidden_layers=3)
    save(tmp_path / "act", 1, "BertForSequenceClassification", hidden_act="relu", **NAMED_LABELS)
    save(tmp_path / "head", 1, "BertForTokenClassification", **NAMED_LABELS)
    for name, difference in (
        ("labels", r"labels=\('a', 'b', 'c'\), not \('no', 'yes', 'maybe'\)"),
        ("deeper", "num_hidden_layers=3, not 2"),
        ("act", "hidden_act='relu', not 'gelu'"),
        ("head", "kind='token_classification', not 'sequence_classification'"),
    ):
        with pytest.raises(UserError, match=rf"{name} has {difference}, compared with") as error:
            run(first, tmp_path / name, tmp_path / "out", "--average")
        assert "\n" not in str(error.value)
    # What differs in the head alone is none of the encoder's.
    assert run(first, labels, tmp_path / "encoder", "--average", "--head", "none") == 0


def test_tokenizers_must_be_the_same(tmp_path: Path):
    words = "the small dog saw the other small dog run"
    names = [tmp_path / name for name in "abc"]
    for seed, name in enumerate(names):
        save(name, seed)
    save_tokenizer(train_wordpiece([words] * 3, 60), names[1])
    # A directory without one is of the same vocabulary as far as can be known.
    run(*names, tmp_path / "out", "--average")
    assert load_tokenizer(tmp_path / "out").vocab() == load_tokenizer(names[1]).vocab()
    save_tokenizer(train_wordpiece([words + " away"] * 3, 60), names[2])
    with pytest.raises(UserError, match="c has a tokenizer of other tokens, compared with"):
        run(*names, tmp_path / "other", "--average")
    save_tokenizer(load_tokenizer(names[1]), names[2])
    settings = json.loads((names[2] / "tokenizer_config.json").read_text())
    changed = settings | {"do_lower_case": not settings.get("do_lower_case", True)}
    (names[2] / "tokenizer_config.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match="c has a tokenizer that reads the same text otherwise"):
        run(*names, tmp_path / "other", "--average")


def test_several_models_are_averaged_on_request_alone(tmp_path: Path):
    for arguments, message in (
        (("a", "b", "out"), "a, b are several models: take one, or their mean with --average"),
        (("run", "out", "--step", "4,latest"), "4, latest are several models: take one"),
        (("a", "out", "--average"), "--average is of several models: name more, or --step"),
        (("run", "out", "--step", "4", "--average"), "--average is of several models"),
        (("a", "b", "out", "--step", "4,8", "--average"), "--step is of one run: leave out b"),
    ):
        with pytest.raises(UserError, match=message):
            run(*arguments)
    with pytest.raises(UserError, match="2 sources with weights="):
        jaxbert.convert(["a", "b"], tmp_path / "out", weights=[1])
