"""The train stage: all epochs, with the best and the last state kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from nnrecipe.checks.history import Conditions, Trained, judge_history, worth_trying
from nnrecipe.checks.model.batch_norm import judge_statistics
from nnrecipe.core.device import evaluation_batch
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.seeding import derive_seed, generator, isolated_rng, seed_everything
from nnrecipe.core.spec import Spec
from nnrecipe.core.world import ALONE
from nnrecipe.data.batch import Batch
from nnrecipe.stages.fitting import full_setup
from nnrecipe.stages.kept import BEST_FILE, LAST_FILE, forget
from nnrecipe.stages.run import Run
from nnrecipe.training.averaging import Average, Swa
from nnrecipe.training.checkpoint import save_checkpoint
from nnrecipe.training.course import Course
from nnrecipe.training.evaluate import Evaluation, evaluate
from nnrecipe.training.fit import EpochRecord, fit
from nnrecipe.training.further import train_further
from nnrecipe.training.records import RECORDS_FILE, append_record
from nnrecipe.training.scores import TaskScores
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.state import restore, training_state

CLEAN_EXAMPLES = 2000
"""Training examples on which the final model is evaluated as on the validation split."""
LEAST_SAMPLED = 10
"""Samples in a training, however short it is."""
MOST_FURTHER_STEPS = 300
"""Optimizer steps that may be spent to find out what the training lacked."""


LEAST_FOR_STATISTICS, STATISTICS_BATCHES = 32, 8
"""Examples in a batch at least, and batches, from which batch statistics are taken anew."""


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
        setup = full_setup(
            run, bench.make_model(), rate=rate, monitor_every=_sampling(run), world=run.world
        )
        average = training.average.build(setup.model, epochs=training.epochs)
        start = bench.start_loss()
        course = Course(training.select_by, run.early_stopping)
        run.checkpoints.mkdir(exist_ok=True)
        run.progress.begin(self.kind, total=training.epochs * run.steps_per_epoch)
        last = _go_on(run, setup, average, course)
        with isolated_rng(bench.seed, self.kind):
            epochs = fit(
                setup,
                bench.data,
                training,
                average=average,
                seed=bench.seed,
                progress=run.progress,
                after=last,
            )
            for record in () if course.should_stop else epochs:
                is_best = course.add(record)
                if run.world.is_first:
                    _log(run, record, rate=rate)
                    _save(run, setup, average, course, is_best=is_best)
                run.progress.advance(0, note=_note(record))
                if course.should_stop:
                    break
            if not run.world.is_first:
                return StageResult.of(self.kind, {}, [])  # the first process tells the rest
            if not run.world.is_alone:
                setup = replace(setup, forward=None, world=ALONE)
            seed_everything(bench.seed, "look back")
            bench.data.restart(derive_seed(bench.seed, "look back"))
            lagging = _statistics(run, setup, average, course)
            trained = _look_back(run, setup, average, course, start_loss=start, rate=rate)
        run.metrics.update(course.metrics())
        parameters = sum(parameter.numel() for parameter in setup.model.parameters())
        facts: dict[str, Any] = {
            "learning_rate": rate,
            "start_loss": start,
            "parameters": parameters,
        }
        facts |= {"precision": setup.precision, "compiled": setup.forward is not None}
        facts |= course.facts() | trained.facts()
        return StageResult.of(self.kind, facts, [*judge_history(trained), *lagging])


def _go_on(run: Run, setup: TrainSetup, average: Average, course: Course) -> EpochRecord | None:
    """Bring everything to where a training was cut off, and return its last epoch; None of none."""
    if run.kept is None:
        forget(run.checkpoints)
        return None
    for record in run.kept.records:
        course.add(record)
    restore(setup, average, run.kept.state, run.kept.records)
    last = run.kept.records[-1]
    run.progress.advance(last.step, note=_note(last))
    return last


def _no_rate() -> Finding:
    return Finding(
        check="learning_rate",
        verdict=Verdict.FAIL,
        measured="none: the lr_probe stage found no rate at which the loss falls",
        expected="a learning rate",
        advice="Give optimizer.lr a number, or mend what the stages before this one report.",
        source="lecture: babysitting the learning process",
    )


def _sampling(run: Run) -> int:
    """Steps between two samples: fewer than asked for where the whole training has few."""
    total = run.steps_per_epoch * run.training.epochs
    return min(run.training.monitor_every, max(1, total // LEAST_SAMPLED))


def _look_back(
    run: Run,
    setup: TrainSetup,
    average: Average,
    course: Course,
    *,
    start_loss: float,
    rate: float,
) -> Trained:
    """What is known of the training; trains on for a while where that is in doubt."""
    bench, last = run.bench, course.records[-1]
    trained = Trained(
        records=course.records,
        start_loss=start_loss,
        chance=start_loss if bench.chance is None else bench.chance,
        learning_rate=rate,
        outputs=bench.outputs,
        conditions=_conditions(run, setup),
        clean=None if last.diverged_at is not None else _clean(run, setup, average),
    )
    suspect = worth_trying(trained)
    if suspect is None:
        return trained
    further = train_further(
        setup,
        bench.data,
        run.training,
        suspect,
        seed=bench.seed,
        epoch=last.epoch,
        steps=min(last.step, MOST_FURTHER_STEPS),
    )
    return replace(trained, further=further)


def _clean(run: Run, setup: TrainSetup, average: Average) -> Evaluation:
    """The final model on training examples as validation sees its own: not augmented, eval mode."""
    data, size = run.bench.data, evaluation_batch(run.device)
    sample = run.bench.sample(data.train, CLEAN_EXAMPLES)
    batches = map(Batch, sample.inputs.split(size), sample.targets.split(size))
    return evaluate(
        average.model, batches, setup.loss, outputs=data.outputs, precision=setup.precision
    )


def _statistics(run: Run, setup: TrainSetup, average: Average, course: Course) -> list[Finding]:
    """Whether batch norms' running statistics fit the trained model; none where it has no norm."""
    if course.records[-1].diverged_at is not None:
        return []
    data, seed = run.bench.data, run.bench.seed
    order = generator(seed, "statistics")
    size = max(run.training.batch_size, LEAST_FOR_STATISTICS)
    sample, part = run.bench.sample(data.val, CLEAN_EXAMPLES), evaluation_batch(run.device)
    found = judge_statistics(
        average.model,
        training=list(islice(data.training_batches(size, generator=order), STATISTICS_BATCHES)),
        validation=list(map(Batch, sample.inputs.split(part), sample.targets.split(part))),
        loss=setup.loss,
        outputs=data.outputs,
    )
    return [] if found is None else [found]


def _conditions(run: Run, setup: TrainSetup) -> Conditions:
    group = setup.optimizer.param_groups[0]
    decays = [other.get("weight_decay", 0.0) for other in setup.optimizer.param_groups]
    modules = list(setup.model.modules())
    normed = any(isinstance(module, _BatchNorm) for module in modules)
    drops = [module.p for module in modules if isinstance(module, _DropoutNd)]
    average = run.training.average
    return Conditions(
        epochs=run.training.epochs,
        momentum=group.get("momentum", group.get("betas", (0.0,))[0]),
        eps=group.get("eps", 0.0),
        decays=max(decays) > 0 or setup.penalty.active,
        dropout=max(drops, default=0.0),
        augmented=bool(run.bench.data.augmentation),
        mixed=bool(setup.mixing),
        limits=setup.limits,
        norm_batch=run.training.batch_size if normed else 0,
        averages_from=average.first_epoch(run.training.epochs)
        if isinstance(average, Swa)
        else None,
    )


def _note(record: EpochRecord) -> str:
    shown = ""
    if record.validation is not None:
        name, value = record.validation.headline
        shown = f", val {name} {value:.4f}"
    return f"epoch {record.epoch}: loss {record.train_loss:.4f}{shown}"


def _log(run: Run, record: EpochRecord, *, rate: float) -> None:
    """Write the sampled steps and the epoch into the logbook."""
    for step, reading in record.monitored.items():
        run.logbook.scalars(step, reading.figures())
    values: dict[str, float | dict[str, float]] = {
        "epoch": record.epoch,
        **record.figures(),
        "lr": rate * record.rate_factor,
    }
    if record.penalty:
        values["penalty"] = record.penalty
    if record.validation is not None and isinstance(record.validation.score, TaskScores):
        headlines = record.validation.score.headlines
        values["task_score"] = {name: value for name, (_, value) in headlines.items()}
    run.logbook.scalars(record.step, values)


def _save(run: Run, setup: TrainSetup, average: Average, course: Course, *, is_best: bool) -> None:
    """Write `best.pt`, which the model is used from, snapshots, and `last.pt`, to go on from.

    Their `model` is what was evaluated, but a snapshot's is the trained one. `last.pt` comes last:
    an epoch that it doesn't hold is trained again, and all of these files written with it.
    """
    record, snapshots = course.records[-1], run.snapshot_steps
    state = _state(run, average.model, record)
    if is_best:
        save_checkpoint(run.checkpoints / BEST_FILE, state)
    if record.step in snapshots and record.diverged_at is None:
        path = run.snapshot_path(1 + snapshots.index(record.step))
        save_checkpoint(path, _state(run, setup.model, record))
    taken = [run.snapshot_path(1 + n) for n, step in enumerate(snapshots) if step <= record.step]
    beside = [] if course.best is None else [BEST_FILE]
    append_record(run.checkpoints / RECORDS_FILE, record)
    state |= training_state(setup, average)
    state["beside"] = beside + [path.name for path in taken if path.exists()]
    state["logbook"] = run.logbook.mark()
    save_checkpoint(run.checkpoints / LAST_FILE, state, keep_previous=True)


def _state(run: Run, model: nn.Module, record: EpochRecord) -> dict[str, Any]:
    """What a model is used from, after an epoch."""
    return {
        "model": model.state_dict(),
        **run.about_model(),
        "epoch": record.epoch,
        "step": record.step,
        "figures": record.figures(),
    }
