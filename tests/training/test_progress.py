from io import StringIO

from rich.console import Console

from jaxbert.training import progress as module
from jaxbert.training.progress import TrainingProgress, describe

ROW = {"step": 900_000, "loss": 5.23181, "learning_rate": 2.5e-5}
FULL = ROW | {"tokens_per_second": 985_266.0, "padding": 0.05, "model_flops_utilization": 0.452}


def test_a_row_is_described_by_what_it_has():
    assert describe(ROW) == "loss 5.2318  lr 2.5e-05"
    assert describe(FULL) == "loss 5.2318  lr 2.5e-05  985k tokens/s  padding 5%  MFU 45.2%"


def test_where_there_is_no_terminal_a_line_comes_now_and_then_and_at_the_end(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with TrainingProgress(40, 0) as progress:
        # The first step was compiled, which the others will not be.
        for step, seconds in ((1, 300.0), (10, 318.0), (11, 319.0), (40, 320.0)):
            now[0] = seconds
            progress.advance(step)
            progress.show(ROW | {"step": step})
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/40", "10/40", "40/40"]
    assert "left" not in lines[0]
    assert lines[1].endswith("60 s left")


def test_a_narrow_terminal_shows_step_and_time_in_full():
    progress = TrainingProgress(1_000_000, 0)
    progress._bar.update(progress._task, completed=900_000, shown=describe(FULL))
    console = Console(width=80, file=StringIO())
    progress._bar.live.console = console
    console.print(progress._bar.get_renderable())
    shown = console.file.getvalue()
    assert "900000/1000000 -:--:-- loss 5.2318" in shown


def test_quiet_shows_nothing(capsys):
    with TrainingProgress(40, 0, quiet=True) as progress:
        progress.say("step 4  evaluation")
        progress.show(ROW | {"step": 40})
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_brackets_are_no_markup(capsys):
    with TrainingProgress(40, 0) as progress:
        progress.say("runs/[old]/a: classes [/INST], [other]")
    captured = capsys.readouterr()
    assert "runs/[old]/a: classes [/INST], [other]" in captured.out + captured.err


def test_what_is_waited_for_is_shown_until_it_is_over():
    progress = TrainingProgress(40, 0)

    def shown() -> str:
        return progress._bar.tasks[0].fields["shown"]

    assert shown() == "compiling the first step"
    progress.advance(1)
    assert shown() == ""
    progress.show(ROW | {"step": 2})
    progress.advance(3)
    assert shown() == describe(ROW)
    progress.evaluating(3)
    assert shown() == "evaluating"
    progress.advance(4)
    assert shown() == ""
