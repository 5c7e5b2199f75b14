"""What came of a search's trainings, a line each: so that none of them is made twice."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from nnrecipe.core.logbook import drop_torn_line
from nnrecipe.training.search.trial import Job, JobResult

LEDGER_FILE = "search-trainings.jsonl"


class Ledger:
    """The results of jobs by what was trained; each is on the disk before `add` returns.

    The state of a model isn't kept. What follows a damaged line counts as not known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, JobResult] = {}
        drop_torn_line(path)
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else []:
            try:
                told = json.loads(line)
                name, figures = told.pop("job"), tuple(told.pop("figures"))
                self._results[name] = JobResult(**told, figures=figures)
            except (ValueError, LookupError, TypeError, AttributeError):
                os.truncate(path, whole)
                break
            whole += len(line)

    def get(self, job: Job) -> JobResult | None:
        """What came of a job, bit for bit; None if that isn't known."""
        return self._results.get(_name(job))

    def add(self, job: Job, result: JobResult) -> None:
        """Keep what came of a job."""
        told: dict[str, Any] = {item.name: getattr(result, item.name) for item in fields(result)}
        del told["state"]
        told["figures"] = [dict(epoch) for epoch in result.figures]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"job": _name(job), **told}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._results[_name(job)] = result


def _name(job: Job) -> str:
    """The same for the same training."""
    return json.dumps([job.trial, job.seed, job.epochs, dict(job.values)], sort_keys=True)
