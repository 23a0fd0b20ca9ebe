"""Token stores that a pretraining run is evaluated on, and not trained."""

import json
import shutil
from pathlib import Path

import pytest
from experiment.small_runs import (
    WITHOUT_VALIDATION,
    after_polls,
    make_store,
    pretraining,
    sentences,
    trajectory,
)

from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.errors import UserError
from jaxbert.experiment.inference import ready
from jaxbert.experiment.masked_lm import evaluate_masked_lm, masked_lm_data
from jaxbert.experiment.pretrain import pretrain


def other_store(directory: Path, store: Path, documents: int = 9) -> Path:
    texts = [" ".join(sentences(5, seed)) for seed in range(100, 100 + documents)]
    (directory / "other.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    options = PrepareOptions(tokenizer=str(store), processes=1)
    prepare([str(directory / "other.txt")], directory / "other", options)
    return directory / "other"


@pytest.fixture(scope="module")
def other(store: Path, tmp_path_factory) -> Path:
    """Nine documents of their own, of the tokenizer of the store to train on."""
    return other_store(tmp_path_factory.mktemp("validation"), store)


def test_stores_are_evaluated_whole_under_their_names_and_by_evaluate(store, other, tmp_path):
    run = tmp_path / "run"
    options = (
        *("num_steps=2", "loop.evaluate_every=2", f"validation={{other: '{other}'}}"),
        *("checkpoint.metric=other_masked_lm_loss", "data.max_seq_length=16"),
        "phases=[{first_step: 1, max_seq_length: 28}]",
    )
    pretrain(pretraining(store, *options), run, quiet=True)
    figures = json.loads((run / "all_results.json").read_text())
    model = ready(run)
    whole = masked_lm_data(model, str(other))
    # Of what it was evaluated on alone a run has seen nothing.
    assert whole.config.validation_fraction == 1.0
    assert masked_lm_data(model, str(store)).config.validation_fraction == 0.4
    assert whole.config.max_seq_length == 28
    found = evaluate_masked_lm(model, whole)
    assert found.pop("rows") == whole.num_examples
    own = {name: figures[f"eval_other_{name}"] for name in found}
    assert found == pytest.approx(own, rel=1e-5)
    assert figures["eval_other_masked_lm_loss"] != figures["eval_masked_lm_loss"]


def test_a_single_store_needs_no_name_and_may_move_but_not_change(store, other, tmp_path):
    place, run = tmp_path / "place", tmp_path / "run"
    shutil.copytree(other, place)
    options = (WITHOUT_VALIDATION, "num_steps=4", "loop.evaluate_every=2")
    config = pretraining(store, *options, f"validation={place}")
    pretrain(config, run, interrupted=after_polls(1), quiet=True)
    shutil.rmtree(place)
    (tmp_path / "another").mkdir()
    changed = other_store(tmp_path / "another", store, documents=8)
    shutil.copytree(changed, place)
    with pytest.raises(UserError, match=f"the validation store {place} is not what the run had"):
        pretrain(config, run, quiet=True)
    moved = pretraining(store, *options, f"validation={other}")
    assert pretrain(moved, run, quiet=True).step == 4
    evaluated = [row["step"] for row in trajectory(run) if "eval/masked_lm_loss" in row]
    assert evaluated == [2, 4]


def test_stores_that_cannot_be_validated_on_are_named(store, other, tmp_path):
    def refused(config) -> str:
        with pytest.raises(UserError) as caught:
            pretrain(config, tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    (tmp_path / "unlike").mkdir()
    unlike = make_store(tmp_path / "unlike", vocab_size=64)
    found = refused(pretraining(store, f"validation={{other: '{other}', unlike: '{unlike}'}}"))
    assert found.startswith(f"validation.unlike: {unlike} was made with another tokenizer than")
    copy = shutil.copytree(store, tmp_path / "copy")
    found = refused(pretraining(store, WITHOUT_VALIDATION, f"validation={copy}"))
    assert f"validation: what is in {copy} is trained on, as {store}" in found
    found = refused(pretraining(store, f"validation={{missing: '{tmp_path}/missing'}}"))
    assert f"{tmp_path}/missing" in found
    (tmp_path / "few").mkdir()
    few = other_store(tmp_path / "few", store, documents=1)
    found = refused(pretraining(store, f"validation={{few: '{few}'}}"))
    assert f"{few}: 1 documents" in found
    assert "validation_fraction" not in found


def test_only_one_set_may_have_no_name(store, other):
    with pytest.raises(UserError, match=r"give the store one, validation='\{NAME: .*other\}'"):
        pretraining(store, f"validation={other}")
    assert pretraining(store, f"validation={{other: '{other}'}}").validation_names == ("", "other")
    assert pretraining(store, WITHOUT_VALIDATION, f"validation={other}").validation_names == ("",)
    assert pretraining(store, WITHOUT_VALIDATION).validation_names == ()
