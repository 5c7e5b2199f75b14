"""The search stage: trials from coarse to fine, and the winner for the stages that follow."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, ClassVar, Literal

import yaml

from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.spec import Spec
from nnrecipe.stages.hunt import Hunt
from nnrecipe.stages.run import Run
from nnrecipe.training.search.distributions import AnyDistribution, Choice
from nnrecipe.training.search.kinds import NoSearch
from nnrecipe.training.search.shrink import EDGE
from nnrecipe.training.search.study import Known, shown
from nnrecipe.training.search.trial import JobResult

SOURCE = "lecture: hyper-parameter search"
BEST_FILE = "best.yaml"
MANY = 0.5
"""The share of trials without an end from which the ranges are at fault."""


class SearchStage(Spec):
    """Trains trials with settings out of the `search`'s space, and goes on with the best of them.

    Without a `search` it is left out of the walk.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["search"] = "search"

    def run(self, run: Run) -> StageResult:
        """Search, train the winner with several seeds, and put its settings in the run's place."""
        spec = run.search
        if isinstance(spec, NoSearch):
            return StageResult.of(self.kind, {}, [])
        if run.learning_rate is None and "optimizer.lr" not in spec.space:
            return StageResult.of(self.kind, {}, [_no_rate()])
        hunt = Hunt(run, spec)
        with closing(hunt.tools.train):
            hunt.search()
            best = hunt.winner
            if best is None:
                return StageResult.of(self.kind, hunt.facts(), [_nothing(hunt)])
            retrained = hunt.retrain(best)
        adopt(run, hunt.values(best))
        findings = [*_judge(hunt, best), *_judge_retraining(hunt, best, retrained)]
        facts = {"winner": hunt.values(best)} | hunt.facts() | _retraining(hunt, retrained)
        return StageResult.of(self.kind, facts, findings)


def adopt(run: Run, values: Mapping[str, Any]) -> None:
    """Go on with a winner's settings; keep them as a config."""
    assert run.search_tools is not None, "a run that searches has them"
    run.adopt(run.search_tools.vary(values, run.bench.seed))
    config = {key: value for key, value in run.recipe.items() if key != "search"}
    text = yaml.safe_dump(config, sort_keys=False)
    (run.folder / BEST_FILE).write_text(f"# The winner of the search.\n{text}", encoding="utf-8")


def take_winner(run: Run, results: Sequence[StageResult]) -> None:
    """Adopt the winner of a search that was made before, or in another process, if any was."""
    for result in results:
        if result.stage == "search" and "winner" in result.facts:
            adopt(run, result.facts["winner"])


def _judge(hunt: Hunt, best: Known) -> Iterator[Finding]:
    space = hunt.spaces[best.round]
    listed = ", ".join(f"{name} {value}" for name, value in shown(space, best.drawn).items())
    trials = [trial for trial in hunt.study.all() if trial.outcome is not None]
    yield Finding(
        check="search_winner",
        verdict=Verdict.PASS,
        measured=f"{hunt.figure} {hunt.sign * hunt.score(best):.4f} with {listed}",
        expected=f"the best of {len(trials)} trials",
        source=SOURCE,
    )
    yield _judge_boundary(hunt, best)
    yield _judge_ends(trials)


def _judge_boundary(hunt: Hunt, best: Known) -> Finding:
    """Whether better values may lie beyond the last ranges."""
    space = hunt.spaces[best.round]
    at = [_edge(path, space[path], best.drawn[path]) for path in space]
    edges = [edge for edge in at if edge]
    return Finding(
        check="search_boundary",
        verdict=Verdict.WARN if edges else Verdict.PASS,
        measured=f"the best lies at the {'; the '.join(edges)}" if edges else "within its ranges",
        expected="the best within its ranges",
        advice="Better values may lie beyond: widen the range, or add a round, which does so."
        if edges
        else "",
        source=SOURCE,
    )


def _edge(path: str, distribution: AnyDistribution, value: Any) -> str:
    if isinstance(distribution, Choice):
        return ""
    place, (low, high) = distribution.position(value), distribution.ends
    if place < EDGE:
        return f"lower end of {path} ({low:.3g} ... {high:.3g})"
    return f"upper end of {path} ({low:.3g} ... {high:.3g})" if place > 1 - EDGE else ""


def _judge_ends(trials: Sequence[Known]) -> Finding:
    """Whether most settings were of any use."""
    ended = [trial.outcome.ended for trial in trials if trial.outcome is not None]
    lost = [kind for kind in ended if kind in ("exploded", "stalled", "refused")]
    many = len(lost) > MANY * len(ended)
    counts = ", ".join(f"{lost.count(kind)} {kind}" for kind in dict.fromkeys(lost))
    return Finding(
        check="search_ends",
        verdict=Verdict.WARN if many else Verdict.PASS,
        measured=f"of {len(ended)} trials {counts or 'none lost'}",
        expected=f"up to {MANY:.0%} lost",
        advice="Narrow the ranges to where trials train, or leave out what can't be combined."
        if many
        else "",
        source=SOURCE,
    )


def _judge_retraining(hunt: Hunt, best: Known, retrained: Sequence[JobResult]) -> Iterator[Finding]:
    """Whether the winner holds what it promised, with other seeds and over the whole schedule."""
    if not retrained:
        return
    scores = _scores(retrained, hunt.figure)
    lost = len(retrained) - len(scores)
    mean = statistics.fmean(scores) if scores else None
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    promised = hunt.score(best)
    worse = mean is not None and hunt.sign * mean < promised - max(2 * spread, 0.01 * abs(promised))
    measured = "no seed came to an end" if mean is None else f"{mean:.4f} (sd {spread:.4f})"
    yield Finding(
        check="search_retrained",
        verdict=Verdict.WARN if lost or worse else Verdict.PASS,
        measured=f"{hunt.figure} {measured} over {len(retrained)} seeds of the whole schedule"
        + (f", {lost} of them lost" if lost else ""),
        expected=f"about the trial's own {hunt.sign * promised:.4f}",
        advice="The trial was lucky, or its settings don't suit the whole schedule: raise "
        "search.seeds, or search with the epochs that you train for."
        if lost or worse
        else "",
        source=SOURCE,
    )


def _scores(results: Sequence[JobResult], figure: str) -> list[float]:
    return [
        result.figures[result.best][figure]
        for result in results
        if result.best is not None and result.ended == "finished"
    ]


def _retraining(hunt: Hunt, retrained: Sequence[JobResult]) -> dict[str, Any]:
    if not retrained:
        return {}
    scores = _scores(retrained, hunt.figure)
    rows: list[Mapping[str, Any]] = [
        {"seed": result.seed, "ended": result.ended}
        | (dict(result.figures[result.best]) if result.best is not None else {})
        for result in retrained
    ]
    found: dict[str, Any] = {"retrained": rows}
    if scores:
        found["retrained_mean"] = statistics.fmean(scores)
        found["retrained_sd"] = statistics.stdev(scores) if len(scores) > 1 else None
    return found


def _no_rate() -> Finding:
    return Finding(
        check="learning_rate",
        verdict=Verdict.FAIL,
        measured="none: the lr_probe stage found no rate at which the loss falls",
        expected="a learning rate",
        advice="Give optimizer.lr a number, or name it in search.space.",
        source=SOURCE,
    )


def _nothing(hunt: Hunt) -> Finding:
    trials = [trial.outcome for trial in hunt.study.all() if trial.outcome is not None]
    kinds = [outcome.ended for outcome in trials]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    reason = next((outcome.reason for outcome in trials if outcome.reason), "")
    return Finding(
        check="search_winner",
        verdict=Verdict.FAIL,
        measured=f"no trial came to its end: {counts or 'none was trained'}"
        + (f" ({reason})" if reason else ""),
        expected="at least one",
        advice="Draw from lower learning rates and weaker regularization, or give it more minutes.",
        source=SOURCE,
    )
