from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.nn.config import EncoderConfig
from jaxbert.training import recorder as module
from jaxbert.training.flops import train_flops
from jaxbert.training.ledger import Ledger
from jaxbert.training.log import MetricLog
from jaxbert.training.progress import TrainingProgress
from jaxbert.training.recorder import Recorder

ENCODER = EncoderConfig(hidden_size=8, num_attention_heads=2, vocab_size=32)


def batch(tokens: int) -> dict[str, np.ndarray]:
    mask = np.zeros((2, 8), np.int32)
    mask.flat[:tokens] = 1
    return {"input_ids": np.full((2, 8), 3, np.int32), "attention_mask": mask}


def metrics(loss: float = 1.0) -> dict[str, jnp.ndarray]:
    values = {"grad_norm": 2.0, "learning_rate": 0.1, "loss": loss}
    return {name: jnp.float32(value) for name, value in values.items()}


@pytest.fixture
def make(tmp_path):
    logs = []

    def make(
        log_every: int = 1, stop: bool = True, is_late: bool = True
    ) -> tuple[Recorder, MetricLog]:
        log = MetricLog(tmp_path, 0)
        logs.append(log)
        progress = TrainingProgress(100, 0)
        recorder = Recorder(
            log,
            progress,
            Ledger(tmp_path),
            lambda batch, share: share * train_flops(ENCODER, batch),
            log_every=log_every,
            num_steps=100,
            stop_on_nonfinite=stop,
            directory=tmp_path,
            is_late=is_late,
        )
        return recorder, log

    yield make
    for log in logs:
        log.close()


def test_a_step_is_recorded_when_the_next_one_is_dispatched(make):
    recorder, log = make()
    recorder.add(1, metrics(), batch(16))
    assert log.rows == []
    recorder.add(2, metrics(), batch(16))
    assert [row["step"] for row in log.rows] == [1]
    recorder.flush()
    recorder.flush()
    assert [row["step"] for row in log.rows] == [1, 2]


def test_a_step_that_is_done_when_it_is_handed_over_is_recorded_then(make, monkeypatch):
    recorder, log = make(is_late=False)
    now = iter([50.0, 52.0, 52.0, 56.0, 56.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    for step in (1, 2, 3):
        recorder.add(step, metrics(), batch(16))
    assert [row["step"] for row in log.rows] == [1, 2, 3]
    assert [row.get("tokens_per_second") for row in log.rows] == [None, 16 / 2, 16 / 4]
    recorder.flush()
    assert len(log.rows) == 3


def test_only_every_nth_step_and_the_last_are_logged(make):
    recorder, log = make(log_every=40)
    for step in range(1, 101):
        recorder.add(step, metrics(), batch(16))
    recorder.flush()
    assert [row["step"] for row in log.rows] == [40, 80, 100]


def test_rate_and_padding_are_those_since_the_last_row_without_the_compilation(make, monkeypatch):
    now = iter([0.0, 50.0, 54.0, 54.0, 60.0, 60.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    recorder, log = make(log_every=3)
    # The clock is set when the recorder is made, after step 1, and after every row.
    for step, tokens in enumerate([16, 8, 12, 4, 4, 4], 1):
        recorder.add(step, metrics(), batch(tokens))
    recorder.flush()
    assert log.rows[0]["tokens_per_second"] == (8 + 12) / 4
    assert log.rows[0]["padding"] == 1 - 20 / 32
    assert log.rows[1]["tokens_per_second"] == 12 / 6
    assert log.rows[1]["padding"] == 1 - 12 / 48


def test_padding_of_packed_rows_is_what_belongs_to_no_example(make):
    recorder, log = make()
    packed = {"sequence_ids": np.array([[1, 1, 2, 3], [1, 1, 1, 0]], np.int32)}
    recorder.add(1, metrics(), packed)
    recorder.flush()
    assert log.rows[0]["padding"] == 1 / 8


def test_the_first_step_which_is_compiled_has_no_rate(make):
    recorder, log = make()
    recorder.add(1, metrics(), batch(12))
    recorder.add(2, metrics(), batch(12))
    recorder.flush()
    assert "tokens_per_second" not in log.rows[0]
    assert log.rows[0]["padding"] == 0.25
    assert log.rows[1]["tokens_per_second"] > 0


def test_the_first_step_of_another_program_has_no_rate(make):
    recorder, log = make()
    for step in (1, 2):
        recorder.add(step, metrics(), batch(12))
    recorder.compiling()
    for step in (3, 4):
        recorder.add(step, metrics(), batch(12))
    recorder.flush()
    assert ["tokens_per_second" in row for row in log.rows] == [False, True, False, True]


def test_utilisation_is_logged_where_the_peak_is_known(make, monkeypatch):
    recorder, log = make()
    assert recorder._peak is None
    monkeypatch.setattr(module, "peak_flops", lambda device: 1e9)
    recorder, log = make()
    recorder.add(1, metrics(), batch(16))
    recorder.add(2, metrics(), batch(16))
    recorder.flush()
    row = log.rows[-1]
    flops_per_token = train_flops(ENCODER, batch(16)) / 16
    expected = row["tokens_per_second"] * flops_per_token / (8 * 1e9)
    np.testing.assert_allclose(row["model_flops_utilization"], expected, rtol=1e-9)


def test_what_frozen_layers_spare_is_not_utilisation(make, monkeypatch):
    monkeypatch.setattr(module, "peak_flops", lambda device: 1e9)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=iter(range(99)).__next__))
    recorder, log = make()
    for step, share in enumerate((1.0, 1.0, 0.25), 1):
        recorder.add(step, metrics(), batch(16), share)
    recorder.flush()
    whole, quarter = (row["model_flops_utilization"] for row in log.rows[1:])
    assert quarter == pytest.approx(whole / 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_saves_its_batch(make, tmp_path, bad):
    recorder, log = make()
    recorder.add(1, metrics(), batch(16))
    recorder.add(2, metrics(bad), batch(5))
    with pytest.raises(UserError, match=f"loss {bad}, gradient norm 2.0 at step 2") as caught:
        recorder.add(3, metrics(), batch(16))
    assert "\n" not in str(caught.value)
    with np.load(tmp_path / "nonfinite_step_2.npz") as saved:
        assert str(tmp_path / "nonfinite_step_2.npz") in str(caught.value)
        np.testing.assert_array_equal(saved["attention_mask"], batch(5)["attention_mask"])
    assert [row["step"] for row in log.rows] == [1]


def test_the_skip_policy_goes_on_and_saves_the_first_batch_of_every_series(make, tmp_path, capsys):
    recorder, log = make(stop=False)
    for step, loss in enumerate([1.0, np.nan, np.nan, 1.0, np.inf, 1.0], 1):
        recorder.add(step, metrics(loss), batch(16))
    recorder.flush()
    assert [row["step"] for row in log.rows] == [1, 2, 3, 4, 5, 6]
    saved = sorted(path.name for path in tmp_path.glob("*.npz"))
    assert saved == ["nonfinite_step_2.npz", "nonfinite_step_5.npz"]
    assert capsys.readouterr().err.count("updates are left out") == 2


def test_an_evaluation_is_a_row_of_its_own_and_a_line_that_stays(make, capsys):
    recorder, log = make()
    recorder.evaluated(4, {"loss": 0.5, "accuracy": 0.75})
    assert log.rows == [{"step": 4, "eval/loss": 0.5, "eval/accuracy": 0.75}]
    assert "step 4  evaluation: loss 0.5000  accuracy 0.7500" in capsys.readouterr().err
