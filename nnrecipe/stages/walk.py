"""The walk through the stages, and the gate that ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import StageResult, Verdict
from nnrecipe.core.seeding import derive_seed, isolated_rng
from nnrecipe.stages.run import Run
from nnrecipe.stages.search import take_winner
from nnrecipe.stages.transfer import take_strategy


def walk(run: Run, stages: Sequence[Any], *, gates: Sequence[str]) -> Iterator[StageResult]:
    """Run the stages in turn; each result is also in `run.results` when it is yielded.

    Results that are there already, from an earlier part of the run, are of the first stages, which
    are not run again. A stage draws from seeds of its own: it comes out the same either way.
    A failed stage whose kind is among the `gates` ends the walk, but for the diagnosis, which is
    due then more than ever.
    """
    stopped, known = False, list(run.results)
    for stage in stages:
        if stopped and stage.kind != "diagnosis":
            continue
        if known:
            result = known.pop(0)
        else:
            result = run.own.located(_timed(stage, run))
            run.results.append(result)
            yield result
        stopped = stopped or _must_stop(result, gates)


def settle(run: Run, results: Sequence[StageResult]) -> None:
    """What stages that ran before, or in another process, have settled for those that follow."""
    take_strategy(run, results)
    take_winner(run, results)


def _must_stop(result: StageResult, gates: Sequence[str]) -> bool:
    """Whether the later stages are not to run.

    Going on is of no use, whatever the gates, where labels have no output: there is no loss then.
    """
    if result.verdict is not Verdict.FAIL:
        return False
    if any(finding.cause is Cause.WRONG_OUTPUT_SIZE for finding in result.findings):
        return True
    return result.stage in gates


def _together(stage: Any, run: Run) -> StageResult:
    """Run a stage: training in all processes, any other in the first, whose word goes for all."""
    if run.world.is_alone:
        made: StageResult = stage.run(run)
        return made
    found: StageResult | None = (
        stage.run(run) if run.world.is_first or stage.kind == "train" else None
    )
    told = run.world.from_first((found, run.metrics, run.suggested_rate))
    result, run.metrics, run.suggested_rate = told
    assert result is not None, "the first process has one"
    if not run.world.is_first:
        settle(run, [result])
    return result


def _timed(stage: Any, run: Run) -> StageResult:
    started = time.perf_counter()
    run.progress.begin(stage.kind)
    seed = run.bench.seed
    with isolated_rng(seed, "stage", stage.kind):
        run.bench.data.restart(derive_seed(seed, "stage", stage.kind))
        result = _together(stage, run)
    result = result.model_copy(update={"seconds": round(time.perf_counter() - started, 3)})
    run.progress.end(result)
    return result
