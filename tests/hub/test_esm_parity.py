"""What ESM alone has, against transformers' classes in PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from there_and_back import (
    assert_bfloat16_deviates_no_more_than_pytorchs,
    assert_same_gradients,
    assert_same_outputs,
    assert_there_and_back,
    batch_for,
    both,
    our_outputs,
    run_theirs,
)
from torch_models import make_torch_model

from jaxbert.adapt.positions import with_rope_theta
from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.families.bert import todays_name
from jaxbert.hub.contacts import load_contact_head
from jaxbert.hub.load import from_pretrained, load_params
from jaxbert.hub.save import save_params, save_pretrained
from jaxbert.hub.verify import verify
from jaxbert.nn.contacts import predict_contacts
from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import residue_tokenizer
from jaxbert.tree import flat

WORDS = "esm.embeddings.word_embeddings.weight"
TURNS = "esm.encoder.layer.{}.attention.self.rotary_embeddings.inv_freq"
MASK = 7
ESM_1B: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "emb_layer_norm_before": True,
    "max_position_embeddings": 82,
}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("EsmModel", ESM_1B),
        ("EsmForMaskedLM", {"tie_word_embeddings": False, "token_dropout": False}),
        ("EsmForSequenceClassification", {"problem_type": "regression", "num_labels": 1}),
    ],
)
def test_other_options_match_pytorch(architecture: str, options: dict[str, Any], tmp_path: Path):
    if "num_labels" in options:
        options = options | {"id2label": {0: "score"}, "label2id": {"score": 0}}
    assert_there_and_back(architecture, tmp_path, num_hidden_layers=1, **options)


@pytest.mark.parametrize("options", [{}, ESM_1B], ids=["esm-2", "esm-1b"])
def test_masks_are_dropped_and_make_up_for_it_as_in_pytorch(
    options: dict[str, Any], tmp_path: Path
):
    """From none of a row's tokens to nearly all, beside padding that is no mask."""
    model = make_torch_model("EsmForMaskedLM", num_hidden_layers=1, **options)
    model.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    batch = batch_for("masked_lm", ours, 4, 40)
    ids, mask = batch["input_ids"], batch["attention_mask"].astype(bool)
    ids[ids == MASK] = MASK + 1
    share = np.array([0.0, 0.12, 0.5, 0.95])[:, None]
    chosen = np.random.default_rng(3).random(ids.shape) < share
    # Of masks alone a row has no scale.
    chosen[:, 0] = False
    batch["input_ids"] = np.where(mask & chosen, MASK, ids).astype(np.int32)
    found, gradients, theirs, their_gradients = both(model, ours, batch)
    assert_same_outputs(found, theirs, mask)
    assert_same_gradients(gradients, their_gradients)


def test_embeddings_of_ones_own_are_not_scaled(tmp_path: Path):
    model = make_torch_model("EsmModel")
    model.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    given = np.random.default_rng(0).normal(size=(2, 9, 24)).astype(np.float32)
    with torch.no_grad():
        theirs = model(inputs_embeds=torch.from_numpy(given)).last_hidden_state.numpy()
    np.testing.assert_allclose(ours(inputs_embeds=given).last_hidden_state, theirs, atol=2e-5)


def as_published(model: Any, directory: Path) -> None:
    """The names of the files on the Hub, and what these have that was rounded in training."""
    model.save_pretrained(directory)
    tensors = load_file(directory / "model.safetensors")
    [turns] = [tensors.pop(key) for key in [*tensors] if key.endswith("inv_freq")]
    old = {todays_name(key): value for key, value in tensors.items()}
    for index in range(model.config.num_hidden_layers):
        old[TURNS.format(index)] = turns.astype(np.float16).astype(np.float32)
    old["esm.embeddings.position_embeddings.weight"] = np.ones((80, 24), np.float32)
    old["esm.embeddings.position_ids"] = np.arange(80)[None]
    old["lm_head.decoder.weight"] = tensors[WORDS]
    save_file(old, directory / "model.safetensors", {"format": "pt"})


def test_a_published_file_turns_as_it_was_trained_to_here_and_in_what_we_save(tmp_path: Path):
    transformers.utils.logging.disable_progress_bar()
    exact = make_torch_model("EsmForMaskedLM")
    as_published(exact, tmp_path / "theirs")
    theirs = type(exact).from_pretrained(tmp_path / "theirs").eval()
    loaded = load_params(tmp_path / "theirs")
    assert loaded.config.rotary is not None
    turns = torch.tensor([1.0, 0.1, 0.01, 0.001]).half().float()
    assert loaded.config.rotary.frequencies == tuple(turns.tolist())
    assert loaded.unused == (
        "esm.contact_head.regression.bias",
        "esm.contact_head.regression.weight",
        "esm.embeddings.position_embeddings.weight",
    )
    ours = from_pretrained(tmp_path / "theirs")
    batch = batch_for("masked_lm", ours, 2, 79)
    mask = batch["attention_mask"].astype(bool)
    found = our_outputs(ours(**batch, capture=("hidden_states",)))
    save_pretrained(ours, None, tmp_path / "ours", dtype="bfloat16")
    save_pretrained(ours, None, tmp_path / "exact")
    again = type(exact).from_pretrained(tmp_path / "exact").eval()
    with torch.no_grad():
        expected = run_theirs(theirs, batch)
        assert_same_outputs(found, expected, mask)
        assert_same_outputs(found, run_theirs(again, batch), mask)
        unrounded = run_theirs(exact, batch)
    assert (unrounded["logits"] - expected["logits"])[mask].abs().max() > 1e-4
    for name in ("ours", "exact"):
        opened = type(exact).from_pretrained(tmp_path / name, dtype="float32")
        assert torch.equal(opened.esm.rotary_embeddings.inv_freq, turns)
        assert load_params(tmp_path / name).config == loaded.config
    assert verify(from_pretrained(tmp_path / "exact"), tmp_path / "exact").is_equivalent


def test_another_base_turns_as_it_says(tmp_path: Path):
    """As `jaxbert adapt --rope-theta`: what was rounded belongs to the old one."""
    as_published(make_torch_model("EsmForMaskedLM"), tmp_path / "theirs")
    loaded = load_params(tmp_path / "theirs")
    config = with_rope_theta(loaded.config, 500.0)
    save_params(loaded.params, config, loaded.head, None, tmp_path / "ours")
    opened = transformers.EsmForMaskedLM.from_pretrained(tmp_path / "ours")
    expected = transformers.EsmForMaskedLM(opened.config).esm.rotary_embeddings.inv_freq
    assert opened.config.rope_theta == 500.0
    torch.testing.assert_close(opened.esm.rotary_embeddings.inv_freq, expected)
    assert load_params(tmp_path / "ours").config == config


def test_names_of_transformers_5_and_4_give_the_same_parameters(tmp_path: Path):
    model = make_torch_model("EsmForMaskedLM")
    model.save_pretrained(tmp_path / "new")
    as_published(model, tmp_path / "old")
    old, new = load_params(tmp_path / "old"), load_params(tmp_path / "new")
    for path, value in flat(new.params).items():
        np.testing.assert_array_equal(flat(old.params)[path], value)


def test_layers_that_turn_each_by_another_angle_are_refused(tmp_path: Path):
    as_published(make_torch_model("EsmForMaskedLM"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = TURNS.format(1)
    save_file(tensors | {name: tensors[name] * 2}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"layer\.1\..*inv_freq differs from esm.*layer\.0"):
        load_params(tmp_path)


def test_contacts_are_those_of_transformers(tmp_path: Path):
    model = make_torch_model("EsmForMaskedLM")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        # So that all probabilities are not nearly 0 or 1.
        model.esm.contact_head.regression.weight.mul_(10)
    model.save_pretrained(tmp_path / "theirs")
    # <cls>, residues, <eos>: transformers looks for the id 2.
    lengths = np.array([[12], [7], [3], [2]])
    places = np.arange(12)
    ids = np.where(places < lengths, 9 + (places * lengths) % 50, 1)
    ids = np.where(places == lengths - 1, 2, ids).astype(np.int32)
    mask = (places < lengths).astype(np.int32)
    with torch.no_grad():
        theirs = model.predict_contacts(*(torch.from_numpy(x).long() for x in (ids, mask))).numpy()
    ours, head = from_pretrained(tmp_path / "theirs"), load_contact_head(tmp_path / "theirs")
    output = ours(ids, mask, capture=("attentions",))
    assert output.attentions is not None
    found = np.asarray(predict_contacts(head, output.attentions, mask))
    for row, length in enumerate(lengths[:, 0]):
        inside = found[row, 1 : length - 1, 1 : length - 1]
        expected = theirs[row, : length - 2, : length - 2]
        np.testing.assert_allclose(inside, expected, atol=2e-5)
        outside = found[row].copy()
        outside[1 : length - 1, 1 : length - 1] = 0
        assert not outside.any()
    assert np.ptp(found[0, 1:11, 1:11]) > 0.05
    save_pretrained(ours, None, tmp_path / "ours")
    with pytest.raises(UserError, match=r"holds no esm\.contact_head\.regression of 6 heads"):
        load_contact_head(tmp_path / "ours")


def test_esms_bfloat16_deviates_no_more_than_pytorchs_own(tmp_path: Path):
    assert_bfloat16_deviates_no_more_than_pytorchs("EsmForMaskedLM", tmp_path)


def test_a_run_trains_and_exports_the_model_that_was_opened(tmp_path: Path):
    model, train = tmp_path / "theirs", tmp_path / "train.tsv"
    as_published(make_torch_model("EsmForMaskedLM", mask_token_id=32), model)
    save_tokenizer(residue_tokenizer(), model)
    train.write_text("text\tlabel\n" + "MKVA\tyes\nLAGSE\tno\n" * 4)
    values = {
        "model": str(model),
        "train": str(train),
        "validation": None,
        "num_steps": 1,
        "batch_size": 8,
        "max_seq_length": 16,
        "task": {"columns": {"text": "text", "label": "label"}},
        "optimizer": {"learning_rate": 1e-3},
        "lora": {"rank": 2},
    }
    finetune(parse_config(Finetune, values), tmp_path / "run", quiet=True)
    rotary = load_params(model).config.rotary
    assert rotary is not None
    assert rotary.frequencies is not None
    for name in ("model", "adapter"):
        assert load_params(tmp_path / "run" / name).config.rotary == rotary
    filed = load_file(tmp_path / "run" / "model" / "model.safetensors")
    turns = [value for key, value in filed.items() if key.endswith("inv_freq")]
    assert turns
    for each in turns:
        np.testing.assert_array_equal(each, np.array(rotary.frequencies, np.float32))
