"""The process engine: each trial by itself, several processes side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

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
        self._lifeline: Connection | None = None

    def __call__(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """See `TrainJobs`. Raises `UserError` if processes die again and again."""
        waiting = dict(enumerate(job for job in jobs if not job.known))
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
        """End the processes at once, whatever they are at."""
        if self._pool is not None and self._lifeline is not None:
            self._lifeline.close()
            self._pool.shutdown(cancel_futures=True)
            self._pool = self._lifeline = None

    def _attempt(self, jobs: Mapping[int, Job]) -> Iterator[tuple[int, JobResult]]:
        """Results with the places of their jobs, as they come."""
        pool = self._pool = self._pool or self._begun()
        places: dict[Future[JobResult], int] = {
            pool.submit(_train, job): place for place, job in jobs.items()
        }
        try:
            for future in as_completed(places):
                yield places[future], future.result()
        finally:
            for future in places:
                future.cancel()

    def _begun(self) -> ProcessPoolExecutor:
        """A pool whose processes live as long as this one holds their lifeline."""
        end, self._lifeline = multiprocessing.Pipe(duplex=False)
        return ProcessPoolExecutor(
            max_workers=self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._order, self._threads, end),
        )


_OWN: list[Variants] = []
"""What this process trains with, once it has begun."""


def _begin(order: Order, threads: int, lifeline: Connection) -> None:
    """Make a new process ready; it ends when nobody is left at the other end of the lifeline.

    Ctrl-C goes to all processes of a terminal: the first one sees to it for all.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(threads)
    _OWN.append(order.variants())


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(1)


def _train(job: Job) -> JobResult:
    (result,) = train_jobs([job], _OWN[0])
    return result
