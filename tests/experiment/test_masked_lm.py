"""What a finished masked LM is evaluated on."""

import os
import shutil
from pathlib import Path

import pytest
from experiment.small_runs import pretraining

from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.errors import UserError
from jaxbert.experiment.inference import ready
from jaxbert.experiment.masked_lm import evaluate_masked_lm, mask_filler, masked_lm_data
from jaxbert.experiment.pretrain import pretrain
from jaxbert.experiment.run_files import read_data
from jaxbert.hub.save import save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.training import train_wordpiece


def test_a_run_of_phases_is_evaluated_on_the_rows_of_its_last_phase(store: Path, tmp_path: Path):
    phase = 'phases=[{"first_step": 1, "max_seq_length": 28}]'
    options = (phase, "data.max_seq_length=16", "num_steps=2", "loop.evaluate_every=2")
    run = tmp_path / "run"
    own = pretrain(pretraining(store, *options), run, quiet=True).results
    model = ready(run)
    data = masked_lm_data(model, str(store))
    assert (data.config.max_seq_length, data.config.validation_fraction) == (28, 0.4)
    found = evaluate_masked_lm(model, data)
    assert found.pop("rows") == data.num_examples
    assert found == pytest.approx({name: own[f"eval_{name}"] for name in found}, rel=1e-5)
    assert set(found) >= {"masked_lm_loss", "next_sentence_accuracy"}


def test_a_store_is_known_by_its_tokens_wherever_it_lies(
    pretrained: Path, store: Path, tmp_path: Path
):
    model = ready(pretrained)
    assert [*read_data(pretrained)] == [f"the store {store}"]
    held_out = masked_lm_data(model, str(store))
    copied = shutil.copytree(store, tmp_path / "copy")
    for same in (copied, os.path.relpath(store)):
        data = masked_lm_data(model, str(same))
        assert data.config.validation_fraction == 0.4
        assert data.num_examples == held_out.num_examples
    # Without the run nobody knows what it has trained on.
    model = ready(pretrained / "model")
    assert masked_lm_data(model, str(store)).config.validation_fraction == 1.0
    text = tmp_path / "text.txt"
    text.write_text("The old cat sees the dog.\n\nThe red fish likes the tree.\n")
    options = PrepareOptions(tokenizer=str(pretrained / "model"), processes=1)
    prepare([str(text)], tmp_path / "other", options)
    other = masked_lm_data(ready(pretrained), str(tmp_path / "other"))
    assert other.config.validation_fraction == 1.0


def test_a_damaged_note_of_the_data_is_named(pretrained: Path, tmp_path: Path):
    run = shutil.copytree(pretrained, tmp_path / "run")
    for text, message in (("{", "data.json: not valid JSON"), ("[]", "expected a JSON object")):
        (run / "data.json").write_text(text)
        with pytest.raises(UserError, match=message):
            ready(run)


def test_masks_are_filled_with_tokens_where_there_are_more_embeddings(tmp_path: Path):
    tokenizer = train_wordpiece(["the old cat", "a green tree"], 60, min_frequency=1)
    count = tokenizer.vocab_size
    encoder = EncoderConfig(
        vocab_size=count + 30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    head = Head("masked_lm")
    save_params(init_params(encoder, head, 0), encoder, head, tokenizer, tmp_path / "model")
    [found] = mask_filler(ready(tmp_path / "model"), top_k=1000)(["the [MASK] cat"])
    assert sorted(piece["token"] for piece in found["masks"][0]) == sorted(tokenizer.vocab())


def test_masks_beyond_what_is_read_are_counted(pretrained: Path):
    fill = mask_filler(ready(pretrained), max_seq_length=8)
    texts = ["The [MASK] sees.", "[MASK] " + "the old cat sees the dog. " * 3 + "[MASK] [MASK]"]
    short, long = fill(texts)
    assert (len(short["masks"]), short["masks_cut_off"]) == (1, 0)
    assert (len(long["masks"]), long["masks_cut_off"]) == (1, 2)
