"""The process engine: each trial by itself, several processes side by side."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import torch

from nnrecipe.core.errors import UserError
from nnrecipe.stages.trials import train_jobs
from nnrecipe.training.search.trial import Job, JobResult
from nnrecipe.trials.variants import Order, Variants

ATTEMPTS = 3
"""Times that a pool may lose a process, before its jobs are taken to be the reason."""


class ProcessWorkers:
    """Trains jobs one by one in each of some processes, which share the threads."""

    def __init__(self, order: Order, *, workers: int | None, threads: int) -> None:
        self._order, self._workers = order, workers or threads
        self._threads = max(1, threads // self._workers)
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """See `TrainJobs`. Raises `UserError` if processes die again and again."""
        waiting = dict(enumerate(jobs))
        for _ in range(ATTEMPTS):
            try:
                for place, result in self._attempt(waiting):
                    del waiting[place]
                    yield result
                return
            except BrokenProcessPool:
                self.close()
        raise UserError(
            f"search.engine: a process that trains trials died {ATTEMPTS} times (for want of "
            "memory?): lower search.engine.workers"
        )

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _attempt(self, jobs: Mapping[int, Job]) -> Iterator[tuple[int, JobResult]]:
        """Results with the places of their jobs, as they come."""
        pool = self._pool = self._pool or ProcessPoolExecutor(
            max_workers=self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._order, self._threads),
        )
        places: dict[Future[JobResult], int] = {
            pool.submit(_train, job): place for place, job in jobs.items()
        }
        try:
            for future in as_completed(places):
                yield places[future], future.result()
        finally:
            for future in places:
                future.cancel()


_OWN: list[Variants] = []
"""What this process trains with, once it has begun."""


def _begin(order: Order, threads: int) -> None:
    """Make a new process ready."""
    torch.set_num_threads(threads)
    _OWN.append(order.variants())


def _train(job: Job) -> JobResult:
    (result,) = train_jobs([job], _OWN[0])
    return result
