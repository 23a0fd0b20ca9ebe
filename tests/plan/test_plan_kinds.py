"""`jaxbert plan` takes both kinds of configuration, in any form of YAML."""

import json

import pytest

from jaxbert.cli import main
from jaxbert.config import to_yaml
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.pretraining_model import ModelConfig
from jaxbert.plan import planning

TUNING = {"model": "bert-tiny", "train": "train.tsv"}
PRETRAINING = {"store": "nowhere", "model": {"preset": "bert-tiny"}, "num_steps": 2}


class Planned(Exception):
    """Carries the configuration that the command came to."""


def planned(monkeypatch, *words):
    def plan(config, **_):
        raise Planned(config)

    monkeypatch.setattr(planning, "plan", plan)
    with pytest.raises(Planned) as caught:
        main(["plan", *map(str, words), "--topology", "v5e:2x4"])
    return caught.value.args[0]


@pytest.mark.parametrize(
    ("text", "words", "kind"),
    [
        (json.dumps(TUNING), (), Finetune),
        (json.dumps({"model": "bert-tiny"}), ("train=train.tsv",), Finetune),
        (json.dumps(PRETRAINING), (), Pretrain),
        (f"# train: data\n{json.dumps(PRETRAINING)}", ("kind=pretrain",), Pretrain),
        (to_yaml(Finetune(**TUNING)), (), Finetune),
        (
            to_yaml(Pretrain(**PRETRAINING | {"model": ModelConfig(preset="bert-tiny")})),
            (),
            Pretrain,
        ),
    ],
)
def test_the_kind_is_that_which_is_said_or_that_of_the_keys(
    monkeypatch, tmp_path, text, words, kind
):
    (tmp_path / "config.yaml").write_text(text)
    assert isinstance(planned(monkeypatch, tmp_path / "config.yaml", *words), kind)


def test_an_unknown_kind_is_one_line(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(json.dumps(TUNING | {"kind": "fine-tune"}))
    assert main(["plan", str(tmp_path / "config.yaml"), "--topology", "v5e:2x4"]) == 2
    assert "'kind': no 'fine-tune': did you mean 'finetune'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--json", "nowhere/plan.json"), "--json nowhere/plan.json: there is no directory"),
        (("--json", "."), "--json .: is a directory: name a file in it"),
        (("--json", "gs://bucket/plan.json"), "gs://bucket/plan.json: a URL"),
        (("--texts", "config.yaml"), "--texts config.yaml: is no directory"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_compiler_starts(
    monkeypatch, tmp_path, words, said, capsys
):
    monkeypatch.setattr(planning, "plan", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(json.dumps(PRETRAINING))
    assert main(["plan", "config.yaml", "--topology", "v5e:2x4", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_price_is_a_number(capsys):
    for price in ("nan", "-1", "one"):
        with pytest.raises(SystemExit, match="2"):
            main(["plan", "x.yaml", "--topology", "v5e:2x4", "--price-per-chip-hour", price])
        assert f"expected a price of 0 or more, found '{price}'" in capsys.readouterr().err


def test_a_key_that_is_a_number_is_named(tmp_path, capsys):
    (tmp_path / "x.yaml").write_text("1: 2\n")
    assert main(["plan", str(tmp_path / "x.yaml"), "--topology", "v5e:2x4"]) == 2
    assert "x.yaml: unknown key '1': valid: " in capsys.readouterr().err
