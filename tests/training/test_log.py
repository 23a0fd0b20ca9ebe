import json
import math
import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxbert.errors import UserError
from jaxbert.training.log import MetricLog
from jaxbert.training.metrics_file import read_metrics

ROWS = [
    {"step": 1, "loss": 0.1 + 0.2},
    {"step": 2, "loss": 1 / 3},
    {"step": 2, "eval/loss": 5e-324},
    {"step": 3, "loss": 2.5},
]


def write(directory: Path, rows=ROWS, resumed_step: int = 0) -> None:
    log = MetricLog(directory, resumed_step)
    for row in rows:
        log.write(row)
    log.close()


def events(directory: Path) -> list[Event]:
    """TensorBoard's record format: length, its checksum, the message, its checksum."""
    found = []
    for path in sorted(directory.glob("tensorboard/*"), key=lambda path: path.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            found.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return found


def test_floats_are_read_back_to_the_last_bit(tmp_path):
    write(tmp_path)
    assert read_metrics(tmp_path / "metrics.jsonl") == ROWS


def test_every_value_is_a_tensorboard_scalar(tmp_path):
    write(tmp_path)
    scalars = [(e.step, v.tag, v.simple_value) for e in events(tmp_path) for v in e.summary.value]
    assert [(step, tag) for step, tag, _ in scalars] == [
        *((1, "train/loss"), (2, "train/loss"), (2, "eval/loss"), (3, "train/loss"))
    ]
    assert scalars[3][2] == 2.5


def test_a_resumed_log_drops_the_rows_after_the_restored_step(tmp_path):
    write(tmp_path)
    write(tmp_path, [{"step": 3, "loss": 7.0}], resumed_step=2)
    assert read_metrics(tmp_path / "metrics.jsonl") == [*ROWS[:3], {"step": 3, "loss": 7.0}]
    restarts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert restarts[-1] == 3


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_last_line_that_was_cut_off_is_dropped(tmp_path, cut):
    write(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-cut] if cut > 1 else path.read_text() + "{")
    expected = ROWS if cut == 1 else ROWS[:3]
    assert read_metrics(path) == expected
    write(tmp_path, [{"step": 4, "loss": 1.0}], resumed_step=3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [
        *(row["step"] for row in expected),
        4,
    ]


@pytest.mark.parametrize("damaged", ['{"step":', "3", "[1]", '{"loss": 1}', '{"step": "2"}'])
def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path, damaged):
    write(tmp_path)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], damaged, *lines[2:]]) + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a row .* or remove it$"):
        MetricLog(tmp_path, 3)
    assert len(path.read_text().splitlines()) == 4


def test_a_series_has_the_value_of_every_step_that_has_one(tmp_path):
    log = MetricLog(tmp_path, 0)
    for row in ROWS:
        log.write(row)
    assert log.series("loss") == {1: 0.1 + 0.2, 2: 1 / 3, 3: 2.5}
    assert log.series("eval/loss") == {2: 5e-324}
    assert log.series("f1") == {}
    log.close()


def test_what_is_not_finite_is_null_in_the_file_and_nan_when_read(tmp_path, caplog):
    write(tmp_path, [{"step": 1, "loss": math.nan, "grad_norm": -math.inf}])
    path = tmp_path / "metrics.jsonl"
    assert json.loads(path.read_text()) == {"step": 1, "loss": None, "grad_norm": None}
    (row,) = read_metrics(path)
    assert math.isnan(row["loss"])
    assert math.isnan(row["grad_norm"])
    assert not caplog.records


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_log_does_not_import_pytorch_where_it_is_installed(monkeypatch, tmp_path):
    for name in [*sys.modules]:
        if name.split(".")[0] in ("torch", "tensorboardX"):
            monkeypatch.delitem(sys.modules, name)
    write(tmp_path)
    assert "tensorboardX" in sys.modules
    assert "torch" not in sys.modules
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
