"""Runs from Python: the same as the commands make of the same values."""

import json

import numpy as np
import pytest
import yaml
from experiment.small_runs import fine_tuning, pretraining

import jaxbert
from jaxbert.config import to_values
from jaxbert.errors import UserError
from jaxbert.experiment.from_values import values_of
from jaxbert.yaml_values import plain


def test_a_run_of_values_is_that_of_the_configuration(store, pretrained, tmp_path):
    values = to_values(pretraining(store))
    given = values | {"store": store, "batch_size": np.int64(values["batch_size"])}
    fitted = jaxbert.pretrain(given, tmp_path / "run", quiet=True)
    for file in ("config.yaml", "data.json", "model/model.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (pretrained / file).read_bytes()
    assert fitted.results == json.loads((tmp_path / "run" / "all_results.json").read_text())
    assert fitted.step == 12


def test_overrides_stand_above_the_file_and_leave_what_was_given(pretrained, tables, tmp_path):
    values = to_values(fine_tuning(pretrained, *tables))
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    overrides = {"num_steps": 2, "optimizer.learning_rate": np.float32(0.25)}
    fitted = jaxbert.finetune(file, tmp_path / "run", overrides, quiet=True)
    assert fitted.step == 2
    assert 0 <= fitted.results["eval_accuracy"] <= 1
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["optimizer"] == values["optimizer"] | {"learning_rate": 0.25}
    section = {"optimizer": {"learning_rate": 1.0}}
    values_of("finetune", section)["optimizer"]["learning_rate"] = 2.0
    assert section == {"optimizer": {"learning_rate": 1.0}}


@pytest.mark.parametrize(
    ("verb", "config", "overrides", "said"),
    [
        ("pretrain", {"train": "a.csv"}, {}, "configuration: it says 'train', .* jaxbert finetune"),
        ("finetune", {"store": "wiki"}, {}, "configuration: it says 'store', .* jaxbert pretrain"),
        ("pretrain", {"task": {}}, {}, "configuration: it says 'task', .* jaxbert finetune"),
        ("finetune", {"kind": "pretrain"}, {}, "it says 'kind', .* jaxbert pretrain"),
        ("finetune", {"kind": "fine-tune"}, {}, "'kind': no 'fine-tune': did you mean 'finetune'"),
        ("finetune", "nowhere.yaml", {}, "nowhere.yaml: no such configuration file"),
        ("finetune", {}, {"optimiser.kind": "adamw"}, "unknown key 'optimiser'"),
        ("finetune", {"train": "a"}, {"train.x": 1}, "override 'train.x': 'train' is a value"),
    ],
)
def test_mistakes_are_named(verb, config, overrides, said, tmp_path):
    with pytest.raises(UserError, match=said):
        getattr(jaxbert, verb)(config, tmp_path / "run", overrides)
    assert not (tmp_path / "run").exists()


def test_values_become_those_that_yaml_knows(tmp_path):
    given = {"a": (tmp_path, np.float64(0.5)), "b": {"c": np.True_}, "d": [None, "x"]}
    found = plain(given)
    assert found == {"a": [str(tmp_path), 0.5], "b": {"c": True}, "d": [None, "x"]}
    assert yaml.safe_load(yaml.safe_dump(found)) == found
