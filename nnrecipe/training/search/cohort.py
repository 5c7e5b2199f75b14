"""Trains the jobs of a search that share their data and their order, as one population."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from nnrecipe.core.seeding import derive_seed, isolated_rng, seed_everything
from nnrecipe.data import DataBundle
from nnrecipe.training.averaging import Average, recompute_statistics
from nnrecipe.training.course import Course
from nnrecipe.training.fit import EpochRecord, epoch_batches, has_finite_weights, validate
from nnrecipe.training.population import Plan, train_population
from nnrecipe.training.population.likeness import draws
from nnrecipe.training.search.trial import EXPLODED, STALLED, Ended, Job, JobResult
from nnrecipe.training.setup import TrainSetup
from nnrecipe.training.spec import TrainingSpec

STACKED = 16
"""Replicas in a stack on a CPU: more of them leave the caches."""
ON_DEVICE = 128
"""Replicas at once on an accelerator."""
REMEMBERED = 1000
"""Examples over which a loss is averaged before it counts as exploded."""

Tell = Callable[[str], None]
"""Takes a line on how far the training is."""


def say_nothing(_line: str) -> None:
    """A `Tell` for those who don't care."""


@dataclass
class Replica:
    """A job in training. `start` is its loss before any step."""

    job: Job
    setup: TrainSetup
    average: Average
    course: Course
    start: float
    ended: Ended | None = None
    recent: float | None = None
    seconds: float = 0.0
    state: Mapping[str, Tensor] | None = field(default=None, repr=False)

    def add(self, record: EpochRecord) -> None:
        """Take in an epoch, and see whether it is the last."""
        self.seconds += record.seconds
        if self.course.add(record) and self.job.keep_state:
            state = self.average.model.state_dict()
            self.state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        if record.diverged_at is not None:
            self.ended = "exploded"
        elif record.epoch >= self.job.epochs or self.course.should_stop:
            self.ended = "finished"
        elif 2 * record.epoch >= self.job.epochs and record.train_loss > STALLED * self.start:
            self.ended = "stalled"

    def result(self) -> JobResult:
        """What came of it."""
        assert self.ended is not None, "it has been trained"
        records, best = self.course.records, self.course.best
        return JobResult(
            trial=self.job.trial,
            seed=self.job.seed,
            ended=self.ended,
            figures=tuple(record.figures() for record in records),
            best=None if best is None else records.index(best),
            seconds=self.seconds,
            state=self.state,
        )


def train_cohort(
    replicas: Iterable[Replica],
    data: DataBundle,
    training: TrainingSpec,
    *,
    seed: int,
    cores: int = 1,
    tell: Tell = say_nothing,
) -> Iterator[JobResult]:
    """Train all replicas, in waves: each is made when it is due, and gives its results at its end.

    A wave is trained whole or not at all: left out are those of which all jobs are known, and no
    known job gives its result again.

    On a CPU a wave is shared out among the `cores`; a replica alone has the threads that are set.

    Each replica is trained as `fit` would train it alone, on the same batches; on an accelerator,
    where all are stacked, dropout draws otherwise. Losses that are not finite, or
    for a while above `EXPLODED` times the first, end a replica within some steps, and losses that
    after half of the epochs have not fallen end it there.
    """
    for wave in _waves(replicas, cores):
        due = [replica for replica in wave if not replica.job.known]
        if not due:
            continue
        with isolated_rng(seed, "search"):
            _train(wave, data, training, seed=seed, plan=_plan(wave, cores), tell=tell)
        yield from (replica.result() for replica in due)


def _waves(replicas: Iterable[Replica], cores: int) -> Iterator[Sequence[Replica]]:
    """As many at once as are worth it: the fewer, the less memory, and the less a kill loses."""
    coming = iter(replicas)
    for first in coming:
        yield [first, *islice(coming, _at_once(first.setup, cores) - 1)]


def _at_once(setup: TrainSetup, cores: int) -> int:
    """The replicas of a wave.

    On a CPU those that can't be stacked gain only from having a core each, and those that draw as
    they train are alone, so that each draws as it would in a process of its own.
    """
    if setup.device.type != "cpu":
        return ON_DEVICE
    if draws(setup):
        return 1
    return cores * (STACKED if _stacks(setup) else 1)


def _stacks(setup: TrainSetup) -> bool:
    """Whether stacking is the faster way; a convolution's grouped form on a CPU is slow."""
    if setup.device.type != "cpu":
        return True
    return not any(isinstance(module, _ConvNd) for module in setup.model.modules())


def _plan(wave: Sequence[Replica], cores: int) -> Plan:
    """How the wave is computed: by its structure, never by the clock, so that runs are alike."""
    setup = wave[0].setup
    threads = min(cores, len(wave)) if setup.device.type == "cpu" else 1
    averaged = any(replica.average.follows_steps for replica in wave)
    if len(wave) == 1 or averaged or not _stacks(setup):
        return Plan("sequential", threads=threads)
    return Plan("vectorized", -(-len(wave) // threads), threads)


def _train(
    wave: Sequence[Replica],
    data: DataBundle,
    training: TrainingSpec,
    *,
    seed: int,
    plan: Plan,
    tell: Tell,
) -> None:
    epoch, step = 0, 0
    while active := [replica for replica in wave if replica.ended is None]:
        epoch += 1
        step = _epoch(active, data, training, seed=seed, plan=plan, epoch=epoch, first_step=step)
        tell(f"{len(active)} of {len(wave)} at once, epoch {epoch}")


def _epoch(
    active: Sequence[Replica],
    data: DataBundle,
    training: TrainingSpec,
    *,
    seed: int,
    plan: Plan,
    epoch: int,
    first_step: int,
) -> int:
    """One pass over the training split for all of them; returns the steps so far."""
    started = time.perf_counter()
    seed_everything(seed, "epoch", epoch)
    data.restart(derive_seed(seed, "epoch", epoch))
    for replica in active:
        if replica.setup.thaw is not None:
            replica.setup.thaw(epoch)
    watch = _Watch(active, training.batch_size)
    losses, correct, sizes = list[Tensor](), list[Tensor](), list[int]()
    for record in train_population(
        [replica.setup for replica in active],
        epoch_batches(data, training, seed, epoch),
        engine=plan,
        first_step=first_step,
        give_up=watch,
    ):
        losses.append(record.losses)
        sizes.append(record.examples)
        if record.correct is not None:
            correct.append(record.correct)
        for replica in active:
            replica.average.after_step()
        alive = record.alive
    watch.remember(active)
    means = _means(losses, sizes)
    rights = _shares(correct, sizes) if correct else [None] * len(active)
    each = (time.perf_counter() - started) / len(active)
    step = first_step + len(sizes)
    for index, replica in enumerate(active):
        broken = not bool(alive[index]) or not has_finite_weights(replica.setup.model)
        begun = time.perf_counter()
        validation = None
        if not broken:
            replica.average.after_epoch(epoch)
            if replica.average.needs_statistics:
                again = epoch_batches(data, training, seed, epoch)
                precision = replica.setup.precision
                recompute_statistics(replica.average.model, again, precision=precision)
            validation = validate(replica.setup, replica.average.model, data)
        record_of = EpochRecord(
            epoch=epoch,
            step=step,
            train_loss=means[index],
            train_accuracy=rights[index],
            penalty=0.0,
            validation=validation,
            rate_factor=replica.setup.schedule(step - 1),
            seconds=each + time.perf_counter() - begun,
            diverged_at=step if broken else None,
            monitored={},
        )
        replica.setup.schedule.observe(step, record_of.figures())
        replica.add(record_of)
    return step


class _Watch:
    """Sees which losses have exploded, on a running mean over some examples."""

    def __init__(self, replicas: Sequence[Replica], batch_size: int) -> None:
        device = replicas[0].setup.device
        recent = [r.start if r.recent is None else r.recent for r in replicas]
        self._recent = torch.tensor(recent, device=device)
        self._limit = EXPLODED * torch.tensor([r.start for r in replicas], device=device).abs()
        self._weight = min(1.0, batch_size / REMEMBERED)

    def __call__(self, losses: Tensor) -> Tensor:
        """[K] Which replicas to give up."""
        self._recent = torch.lerp(self._recent, losses.to(self._recent), self._weight)
        return self._recent > self._limit

    def remember(self, replicas: Sequence[Replica]) -> None:
        """Keep the means for the next epoch."""
        for replica, mean in zip(replicas, self._recent.tolist(), strict=True):
            replica.recent = mean


def _means(losses: Sequence[Tensor], sizes: Sequence[int]) -> list[float]:
    """Each replica's mean loss over the examples of an epoch."""
    weights = torch.tensor(sizes, dtype=torch.float64)
    stacked = torch.stack(list(losses)).double().cpu()
    means: list[float] = ((stacked * weights[:, None]).sum(0) / weights.sum()).tolist()
    return means


def _shares(correct: Sequence[Tensor], sizes: Sequence[int]) -> list[float]:
    """Each replica's share of right answers in an epoch."""
    shares: list[float] = (torch.stack(list(correct)).double().sum(0).cpu() / sum(sizes)).tolist()
    return shares
