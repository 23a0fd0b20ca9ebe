"""Runs over phases, mixtures and packed rows; what their configurations refuse."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from experiment.small_runs import after_polls, make_store, pretraining, trajectory, weights

from jaxbert.data.mixture import BLOCK, Mixture
from jaxbert.data.store import TokenStore
from jaxbert.data.stream import Stream
from jaxbert.data.writer import StoreWriter
from jaxbert.errors import UserError
from jaxbert.experiment.checks import check_vocabulary
from jaxbert.experiment.pretrain import Pretrain, pretrain
from jaxbert.experiment.pretraining_data import Stores, data_phases, open_stores, training_stream
from jaxbert.text.tokenizer import load_tokenizer

COMPILED = "/jax/core/compile/backend_compile_duration"
PHASED = [
    'phases=[{"first_step": 4, "batch_size": 16}, {"first_step": 7, "max_seq_length": 24}]',
    "data.max_seq_length=16",
    "data.packing=true",
    'data.masking={"probability": 0.3, "schedule": [{"step": 5, "probability": 0.15}]}',
    "loop.evaluate_every=6",
]

TWO = "store=[{path: a}, {path: b}]"


@pytest.fixture(scope="module")
def mixed(store: Path, tmp_path_factory) -> list[dict]:
    """The store and a copy, the second three times as often."""
    other = tmp_path_factory.mktemp("stores") / "other"
    shutil.copytree(store, other)
    return [{"path": str(store), "weight": 1.0}, {"path": str(other), "weight": 3.0}]


def stream_of(config: Pretrain) -> Stream:
    phases = data_phases(config.data, config.batch_size, config.phases, config.num_steps)
    return training_stream(open_stores(config.store), phases, config.seed)


def test_phases_change_lengths_and_batch_sizes_at_their_step(store):
    stream = stream_of(pretraining(store, *PHASED))
    shapes = [stream.batch(step)["input_ids"].shape for step in range(12)]
    assert shapes == [(8, 16)] * 4 + [(16, 16)] * 3 + [(16, 24)] * 5
    # A larger batch alone goes on with the same rows.
    plain = stream_of(pretraining(store, *PHASED[1:]))
    small = [plain.batch(step)["sequence_starts"] for step in range(4, 10)]
    large = [stream.batch(step)["sequence_starts"] for step in range(4, 7)]
    np.testing.assert_array_equal(np.concatenate(large), np.concatenate(small))


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_phase_of_more_predictions_begins_anew_only_where_its_rows_are_others(store, is_packed):
    data = [f"data.packing={is_packed}".lower(), "data.masking.max_predictions=4"]
    phase = 'phases=[{"first_step": 4, "max_predictions": 5}]'
    plain, phased = (stream_of(pretraining(store, *data, *more)) for more in ([], [phase]))
    assert phased.batch(4)["labels"].shape[1] > plain.batch(4)["labels"].shape[1]
    same_examples = phased.batch(4)["token_type_ids"] == plain.batch(4)["token_type_ids"]
    assert same_examples.all() != is_packed
    assert phased.phases[1].first_row == (0 if is_packed else plain.phases[0].row_of(4))


def test_masking_rates_follow_the_steps(store):
    stream = stream_of(pretraining(store, *PHASED[3:], "data.max_seq_length=32"))
    shares = []
    for step in range(12):
        batch = stream.batch(step)
        shares.append((batch["labels"] != -100).sum() / batch["attention_mask"].sum())
    assert min(shares[:5]) > 0.25
    assert max(shares[5:]) < 0.2


def test_a_run_resumed_on_both_sides_of_a_phase_is_the_whole_run(store, tmp_path):
    config = pretraining(store, *PHASED, "loop.evaluate_every=null")
    pretrain(config, tmp_path / "whole", quiet=True)
    run, stops = tmp_path / "run", []
    for polls in (3, 2, 3):
        stops.append(pretrain(config, run, interrupted=after_polls(polls), quiet=True).step)
    assert stops[0] < 4 <= stops[1] < 7 <= stops[2] < 12
    assert pretrain(config, run, quiet=True).outcome == "finished"
    assert trajectory(run) == trajectory(tmp_path / "whole")
    assert weights(run) == weights(tmp_path / "whole")


def test_a_run_over_two_stores_sees_both(store, mixed, tmp_path):
    config = pretraining(store, f"store={json.dumps(mixed)}", "num_steps=2", "loop.log_every=2")
    assert pretrain(config, tmp_path / "run", quiet=True).outcome == "finished"
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert all(entry["path"] in card for entry in mixed)
    rows = stream_of(config).phases[0].rows
    assert isinstance(rows, Mixture)
    assert (rows.quotas / BLOCK).tolist() == [0.25, 0.75]


def test_replaced_tokens_train_on_packed_rows(store, tmp_path):
    config = pretraining(
        store,
        "objective.kind=replaced_token_detection",
        "objective.generator_size=0.5",
        "data.sentence_pairs=none",
        "data.packing=true",
        "model.preset=electra-small-discriminator",
        'model.overrides={"hidden_size":16,"embedding_size":16,"num_hidden_layers":1,'
        '"num_attention_heads":2,"intermediate_size":32,"max_position_embeddings":32}',
        "num_steps=4",
    )
    assert pretrain(config, tmp_path / "run", quiet=True).outcome == "finished"
    losses = [row["loss"] for row in trajectory(tmp_path / "run") if "loss" in row]
    assert np.isfinite(losses).all()
    assert len(losses) == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['phases=[{"first_step": 12}]'], r"before num_steps=12; .* \(phases=\[\]\)"),
        (['phases=[{"first_step": 5}, {"first_step": 5}]'], r"phases\[1\].first_step=5"),
        (['phases=[{"first_step": 5, "max_seq_length": 2}]'], "max_seq_length=2: must be at"),
        (['phases=[{"first_step": 5, "max_seq_length": 64}]'], "max_position_embeddings=32"),
        (['phases=[{"first_step": 5, "batch_size": 7}]'], "batch_size=7 is not a multiple of"),
        (["store=[]"], "an empty list"),
        (["store=[{path: a, weight: 0}]"], "all weights are 0"),
        (["store=[{path: a, weight: -1}]"], "greater than or equal to 0"),
        (['phases=[{"first_step": 5, "weights": [1]}]'], r"weights=\[1.0\]: there is one store"),
        ([TWO, 'phases=[{"first_step": 5, "weights": [1]}]'], r"1 of them for 2 stores \(a, b\)"),
        ([TWO, 'phases=[{"first_step": 5, "weights": []}]'], "0 of them for 2 stores"),
        ([TWO, 'phases=[{"first_step": 5, "weights": [0, 0]}]'], "all are 0: one has to be more"),
        ([TWO, 'phases=[{"first_step": 5, "weights": [2, -1]}]'], "greater than or equal to 0"),
        (["data.max_examples_per_row=3"], "is for packing=true"),
    ],
)
def test_what_does_not_go_together_is_refused(store, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        pretrain(pretraining(store, *overrides), tmp_path / "run", quiet=True)


def test_stores_that_do_not_go_together_are_refused(store, mixed, tmp_path):
    without = [mixed[0], {"path": mixed[1]["path"]}]
    with pytest.raises(UserError, match="has no weight and others have"):
        open_stores(pretraining(store, f"store={json.dumps(without)}").store)
    other = make_store(tmp_path, vocab_size=64)
    with pytest.raises(UserError, match="made with another tokenizer"):
        open_stores(pretraining(store, f'store=[{{"path":"{store}"}},{{"path":"{other}"}}]').store)


def test_only_the_first_step_of_a_shape_compiles(store, tmp_path):
    config = pretraining(store, *PHASED, "loop.evaluate_every=null", "data.validation_fraction=0.0")
    compiled: list[str] = []
    before_steps: list[int] = []

    def listener(event: str, _seconds: float, **_: str) -> None:
        compiled.append(event)

    def interrupted() -> bool:
        before_steps.append(compiled.count(COMPILED))
        return False

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        pretrain(config, tmp_path / "run", interrupted=interrupted, quiet=True)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    by_step = np.diff(before_steps)[: config.num_steps - 1]
    assert np.flatnonzero(by_step).tolist() == [0, 4, 7]


def test_a_store_of_another_vocabulary_of_the_same_size_is_refused(store, tmp_path):
    tokenizer = load_tokenizer(store / "tokenizer")
    words = tokenizer.vocab()
    words[-1], words[-2] = words[-2], words[-1]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    other = load_tokenizer(tmp_path / "vocab.txt", lowercase=True)
    with pytest.raises(UserError, match=f"token {len(words) - 2} is .* prepare the store with"):
        check_vocabulary(store, other, store / "tokenizer", len(words))
    check_vocabulary(store, tokenizer, store / "tokenizer", len(words))
    check_vocabulary(store, tokenizer, tmp_path / "nothing", len(words))


def test_a_store_that_a_program_of_ones_own_wrote_has_a_line_in_the_card(tmp_path):
    with StoreWriter(tmp_path / "own", vocab_size=9) as writer:
        writer.append([[[1, 2], [3]]])
        writer.finish()
    line = f"{tmp_path / 'own'}: 1 documents, 3 tokens"
    assert open_stores(str(tmp_path / "own")).described == line


def test_what_was_left_out_of_a_store_is_in_the_card(store, tmp_path):
    metadata = json.loads((store / "store.json").read_text())
    dropped = {"near duplicate": {"documents": 3, "text_bytes": 100}}
    metadata |= {"problems": {"invalid JSON": 2, "dropped": 3}, "dropped": dropped}
    stores = Stores((TokenStore(store, metadata),), None)
    assert "2 invalid JSON, 3 near duplicate" in stores.described
