"""Whole runs of models that are not BERT."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from experiment.small_runs import MODEL, fine_tuning, pretraining

from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.inference import ready
from jaxbert.experiment.masked_lm import evaluate_masked_lm, masked_lm_data
from jaxbert.experiment.pretrain import pretrain
from jaxbert.hub.load import load_params
from jaxbert.text.tokenizer import load_tokenizer

ALONE = "data.sentence_pairs=none"


def small(preset: str, **overrides: Any) -> dict[str, Any]:
    return {"preset": preset, "overrides": {**MODEL["overrides"], **overrides}}


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Path:
    """A run of RoBERTa with 32 positions for tokens and one for padding."""
    run = tmp_path_factory.mktemp("roberta") / "run"
    model = small("roberta-base", max_position_embeddings=33)
    pretrain(pretraining(store, ALONE, "num_steps=2", model=model), run, quiet=True)
    return run


def test_roberta_is_pretrained_with_the_stores_own_padding(roberta: Path, store: Path):
    tokenizer = load_tokenizer(roberta)
    config = load_params(roberta).config
    assert (config.model_type, config.type_vocab_size) == ("roberta", 1)
    assert config.pad_token_id == tokenizer.pad_id == 0
    model = ready(roberta, batch_size=8)
    found = evaluate_masked_lm(model, masked_lm_data(model, str(store)))
    own = json.loads((roberta / "all_results.json").read_text())
    assert found["masked_lm_loss"] == pytest.approx(own["eval_masked_lm_loss"], rel=1e-5)


def test_a_model_of_one_sentence_type_has_a_tokenizer_that_gives_no_types(roberta: Path):
    stated = json.loads((roberta / "model" / "tokenizer_config.json").read_text())
    assert stated["model_input_names"] == ["input_ids", "attention_mask"]
    assert not load_tokenizer(roberta).encode(["a cat"], ["a dog"])["token_type_ids"].any()


def test_roberta_is_fine_tuned(roberta: Path, tables: tuple[Path, Path], tmp_path: Path):
    config = fine_tuning(roberta, *tables, "num_steps=2")
    assert finetune(config, tmp_path / "run", quiet=True).outcome == "finished"
    head = load_params(tmp_path / "run").head
    assert (head.kind, head.labels) == ("sequence_classification", ("animal", "thing"))
    with pytest.raises(UserError, match=r"max_seq_length=33 exceeds .*=33, of which 1 are padding"):
        finetune(fine_tuning(roberta, *tables, "max_seq_length=33"), tmp_path / "long", quiet=True)


def test_esm_is_pretrained_on_proteins_and_goes_on_from_what_it_wrote(tmp_path: Path):
    draws = random.Random(0)
    lengths = [3, 9, 20, 31, 150, 400] * 4
    proteins = ["".join(draws.choices("LAGVSERTIDPKQNFYMHWC", k=length)) for length in lengths]
    text = "".join(f">{i}\n{protein}\n" for i, protein in enumerate(proteins))
    (tmp_path / "proteins.fasta").write_text(text)
    options = PrepareOptions(vocab_size=33, tokenizer_family="esm", processes=1)
    prepare([str(tmp_path / "proteins.fasta")], tmp_path / "store", options)
    model = small("esm2_t6_8M", vocab_size=33)
    pretrain(pretraining(tmp_path / "store", ALONE, "num_steps=2", model=model), tmp_path / "run")
    config = load_params(tmp_path / "run").config
    assert (config.mask_token_id, config.pad_token_id, config.token_dropout) == (32, 1, True)
    model = {"from_pretrained": str(tmp_path / "run" / "model")}
    again = pretraining(tmp_path / "store", ALONE, "num_steps=1", model=model)
    assert pretrain(again, tmp_path / "again").outcome == "finished"


@pytest.mark.parametrize(
    ("preset", "override", "message"),
    [
        ("roberta-base", "data.max_seq_length=32", "max_position_embeddings=32, of which 1 are"),
        ("roberta-base", "model.overrides.pad_token_id=1", "pads with id 0 and the model"),
        ("mpnet-base", "data.max_seq_length=16", "pad_token_id=0 is not implemented for mpnet"),
        ("roberta-base", "data.sentence_pairs=next_sentence", "no head for sentence pairs"),
        ("bert-tiny", "model.overrides.norm_placement=top", "norm_placement"),
    ],
)
def test_what_a_family_cannot_do_is_told_before_training(
    store: Path, tmp_path: Path, preset: str, override: str, message: str
):
    config = pretraining(store, ALONE, override, model=small(preset))
    with pytest.raises(UserError, match=message):
        pretrain(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
