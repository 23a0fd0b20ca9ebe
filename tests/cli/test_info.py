"""jaxbert info, of a model and of none."""

import json
from pathlib import Path

import pytest

from jaxbert.cli import main
from jaxbert.families import preset
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.training import train_wordpiece


def test_versions_and_devices(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "jaxlib" in out
    assert "8 x cpu (cpu)" in out


def test_a_model_is_told_by_its_files(tmp_path: Path, capsys):
    config, head = preset("bert-tiny"), Head("sequence_classification", ("no", "yes"))
    tokenizer = train_wordpiece(["A text."], 40, min_frequency=1)
    save_params(init_params(config, head, 0), config, head, tokenizer, tmp_path / "model")
    out = tmp_path / "model.json"
    assert main(["info", str(tmp_path / "model"), "--json", str(out), "--parameters"]) == 0
    shown = capsys.readouterr().out
    for words in ("no, yes", "sequence_classification", "classifier/dense/kernel", "30522 x 128"):
        assert words in shown
    values = json.loads(out.read_text())
    assert values["head"] == {"kind": "sequence_classification", "labels": ["no", "yes"]}
    assert values["tokenizer"]["vocab_size"] == tokenizer.vocab_size
    assert values["tokenizer"]["special_tokens"] == ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"]
    assert values["encoder"]["hidden_size"] == 128
    assert values["num_parameters"] == sum(values["parts"].values()) == 4_386_178


def test_a_preset_is_an_architecture_unless_a_directory_has_its_name(
    tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["info", "bert-base"]) == 0
    assert "109,482,240" in capsys.readouterr().out
    Path("bert-base").mkdir()
    assert main(["info", "bert-base"]) == 2
    assert "holds no config.json" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--parameters"], ["--json", "a.json"], ["--revision", "main"]])
def test_what_is_said_of_no_model_is_refused(words: list[str], capsys):
    assert main(["info", *words]) == 2
    assert f"{words[0]}: is about a model: name one" in capsys.readouterr().err
