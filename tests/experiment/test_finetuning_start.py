"""What a fine-tuning run begins with: the model's parameters, or some of them anew."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment import finetune as module
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.parallel.mesh import MeshConfig, make_mesh
from jaxbert.text.training import train_wordpiece


class Begun(Exception):
    """A run that would train now."""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    tokenizer = train_wordpiece(["the old cat", "a green tree"], 60, min_frequency=1)
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    path = tmp_path_factory.mktemp("start") / "model"
    save_params(init_params(config, Head(), 5), config, Head(), tokenizer, path)
    return path


def begin(model: Path, directory: Path, monkeypatch: Any, **options: Any) -> tuple[Any, Any]:
    """Encoder and parameters that a run would train."""
    table = directory / "train.csv"
    table.write_text("sentence,label\nthe cat,a\nthe tree,b\n")
    begun = {}

    def fit(run: Any, settings: Any, trainee: Any, *args: Any, **kwargs: Any) -> None:
        begun["encoder"] = trainee.encoders[0]
        begun["params"] = trainee.make_params(make_mesh(MeshConfig()))
        raise Begun

    monkeypatch.setattr(module, "fit", fit)
    values = {"model": str(model), "train": str(table), "max_seq_length": 8, **options}
    with pytest.raises(Begun):
        finetune(parse_config(Finetune, values), directory / "run")
    return begun["encoder"], begun["params"]


def test_top_layers_and_pooler_begin_anew_where_asked(model, tmp_path, monkeypatch):
    saved = load_params(model).params
    for count in (0, 1):
        directory = tmp_path / str(count)
        directory.mkdir()
        _, params = begin(model, directory, monkeypatch, reinitialize_layers=count)
        for layer, is_kept in (("0", True), ("1", count == 0)):
            name = ("attention", "query", "kernel")
            found, before = params["encoder"]["layers"][layer], saved["encoder"]["layers"][layer]
            for part in name:
                found, before = found[part], before[part]
            assert np.array_equal(found, before) == is_kept, (count, layer)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"freeze_layers": "all"}, "encoder/layers/1/attention/key/bias"),
        ({"freeze_layers": 2}, "encoder/layers/1/attention/key/bias"),
        ({"freeze": ["pooler"]}, "pooler/dense/bias"),
    ],
)
def test_what_begins_anew_is_not_frozen_as_it_is_drawn(model, tmp_path, monkeypatch, options, path):
    with pytest.raises(UserError, match=f"reinitialize_layers=1: {path} would begin anew"):
        begin(model, tmp_path, monkeypatch, reinitialize_layers=1, optimizer=options)
    begin(model, tmp_path, monkeypatch, reinitialize_layers=1, optimizer={"freeze_layers": 1})


def test_dropout_of_the_run_goes_before_the_models(model, tmp_path, monkeypatch):
    encoder, _ = begin(model, tmp_path, monkeypatch, dropout={"hidden": 0.25, "attention": 0.0})
    assert (encoder.hidden_dropout_prob, encoder.attention_probs_dropout_prob) == (0.25, 0.0)
    with pytest.raises(UserError, match="less than 1"):
        parse_config(Finetune, {"model": "m", "train": "t", "dropout": {"hidden": 1.0}})


@pytest.mark.parametrize(
    ("num_epochs", "rows", "batch_size", "steps"),
    [(1.1, 10, 1, 11), (0.3, 10, 1, 3), (2, 7, 2, 7), (0.25, 10, 2, 2), (3, 10, 32, 1)],
)
def test_the_steps_of_epochs_are_rounded_up_once(num_epochs, rows, batch_size, steps):
    values = {"model": "m", "train": "t.csv", "num_epochs": num_epochs, "batch_size": batch_size}
    assert module._num_steps(parse_config(Finetune, values), rows) == steps


def test_the_split_to_validate_on_is_asked_for_before_the_training_data_are_read(tmp_path):
    values = {"model": "m", "train": "no such file.csv", "validation": "hf:glue/mrpc"}
    with pytest.raises(UserError, match="hf:glue/mrpc: says no split"):
        finetune(parse_config(Finetune, values), tmp_path / "run")
