"""The vectorized engine: all trials in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnrecipe.core.progress import Progress
from nnrecipe.stages.trials import train_jobs
from nnrecipe.training.search.trial import Job, JobResult
from nnrecipe.trials.variants import Variants


class Replicas:
    """Trains jobs that fit together as one population."""

    def __init__(self, variants: Variants, *, cores: int, progress: Progress) -> None:
        self._variants, self._cores, self._progress = variants, cores, progress

    def __call__(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """See `TrainJobs`."""
        yield from train_jobs(jobs, self._variants, cores=self._cores, tell=self._tell)

    def close(self) -> None:
        """There is nothing that it holds."""

    def _tell(self, line: str) -> None:
        self._progress.advance(0, note=line)
