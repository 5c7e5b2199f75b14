"""The train stage: all epochs, with the best and the last state kept."""

from __future__ import annotations

from typing import Any, Literal

from nnrecipe.checks.history import judge_history
from nnrecipe.core.findings import StageResult
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.spec import Spec
from nnrecipe.stages.run import Run
from nnrecipe.training.checkpoint import save_checkpoint
from nnrecipe.training.course import Course, figures
from nnrecipe.training.fit import EpochRecord, fit
from nnrecipe.training.setup import TrainSetup


class TrainStage(Spec):
    """The whole training: after each epoch an evaluation on the validation split."""

    kind: Literal["train"] = "train"

    def run(self, run: Run) -> StageResult:
        """Train from the initial weights; `best.pt` and `last.pt` are written as it goes."""
        bench, training = run.bench, run.training
        setup = bench.setup(
            bench.make_model(),
            lr=run.learning_rate,
            schedule=run.schedule,
            monitor_every=training.monitor_every,
        )
        start = bench.start_loss()
        course = Course(training.select_by, run.early_stopping)
        run.checkpoints.mkdir(exist_ok=True)
        run.progress.begin(self.kind, total=training.epochs * run.steps_per_epoch)
        with isolated_rng(bench.seed, self.kind):
            for record in fit(setup, bench.data, training, seed=bench.seed, progress=run.progress):
                is_best = course.add(record)
                _log(run, record)
                _save(run, setup, record, is_best=is_best)
                run.progress.advance(0, note=_note(record))
                if course.should_stop:
                    break
        findings = judge_history(
            course.records,
            start_loss=start,
            learning_rate=run.learning_rate,
            classes=bench.num_classes,
        )
        run.metrics.update(course.metrics())
        facts = {"learning_rate": run.learning_rate, "start_loss": start, **course.facts()}
        return StageResult.of(self.kind, facts, findings)


def _note(record: EpochRecord) -> str:
    accuracy = figures(record).get("val_accuracy")
    shown = "" if accuracy is None else f", val accuracy {accuracy:.4f}"
    return f"epoch {record.epoch}: loss {record.train_loss:.4f}{shown}"


def _log(run: Run, record: EpochRecord) -> None:
    """Write the sampled steps and the epoch into the logbook."""
    for step, sampled in record.monitored.items():
        run.logbook.scalars(
            step,
            {
                "loss": sampled["loss"],
                "lr": sampled["lr"],
                "update_ratio": sampled["update_ratio"],
                "gradient_norm": sampled["gradient_norm"],
            },
        )
    values: dict[str, float] = {
        "epoch": record.epoch,
        **figures(record),
        "lr": run.learning_rate * record.rate_factor,
    }
    if record.penalty:
        values["penalty"] = record.penalty
    run.logbook.scalars(record.step, values)


def _save(run: Run, setup: TrainSetup, record: EpochRecord, *, is_best: bool) -> None:
    """Write `last.pt`, which training can go on from, and `best.pt`, which it is used from."""
    state: dict[str, Any] = {
        "model": setup.model.state_dict(),
        "preprocessing": run.bench.data.preprocessing.state_dict(),
        "classes": list(run.bench.data.classes),
        "input_shape": list(run.bench.data.input_shape),
        "recipe": run.recipe,
        "epoch": record.epoch,
        "step": record.step,
        "figures": figures(record),
    }
    if is_best:
        save_checkpoint(run.checkpoints / "best.pt", state)
    save_checkpoint(
        run.checkpoints / "last.pt", state | {"optimizer": setup.optimizer.state_dict()}
    )
