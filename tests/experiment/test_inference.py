"""Prediction, against the plain model on one text at a time."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxbert.cli import main
from jaxbert.data.reading import Reading
from jaxbert.errors import UserError
from jaxbert.experiment.inference import reading_of, ready, section_of
from jaxbert.experiment.masked_lm import mask_filler
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.load import from_pretrained
from jaxbert.hub.save import save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer
from jaxbert.text.training import train_wordpiece

TEXTS = ["the old [MASK] sees a [MASK] tree.", "no mask", "[MASK] likes the house by the river."]


@pytest.fixture
def model_with(tmp_path: Path) -> Callable[[Head], Path]:
    """Saves an untrained model with a head."""
    tokenizer = train_wordpiece(TEXTS, 60, min_frequency=1)
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=32,
        initializer_range=1.0,
    )

    def save(head: Head) -> Path:
        save_params(init_params(config, head, 0), config, head, tokenizer, tmp_path / "model")
        return tmp_path / "model"

    return save


def test_masks_are_filled_as_by_the_whole_logits_of_every_text_alone(model_with):
    directory = model_with(Head("masked_lm"))
    found = list(mask_filler(ready(directory), top_k=1)(TEXTS))
    model, tokenizer = from_pretrained(directory), load_tokenizer(directory)
    for text, prediction in zip(TEXTS, found, strict=True):
        ids = tokenizer.encode([text])["input_ids"]
        chances = jax.nn.softmax(model(ids).logits[0], axis=-1)[ids[0] == tokenizer.mask_id]
        assert prediction["text"] == text
        best = [piece for (piece,) in prediction["masks"]]
        assert [tokenizer.vocab().index(piece["token"]) for piece in best] == [
            *chances.argmax(axis=-1)
        ]
        np.testing.assert_allclose(
            [piece["probability"] for piece in best], chances.max(axis=-1), rtol=1e-4
        )


def test_a_configuration_of_somebody_elses_in_a_model_directory_is_no_runs(model_with, tmp_path):
    directory = model_with(Head("sequence_classification", ("a", "b")))
    (directory / "config.yaml").write_text("task: text-classification\nmax_seq_length: 4\n")
    model = ready(directory)
    assert model.run_config == {}
    assert reading_of(model).max_seq_length == 32
    (tmp_path / "config.yaml").write_text("max_seq_length: 16\n")
    assert reading_of(ready(tmp_path)).max_seq_length == 16


def test_a_run_below_ones_home_is_read_with_its_options(model_with, tmp_path, monkeypatch):
    model_with(Head("sequence_classification", ("a", "b")))
    (tmp_path / "config.yaml").write_text("max_seq_length: 16\n")
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert reading_of(ready(f"~/{tmp_path.name}")).max_seq_length == 16


def test_one_output_of_no_stated_kind_is_a_number(model_with, tmp_path):
    model = ready(model_with(Head("sequence_classification", ("LABEL_0",))))
    table = tmp_path / "a.tsv"
    table.write_text("sentence\n" + "\n".join(TEXTS) + "\n")
    section = section_of(model)
    records = section.read(str(table), labelled=False)
    values = [
        row["value"]
        for row in Predictor(model, section=section, reading=Reading(32)).records(records)
    ]
    plain, tokenizer = from_pretrained(tmp_path / "model"), load_tokenizer(tmp_path / "model")
    expected = [float(plain(tokenizer.encode([text])["input_ids"]).logits[0, 0]) for text in TEXTS]
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(model_with):
    directory = model_with(Head("masked_lm"))
    greek = "".join(map(chr, range(0x3B1, 0x3C9)))
    larger = train_wordpiece([*TEXTS, greek], 200, min_frequency=1)
    save_tokenizer(larger, directory)
    with pytest.raises(UserError, match="take the tokenizer that the model was trained with"):
        ready(directory)


def test_regression_has_no_names_of_classes():
    with pytest.raises(UserError, match="regression has none"):
        SequenceClassificationConfig(labels=("a", "b"), regression=True)


def sentence_transformer(directory: Path, pooling: str, max_seq_length: int) -> None:
    """Makes of a bare encoder what sentence-transformers 6 would save."""
    kinds = {"": "base.modules.transformer.Transformer", "1_Pooling": "modules.pooling.Pooling"}
    modules = [{"path": p, "type": f"sentence_transformers.{kind}"} for p, kind in kinds.items()]
    (directory / "1_Pooling").mkdir()
    for name, values in (
        ("modules.json", modules),
        ("1_Pooling/config.json", {"embedding_dimension": 8, "pooling_mode": pooling}),
        ("sentence_bert_config.json", {"max_seq_length": max_seq_length}),
    ):
        (directory / name).write_text(json.dumps(values))


def test_texts_of_a_sentence_transformer_are_cut_where_it_cuts_them(model_with, tmp_path):
    directory, text = model_with(Head()), " ".join(TEXTS * 2)
    assert reading_of(ready(directory)).max_seq_length == 32
    sentence_transformer(directory, "max", 9)
    [found] = Predictor(directory)([text])
    model, tokenizer = from_pretrained(directory), load_tokenizer(directory)
    ids = tokenizer.encode([text], max_length=9)["input_ids"]
    assert ids.shape == (1, 9)
    np.testing.assert_allclose(found["embedding"], model(ids).pooled[0], rtol=1e-4)
    # What was asked for goes before it.
    assert reading_of(ready(directory), 20).max_seq_length == 20


def test_an_encoder_saved_without_a_pooler_gives_embeddings(model_with):
    directory = model_with(Head(pooling="mean"))
    (directory / "modules.json").unlink()
    fields = json.loads((directory / "config.json").read_text())
    del fields["jaxbert_pooling"]
    (directory / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match=r"missing bert\.pooler|missing pooler"):
        from_pretrained(directory)
    [found] = Predictor(directory)(TEXTS[:1])
    model, tokenizer = (
        from_pretrained(directory, head=Head(pooling="mean")),
        load_tokenizer(directory),
    )
    expected = model(tokenizer.encode(TEXTS[:1])["input_ids"]).pooled[0]
    np.testing.assert_allclose(found["embedding"], expected, rtol=1e-4)


def test_options_that_only_train_are_refused_for_a_model_that_has_been_trained(model_with):
    model = ready(model_with(Head("sequence_classification", ("a", "b"))))
    for option in ("pooling=mean", "label_smoothing=0.3", "labels=[c, d]", "multi_label=true"):
        name, _, _ = option.partition("=")
        with pytest.raises(UserError, match=rf"task\.{name}: says how .* now: task\.columns, "):
            section_of(model, overrides=[f"task.{option}"])
    assert section_of(model, overrides=["task.top_k=1", "task.pooling=null"]).top_k == 1
    with pytest.raises(UserError, match=r"key 'task\.text': did you mean 'task\.columns\.text'"):
        section_of(model, overrides=["task.text=a"])


def test_a_threshold_can_be_asked_for_where_no_run_says_that_there_are_several_labels(model_with):
    kind = "multi_label_classification"
    model = ready(model_with(Head("sequence_classification", ("a", "b"), problem_type=kind)))
    section = section_of(model, overrides=["task.threshold=0.3"])
    assert section.task_of(model.loaded.head).target.thresholds == (0.3, 0.3)


def test_the_split_to_evaluate_or_predict_is_asked_for(model_with, capsys):
    directory = model_with(Head("sequence_classification", labels=("a", "b")))
    for verb in ("evaluate", "predict"):
        assert main([verb, str(directory), "--data", "hf:glue/mrpc"]) == 2
        assert "hf:glue/mrpc: says no split" in capsys.readouterr().err
