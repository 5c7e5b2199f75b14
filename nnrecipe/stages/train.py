"""The train stage: all epochs, with the best and the last state kept."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from nnrecipe.checks.history import judge_history
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.spec import Spec
from nnrecipe.stages.run import Run
from nnrecipe.training.averaging import Average
from nnrecipe.training.checkpoint import save_checkpoint
from nnrecipe.training.course import Course
from nnrecipe.training.fit import EpochRecord, fit
from nnrecipe.training.setup import TrainSetup


class TrainStage(Spec):
    """The whole training: after each epoch an evaluation on the validation split."""

    source: ClassVar[str] = "lecture: babysitting the learning process"

    kind: Literal["train"] = "train"

    def run(self, run: Run) -> StageResult:
        """Train from the initial weights; `best.pt` and `last.pt` are written as it goes."""
        bench, training = run.bench, run.training
        rate = run.learning_rate
        if rate is None:
            return StageResult.of(self.kind, {}, [_no_rate()])
        setup = bench.setup(
            bench.make_model(),
            lr=rate,
            schedule=run.schedule,
            accumulate=training.accumulate,
            monitor_every=training.monitor_every,
        )
        average = training.average.build(setup.model, epochs=training.epochs)
        start = bench.start_loss()
        course = Course(training.select_by, run.early_stopping)
        run.checkpoints.mkdir(exist_ok=True)
        run.progress.begin(self.kind, total=training.epochs * run.steps_per_epoch)
        with isolated_rng(bench.seed, self.kind):
            epochs = fit(
                setup,
                bench.data,
                training,
                average=average,
                seed=bench.seed,
                progress=run.progress,
            )
            for record in epochs:
                is_best = course.add(record)
                _log(run, record, rate=rate)
                _save(run, setup, average, record, is_best=is_best)
                run.progress.advance(0, note=_note(record))
                if course.should_stop:
                    break
        findings = judge_history(
            course.records,
            start_loss=start,
            chance=start if bench.chance is None else bench.chance,
            learning_rate=rate,
        )
        run.metrics.update(course.metrics())
        parameters = sum(parameter.numel() for parameter in setup.model.parameters())
        facts = {"learning_rate": rate, "start_loss": start, "parameters": parameters}
        facts |= course.facts()
        return StageResult.of(self.kind, facts, findings)


def _no_rate() -> Finding:
    return Finding(
        check="learning_rate",
        verdict=Verdict.FAIL,
        measured="none: the lr_probe stage found no rate at which the loss falls",
        expected="a learning rate",
        advice="Give optimizer.lr a number, or mend what the stages before this one report.",
        source="lecture: babysitting the learning process",
    )


def _note(record: EpochRecord) -> str:
    shown = ""
    if record.validation is not None:
        name, value = record.validation.headline
        shown = f", val {name} {value:.4f}"
    return f"epoch {record.epoch}: loss {record.train_loss:.4f}{shown}"


def _log(run: Run, record: EpochRecord, *, rate: float) -> None:
    """Write the sampled steps and the epoch into the logbook."""
    for step, sampled in record.monitored.items():
        run.logbook.scalars(
            step,
            {
                "batch_loss": sampled["batch_loss"],
                "update_ratio": sampled["update_ratio"],
                "gradient_norm": sampled["gradient_norm"],
            },
        )
    values: dict[str, float] = {
        "epoch": record.epoch,
        **record.figures(),
        "lr": rate * record.rate_factor,
    }
    if record.penalty:
        values["penalty"] = record.penalty
    run.logbook.scalars(record.step, values)


def _save(
    run: Run, setup: TrainSetup, average: Average, record: EpochRecord, *, is_best: bool
) -> None:
    """Write `last.pt`, which training can go on from, and `best.pt`, which it is used from.

    Their `model` is what was evaluated; where that is an average, `last.pt` has the trained weights
    too.
    """
    state: dict[str, Any] = {
        "model": average.model.state_dict(),
        "preprocessing": run.bench.data.preprocessing.state_dict(),
        "classes": list(run.bench.data.classes),
        "input_shape": list(run.bench.data.input_shape),
        "recipe": run.recipe,
        "epoch": record.epoch,
        "step": record.step,
        "figures": record.figures(),
    }
    if is_best:
        save_checkpoint(run.checkpoints / "best.pt", state)
    state["optimizer"] = setup.optimizer.state_dict()
    if average.model is not setup.model:
        state["trained_model"] = setup.model.state_dict()
    save_checkpoint(run.checkpoints / "last.pt", state)
