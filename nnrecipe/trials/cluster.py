"""The ray engine: each trial by itself in Ray's workers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from nnrecipe.core.errors import UserError
from nnrecipe.stages.trials import train_jobs
from nnrecipe.training.search.engines import Ray
from nnrecipe.training.search.trial import Job, JobResult
from nnrecipe.trials.variants import Order, Variants

if TYPE_CHECKING:
    from types import ModuleType

RETRIES = 3
"""Times that a trial is trained anew whose worker died."""


class RayWorkers:
    """Trains jobs in the workers of a cluster, or of one that is started here for the while."""

    def __init__(self, order: Order, engine: Ray, *, threads: int) -> None:
        self._order, self._engine, self._threads = order, engine, threads
        self._ray, self._started = _import(), False

    def __call__(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """See `TrainJobs`. Raises `UserError` if there is no cluster, or a trial loses it all."""
        ray = self._ray
        if not ray.is_initialized():
            self._start()
            self._started = True
        try:
            gpus = 1 if self._order.device.startswith("cuda") else 0
            train = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_train)
            order = ray.put(self._order)
            waiting = [train.remote(order, job) for job in jobs if not job.known]
            while waiting:
                done, waiting = ray.wait(waiting)
                yield ray.get(done[0])
        except ray.exceptions.RayError as error:
            told = str(error).splitlines()[0]
            raise UserError(f"search.engine: Ray lost a trial: {told}") from error

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._started:
            self._ray.shutdown()
            self._started = False

    def _start(self) -> None:
        """Join the cluster, or start one with as many workers as are asked for."""
        address = self._engine.address
        here: dict[str, Any] = {"num_cpus": self._engine.workers or self._threads}
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": _paths(self._order)}
        if address is None:
            here |= {"include_dashboard": False}
        try:
            self._ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": environment},
                **(here if address is None else {}),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = "a cluster here" if address is None else address
            raise UserError(f"search.engine.address: {where}: {error}") from error


def _paths(order: Order) -> str:
    return os.pathsep.join(path for path in order.paths if path)


def _import() -> ModuleType:
    """Raises `UserError` if Ray isn't installed."""
    try:
        import ray
    except ImportError as error:
        remedy = 'install it with `pip install "nnrecipe[ray]"`, or use vectorized or process'
        raise UserError(f"search.engine: ray isn't installed: {remedy}") from error
    module: ModuleType = ray
    return module


_OWN: dict[str, Variants] = {}
"""What this worker trains with, by the recipe that it was made of."""


def _train(order: Order, job: Job) -> JobResult:
    """In a worker; the data are loaded for the first of its jobs."""
    if order.recipe not in _OWN:
        torch.set_num_threads(1)
        _OWN[order.recipe] = order.variants()
    (result,) = train_jobs([job], _OWN[order.recipe])
    return result
