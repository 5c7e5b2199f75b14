import io
from contextlib import suppress

import pytest
from report_samples import finding, stage
from rich.console import Console

from nnrecipe.core.findings import Verdict
from nnrecipe.core.progress import Progress
from nnrecipe.report import terminal_progress
from nnrecipe.report.progress import Bars, Lines


def walk(progress: Progress) -> None:
    progress.say("run: [red]/tmp/x\x1b[31m")
    progress.begin("train")
    progress.begin("train", total=10)
    for epoch in range(10):
        progress.advance(note=f"epoch {epoch}: [bold] loss 0.5")
    progress.advance(0)
    progress.end(stage("train", finding("loss", Verdict.WARN), seconds=3.25))


def test_without_a_terminal_there_are_plain_lines(capsys):
    progress = terminal_progress()
    assert isinstance(progress, Lines)
    walk(progress)
    said = capsys.readouterr().out.splitlines()
    assert said == ["run: [red]/tmp/x [31m", "train ... warn (3.2 s)"]


def test_a_long_stage_gives_a_sign_of_life_now_and_then():
    file, now = io.StringIO(), [0.0]
    progress = Lines(Console(file=file, width=30), clock=lambda: now[0])
    progress.begin("train", total=40)
    for epoch in range(40):
        now[0] += 1
        progress.advance(note=f"epoch {epoch}: loss 0.5, and much more to say")
    lines = file.getvalue().splitlines()
    assert lines == [
        "train ... 38 % epoch 14: loss 0.5, and much more to say",
        "train ... 75 % epoch 29: loss 0.5, and much more to say",
    ]


def test_a_terminal_gets_bars_that_leave_lines_behind(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    walk(Bars(Console(file=file, force_terminal=True, width=80, color_system=None)))
    text = file.getvalue()
    assert "epoch 9: [bold] loss 0.5" in text
    assert text.endswith("train     warn 3.2 s\n")
    assert "run: [red]/tmp/x [31m" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0  # the cursor comes back


def test_steps_outside_a_stage_are_no_error():
    file = io.StringIO()
    progress = Bars(Console(file=file, force_terminal=True, width=80))
    progress.advance()
    progress.end(stage("data"))
    assert "data" in file.getvalue()


@pytest.mark.parametrize("kind", [Bars, Lines])
def test_an_error_within_a_stage_takes_the_bar_away(kind, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    console = Console(file=file, force_terminal=kind is Bars, width=80)
    with suppress(KeyboardInterrupt), kind(console) as progress:
        progress.begin("train", total=2)
        raise KeyboardInterrupt
    text = file.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == (kind is Bars)
