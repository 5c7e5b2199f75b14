"""A search in progress: it draws trials, has them trained, and keeps what came of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import derive_seed
from nnrecipe.stages.run import Run, SearchTools
from nnrecipe.training.checkpoint import save_checkpoint
from nnrecipe.training.course import SMALLER_IS_BETTER
from nnrecipe.training.ensembles import TopTrials
from nnrecipe.training.search.distributions import AnyDistribution, Choice
from nnrecipe.training.search.kinds import AnySearch, Round, Space
from nnrecipe.training.search.ledger import LEDGER_FILE, Ledger
from nnrecipe.training.search.shrink import Change, Ranked, next_space
from nnrecipe.training.search.study import Known, Outcome, Study, names, settings, shown
from nnrecipe.training.search.trial import Job, JobResult

JOURNAL = "search.journal"
LISTED = 10
"""The best trials that are listed."""
SHORT = {"val_accuracy": "val_acc"}
"""What the lecture's slides call a figure."""


@dataclass
class Hunt:
    """A search in progress."""

    run: Run
    spec: AnySearch
    spaces: list[Space] = field(default_factory=list)
    changes: list[list[Change]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    cut: bool = False

    def __post_init__(self) -> None:
        assert self.run.search_tools is not None, "a run that searches has them"
        self.tools: SearchTools = self.run.search_tools
        seed, path = self.run.bench.seed, self.run.folder / JOURNAL
        self.study = Study(path, self.spec, seed=seed, maximize=self.sign > 0)
        self.ledger = Ledger(self.run.folder / LEDGER_FILE)

    @property
    def figure(self) -> str:
        """What trials are judged by."""
        return self.run.training.select_by

    @property
    def sign(self) -> int:
        """1 where more of the figure is better, else -1."""
        return -1 if self.figure.removeprefix("val_") in SMALLER_IS_BETTER else 1

    @property
    def seeds(self) -> list[int]:
        """Those of each trial: the recipe's, and others that follow from it."""
        first = self.run.bench.seed
        return [first, *(derive_seed(first, "search", i) for i in range(1, self.spec.seeds))]

    @property
    def winner(self) -> Known | None:
        """The best finished trial among those of the longest rounds."""
        finished = self.finished(self.study.all())
        if not finished:
            return None
        longest = max(self.spec.rounds[trial.round].epochs for trial in finished)
        return max(
            (t for t in finished if self.spec.rounds[t.round].epochs == longest), key=self.score
        )

    def finished(self, trials: Sequence[Known]) -> list[Known]:
        """Those that came to their end with a figure."""
        return [
            trial
            for trial in trials
            if trial.outcome is not None
            and trial.outcome.ended == "finished"
            and trial.outcome.score is not None
        ]

    def score(self, trial: Known) -> float:
        """The figure of a finished trial, with its sign turned so that more is better."""
        assert trial.outcome is not None, "it is finished"
        assert trial.outcome.score is not None, "it is finished"
        return self.sign * trial.outcome.score

    def values(self, trial: Known) -> dict[str, Any]:
        """The config's values of a trial; what was left open is as earlier stages found it."""
        found: dict[str, Any] = {}
        if self.run.bench.learning_rate is None:
            found["optimizer.lr"] = self.run.learning_rate
        if self.run.transfer.strategy == "auto":
            found["transfer.strategy"] = self.run.recipe["transfer"]["strategy"]
        return found | settings(self.spaces[trial.round], trial.drawn)

    def search(self) -> None:
        """All rounds, from the coarse to the fine, until the time is up."""
        total = sum(part.trials for part in self.spec.rounds)
        self.run.progress.begin("search", total=total)
        space: Space = self.spec.space
        for number, part in enumerate(self.spec.rounds):
            if number:
                ranked = [
                    Ranked(trial.drawn, self.score(trial))
                    for trial in self.finished(self.study.trials(number - 1))
                ]
                changes = next_space(space, ranked, self.admits)
                space = {change.path: change.after for change in changes}
                self.changes.append(changes)
                for change in changes:
                    self.run.progress.say(change.text())
            self.spaces.append(space)
            self.round(number, part, space)
            if self.cut:
                break

    def admits(self, path: str, distribution: AnyDistribution) -> bool:
        """Whether the config takes both ends of a range."""
        assert not isinstance(distribution, Choice), "choices have no ends"
        try:
            for end in distribution.ends:
                self.tools.vary({path: distribution.setting(end)}, self.run.bench.seed)
        except UserError:
            return False
        return True

    def round(self, number: int, part: Round, space: Space) -> None:
        """Draw and train the trials of a round, as far as they are not known already.

        Those that are drawn together are gone through together, also where a search that was cut
        off knows some of them: so the others come out as they would have.
        """
        for trial in self.study.trials(number):  # of a search that was cut off
            if trial.outcome is not None:
                self.log(trial, trial.outcome)
        at_once = self.spec.at_once or part.trials
        for first in range(0, part.trials, at_once):
            self.study.draw(number, space, min(first + at_once, part.trials))
            batch = self.study.trials(number)[first : first + at_once]
            if any(trial.outcome is None for trial in batch):
                self.train(batch, part)
            if self.cut:
                return

    def train(self, batch: Sequence[Known], part: Round) -> None:
        """Train trials; with halving, ever fewer of them for ever longer."""
        waiting = batch
        halving = self.spec.halving
        rungs = [part.epochs] if halving is None else halving.rungs(part.epochs)
        for rung in rungs:
            last = rung == part.epochs
            reached = dict(self.outcomes(waiting, part, rung, tell=last))
            if last or self.cut or halving is None:
                return
            fit = [t for t in waiting if t.number in reached and _scored(reached[t.number])]
            fit.sort(key=lambda t: self.sign * (reached[t.number].score or 0.0), reverse=True)
            kept = fit[: max(1, len(waiting) // halving.factor)]
            for trial in waiting:
                if trial not in kept and trial.number in reached and trial.outcome is None:
                    outcome = reached[trial.number]
                    ended = "halved" if outcome.ended == "finished" else outcome.ended
                    self.tell(trial, replace(outcome, ended=ended))
            waiting = kept

    def outcomes(
        self, waiting: Sequence[Known], part: Round, epochs: int, *, tell: bool
    ) -> Iterator[tuple[int, Outcome]]:
        """Train trials for so many epochs of the round's; each as soon as all its seeds are."""
        jobs = [
            Job(
                trial=trial.number,
                values=self.values(trial) | {"training.epochs": part.epochs},
                seed=seed,
                epochs=epochs,
                keep_state=self.kept > 0 and tell and seed == self.seeds[0],
            )
            for seed in self.seeds
            for trial in waiting
        ]
        by_number = {trial.number: trial for trial in waiting}
        results: dict[int, list[JobResult]] = {}
        for result in self.trained(jobs):
            mine = results.setdefault(result.trial, [])
            mine.append(result)
            if len(mine) == len(self.seeds):
                outcome = _outcome(mine, self.figure, seeds=self.seeds)
                if tell and by_number[result.trial].outcome is None:
                    self.keep(result.trial, outcome, mine)
                    self.tell(by_number[result.trial], outcome)
                yield result.trial, outcome
                if self.out_of_time():
                    self.cut = True
                    return

    def trained(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """What comes of the jobs; first what is known from before the search was cut off.

        A job whose model is to be kept is known only when its trial has been told.
        """
        told = {trial.number for trial in self.study.all() if trial.outcome is not None}
        known = {
            (job.trial, job.seed): result
            for job in jobs
            if (result := self.ledger.get(job)) and (job.trial in told or not job.keep_state)
        }
        yield from known.values()
        due = {(job.trial, job.seed): job for job in jobs if (job.trial, job.seed) not in known}
        if due:
            every = [replace(job, known=(job.trial, job.seed) in known) for job in jobs]
            for result in self.tools.train(every):
                self.ledger.add(due[result.trial, result.seed], result)
                yield result

    @property
    def kept(self) -> int:
        """The best trials whose models are kept, for an ensemble of them."""
        ensemble = self.run.ensemble
        return ensemble.size if isinstance(ensemble, TopTrials) else 0

    def keep(self, number: int, outcome: Outcome, results: Sequence[JobResult]) -> None:
        """Keep a trial's model while it is among the best, in place of one that no longer is."""
        state = next((result.state for result in results if result.state is not None), None)
        if state is None or not _scored(outcome):
            return
        self.run.checkpoints.mkdir(exist_ok=True)
        save_checkpoint(self.run.trial_path(number + 1), {"model": dict(state)})
        others = sorted(self.finished(self.study.all()), key=self.score, reverse=True)
        for trial in others[self.kept :]:
            self.run.trial_path(trial.number + 1).unlink(missing_ok=True)

    def out_of_time(self) -> bool:
        """Whether `minutes` have passed since the search began."""
        limit = self.spec.minutes
        return limit is not None and time.monotonic() - self.begun > 60 * limit

    def tell(self, trial: Known, outcome: Outcome) -> None:
        """Put a trial on disk, on the screen and into TensorBoard."""
        self.study.tell(trial, outcome)
        space, part = self.spaces[trial.round], self.spec.rounds[trial.round]
        place = 1 + [t.number for t in self.study.trials(trial.round)].index(trial.number)
        drawn = shown(space, trial.drawn)
        listed = ", ".join(f"{name}: {value}" for name, value in drawn.items())
        score = "-" if outcome.score is None else f"{outcome.score:.6f}"
        ended = "" if outcome.ended == "finished" else f" {outcome.ended}"
        figure = SHORT.get(self.figure, self.figure)
        line = f"{figure}: {score}, {listed}, ({place} / {part.trials}){ended}"
        self.run.progress.say(line)
        self.run.progress.advance(1)
        self.log(trial, outcome)

    def log(self, trial: Known, outcome: Outcome) -> None:
        """Put a trial into TensorBoard."""
        settings = {"round": trial.round + 1, **_numbers(self.spaces[trial.round], trial)}
        curve, score = outcome.curve, outcome.score
        self.run.logbook.trial(
            trial.number, settings=settings, figure=self.figure, curve=curve, score=score
        )

    def retrain(self, best: Known) -> list[JobResult]:
        """The winner over the recipe's whole schedule, with several seeds."""
        first, count = self.run.bench.seed, self.spec.retrain
        seeds = [first, *(derive_seed(first, "retrain", i) for i in range(1, count))][:count]
        values, epochs = self.values(best), self.run.training.epochs
        jobs = [Job(best.number, values, seed=seed, epochs=epochs) for seed in seeds]
        return sorted(self.trained(jobs), key=lambda result: seeds.index(result.seed))

    def facts(self) -> dict[str, Any]:
        """The search in figures."""
        trials = self.study.all()
        finished = sorted(self.finished(trials), key=self.score, reverse=True)
        ended = [trial.outcome.ended for trial in trials if trial.outcome is not None]
        return {
            "kind": self.spec.kind,
            "engine": self.spec.engine.kind,
            "figure": self.figure,
            "trials": len(ended),
            "of": sum(part.trials for part in self.spec.rounds),
            "ended": {kind: ended.count(kind) for kind in dict.fromkeys(ended)},
            "out_of_time": self.cut,
            "best": [self._row(trial) for trial in finished[: max(LISTED, self.kept)]],
            "ranges": [
                {"round": number, **change.facts()}
                for number, changes in enumerate(self.changes, start=2)
                for change in changes
            ],
            "importance": self._importance(),
            "scales": self._scales(),
            "all_trials": [self._row(trial) for trial in trials if trial.outcome is not None],
            "epochs": [part.epochs for part in self.spec.rounds],
        }

    def _importance(self) -> dict[str, float]:
        called = names(self.spec.space)
        return {called[path]: share for path, share in self.study.importance(self.spaces).items()}

    def _scales(self) -> dict[str, str]:
        """How each setting's axis is to be drawn."""
        called = names(self.spec.space)
        return {called[path]: spec.scale for path, spec in self.spec.space.items()}

    def _row(self, trial: Known) -> dict[str, Any]:
        assert trial.outcome is not None, "it has ended"
        space, outcome = self.spaces[trial.round], trial.outcome
        called = names(space)
        drawn = {called[path]: value for path, value in trial.drawn.items()}
        row = {"trial": trial.number + 1, "round": trial.round + 1, self.figure: outcome.score}
        return {**row, **drawn, "ended": outcome.ended}


def _scored(outcome: Outcome) -> bool:
    return outcome.ended == "finished" and outcome.score is not None


def _numbers(space: Space, trial: Known) -> dict[str, float | str]:
    called = names(space)
    return {called[path]: value for path, value in trial.drawn.items()}


def _outcome(results: Sequence[JobResult], figure: str, *, seeds: Sequence[int]) -> Outcome:
    """One trial's results with all its seeds, as a whole: it has ended as the worst of them."""
    ordered = sorted(results, key=lambda result: seeds.index(result.seed))
    broken = next((result for result in ordered if result.ended != "finished"), None)
    curves = [[epoch[figure] for epoch in r.figures if figure in epoch] for r in ordered]
    best = [r.figures[r.best] for r in ordered if r.best is not None]
    whole = len(best) == len(ordered)
    return Outcome(
        ended="finished" if broken is None else broken.ended,
        score=statistics.fmean(epoch[figure] for epoch in best) if whole else None,
        figures=_means(best) if whole else {},
        curve=[statistics.fmean(points) for points in zip(*curves, strict=False)],
        epochs=min(len(result.figures) for result in ordered),
        seconds=sum(result.seconds for result in ordered),
        reason="" if broken is None else broken.reason,
    )


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
