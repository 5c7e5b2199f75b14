"""From a trial's experiment to the replica that is trained, and the training of many of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import starmap

from nnrecipe.core.errors import UserError
from nnrecipe.stages.fitting import plain_setup
from nnrecipe.stages.run import Experiment, Vary
from nnrecipe.training.course import Course
from nnrecipe.training.search.cohort import Replica, Tell, say_nothing, train_cohort
from nnrecipe.training.search.trial import Job, JobResult


def train_jobs(
    jobs: Sequence[Job], vary: Vary, *, cores: int = 1, tell: Tell = say_nothing
) -> Iterator[JobResult]:
    """Train the jobs here, those that share data, order and batches together.

    Settings that can't be combined are `refused`.
    """
    cohorts: dict[object, list[tuple[Experiment, Job]]] = {}
    for job in jobs:
        try:
            experiment = vary(job.values, job.seed)
        except UserError as error:
            if not job.known:
                yield JobResult(job.trial, job.seed, "refused", reason=str(error))
            continue
        cohorts.setdefault(_company(experiment), []).append((experiment, job))
    for cohort in cohorts.values():
        first, _ = cohort[0]
        replicas = starmap(_replica, cohort)
        yield from train_cohort(
            replicas,
            first.bench.data,
            first.training,
            seed=first.bench.seed,
            cores=cores,
            tell=tell,
        )


def _company(experiment: Experiment) -> object:
    """Equal for runs whose replicas can be fed from the same batches, step by step."""
    training = experiment.training
    return (
        experiment.bench.seed,
        id(experiment.bench.data),
        training.batch_size,
        training.shuffle,
        training.accumulate,
    )


def _replica(experiment: Experiment, job: Job) -> Replica:
    rate = experiment.learning_rate
    assert rate is not None, "the stage has seen to it"
    setup = plain_setup(experiment, experiment.bench.make_model(), rate=rate)
    return Replica(
        job=job,
        setup=setup,
        average=experiment.training.average.build(setup.model, epochs=experiment.training.epochs),
        course=Course(experiment.training.select_by, experiment.early_stopping),
        start=experiment.bench.start_loss(),
    )
