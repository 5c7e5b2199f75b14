"""`nnrecipe.diagnose`: the checks on a plain PyTorch model and loader."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nnrecipe.checkup.advice import in_plain_code
from nnrecipe.checkup.bench import Workplace, make_workplace
from nnrecipe.checkup.model import hooks_of
from nnrecipe.checkup.untouched import untouched
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import StageResult
from nnrecipe.core.logbook import Logbook, NoTracking
from nnrecipe.core.progress import Progress, Silence
from nnrecipe.core.report import Report
from nnrecipe.core.spec import kind_of, members
from nnrecipe.core.targets import describe, is_torchs, is_users_fault
from nnrecipe.losses import LossCallable
from nnrecipe.report import print_report, terminal_progress, write_html, write_report
from nnrecipe.report.store import REPORT_FILE
from nnrecipe.schedulers import Constant
from nnrecipe.stages import Run, Stage
from nnrecipe.stages.diagnosis import DiagnosisStage
from nnrecipe.stages.walk import walk
from nnrecipe.training import TrainingSpec

NEEDS_A_TRAINING = ("train", "ensemble", "evaluate", "transfer")
NEEDS_A_START = ("lr_probe",)


def diagnose(
    model: nn.Module,
    train_loader: Iterable[Any],
    loss_fn: LossCallable,
    val_loader: Iterable[Any] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    seconds: float = 180.0,
    output: str | Path | None = None,
    show: bool = True,
) -> Report:
    """Check a model, its data, its loss and its optimizer before training; returns the report.

    The loaders give batches `(inputs, targets)` of float tensors and of class numbers, labels or
    values; `loss_fn(outputs, targets)` is a scalar. All checks work on copies: the model, the
    optimizer with its schedulers, and every random generator are afterwards what they were. So are
    the tensors, modules, lists and dicts that a loss function, or a hook on the model, has at hand;
    hooks that only look on aren't called for long. What a loss does besides (it counts up a number,
    it writes a file) is done for each of its calls here.

    Without a `val_loader` some training examples are held out; without an `optimizer` the learning
    rate isn't judged. After `seconds` no further stage begins. The report is printed unless `show`
    is off, and kept as `report.html` and `report.json` in the folder `output` if there is one.

    Raises `UserError` for what can't be checked, and says what to change.
    """
    if output is not None:
        _make_folder(Path(output))
    with contextlib.ExitStack() as stack:
        folder = Path(output or stack.enter_context(tempfile.TemporaryDirectory()))
        progress: Progress = Silence()
        if show:
            progress = bars = terminal_progress()
            stack.enter_context(bars)
        functions = [loss_fn, *hooks_of(model)]
        stack.enter_context(untouched(train_loader, val_loader, functions=functions))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_users_mistakes())
        workplace = make_workplace(model, train_loader, loss_fn, val_loader, optimizer)
        report = _examine(workplace, folder, progress, seconds=seconds)
        if output is not None:
            write_html(folder)
    if show:
        print_report(report, None if output is None else folder)
    return report


def _make_folder(folder: Path) -> None:
    if (folder / REPORT_FILE).exists():
        raise UserError(f"output: {folder} holds a report already: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output: {folder}: can't make the folder: {error.strerror}") from error


def _examine(workplace: Workplace, folder: Path, progress: Progress, *, seconds: float) -> Report:
    """Walk the stages, and keep the report up to date in the folder."""
    stages = _stages(workplace, seconds=seconds)
    kinds: list[str] = [stage.kind for stage in stages]
    report = Report.of(workplace.wiring.model, (), {})
    started = time.perf_counter()
    with Logbook(folder, NoTracking()) as logbook:
        run = _run(workplace, folder, logbook, progress)
        for result in walk(run, stages, gates=kinds):
            left = kinds[kinds.index(result.stage) + 1 :]
            is_late = bool(left) and time.perf_counter() - started > seconds
            run.results[-1] = _told(result, left_out=left if is_late else [])
            report = Report.of(workplace.wiring.model, run.results, {})
            write_report(report, folder)
            if is_late:
                progress.say(f"{seconds:g} seconds are over, so left out: {', '.join(left)}")
                break
    return report


def _stages(workplace: Workplace, *, seconds: float) -> list[Any]:
    """All that need no training; of a trained model also not those that try out a first step."""
    left_out = NEEDS_A_TRAINING + NEEDS_A_START * workplace.trained
    found: list[Any] = [workplace.wiring]
    for stage in members(Stage):
        if stage is DiagnosisStage:
            found.append(DiagnosisStage(budget=min(60.0, seconds / 2)))
        elif kind_of(stage) not in left_out:
            found.append(stage())
    return found


def _run(workplace: Workplace, folder: Path, logbook: Logbook, progress: Progress) -> Run:
    bench = workplace.bench
    return Run(
        bench=bench,
        training=TrainingSpec(batch_size=bench.batch_size, shuffle=bench.shuffle),
        scheduler=Constant(warmup="1 epoch" if workplace.starts_low else 0),
        early_stopping=None,
        folder=folder,
        logbook=logbook,
        progress=progress,
        recipe={},
        own=workplace.own,
        length_known=False,
    )


def _told(result: StageResult, *, left_out: list[str]) -> StageResult:
    """The result in the words of plain code, as there is no config, and with the stages it ends.

    Those are named in the last stage's facts, so that a report in part can be told from a whole.
    """
    findings = tuple(map(in_plain_code, result.findings))
    facts = result.facts | ({"left_out": left_out} if left_out else {})
    return result.model_copy(update={"findings": findings, "facts": facts})


@contextlib.contextmanager
def _users_mistakes() -> Iterator[None]:
    """Tell an error that came out of the user's own code as theirs, with its file and line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_users_fault(error) or is_torchs(error):
            raise UserError(f"your own code failed: {describe(error)}") from error
        raise
