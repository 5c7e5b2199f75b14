"""The diagnosis: experiments that tell apart what the other stages' findings leave open."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from nnrecipe.checks.cost import step_flops
from nnrecipe.checks.experiments import (
    SUSPECTS,
    Experiment,
    Removal,
    Scene,
    Suspect,
    judge_experiments,
)
from nnrecipe.checks.experiments.verdicts import HELPS
from nnrecipe.checks.history import LEAST_STEPS
from nnrecipe.checks.reference import judge_against_reference
from nnrecipe.core.diagnosis import ACCOUNTS_FOR, OUTCOMES
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.spec import Count, NonNegativeFloat, Spec
from nnrecipe.stages.run import Run
from nnrecipe.training.trial import Conditions, try_out

SOURCE = "lecture: babysitting the learning process"
MOST_STEPS, FEWEST_STEPS = 120, 20
TRIAL_FLOPS = 4e11
"""What a trial of more than the fewest steps may cost: some seconds on two cores."""
PROVED = 0.9
"""The confidence of a failed check that leaves no question open."""
FALLBACK_RATE = 0.01
"""Where the recipe leaves the rate to a probe that found none, or didn't run."""
OUTCOME_STAGES = frozenset({"overfit", "lr_probe", "train", "evaluate"})
"""The stages in which a network is trained, or what was trained is judged."""


class DiagnosisStage(Spec):
    """Repeats a short training with one suspect removed at a time, where something is wrong.

    Where nothing is, nothing is computed. It runs even if an earlier stage has ended the walk.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["diagnosis"] = "diagnosis"
    budget: NonNegativeFloat = Field(
        60.0, description="seconds for experiments, about; 0 makes none"
    )
    steps: Count | None = Field(
        None, description="optimizer steps of an experiment; null: 120, or fewer of a large network"
    )

    def run(self, run: Run) -> StageResult:
        """Compare with the reference, then experiment on what is suspected."""
        compared = judge_against_reference(
            run.results, run.metrics, examples=len(run.bench.data.val)
        )
        findings = [] if compared is None else [compared]
        symptoms = [f for f in _findings(run, findings) if f.verdict is not Verdict.PASS]
        behind = compared is not None and compared.verdict is not Verdict.PASS
        failed = _has_failed(run) or (behind and not _is_short(run))
        suspects = list(_suspects(symptoms, failed=failed)) if self.budget else []
        facts: dict[str, Any] = {"budget": self.budget, "spent": 0.0}
        if suspects:
            run.progress.begin(self.kind, total=len(suspects) + 1)
            with isolated_rng(run.bench.seed, self.kind):
                facts, found = self._experiment(run, suspects, failed=failed)
            findings += found
        if not findings:
            findings.append(_none_made(symptoms))
        return StageResult.of(self.kind, facts, findings)

    def _experiment(
        self, run: Run, suspects: list[Suspect], *, failed: bool
    ) -> tuple[dict[str, Any], list[Finding]]:
        started = time.perf_counter()
        scene = self._scene(run)
        before = _outcome(scene, scene.conditions())
        run.progress.advance(note="as it is")
        done: list[Experiment] = []
        for suspect in suspects:
            begun = time.perf_counter()
            longest = max((experiment.seconds for experiment in done), default=0.0)
            if begun - started + longest > self.budget:
                break
            removal, after = _without(suspect, scene)
            if removal is not None:
                done.append(Experiment(suspect, removal, after, time.perf_counter() - begun))
            run.progress.advance(note=suspect.label)
        facts = {
            "baseline": before,
            "steps": scene.steps,
            "budget": self.budget,
            "spent": time.perf_counter() - started,
            "experiments": [_row(experiment, before) for experiment in done],
        }
        judged = judge_experiments(done, before=before, failed=failed, steps=scene.steps)
        return facts, list(judged)

    def _scene(self, run: Run) -> Scene:
        bench = run.bench
        cost = step_flops(bench, examples=bench.batch_size)
        affordable = min(MOST_STEPS, max(FEWEST_STEPS, int(TRIAL_FLOPS / max(cost, 1))))
        return Scene(
            bench=bench,
            rate=run.learning_rate or FALLBACK_RATE,
            suggested=run.suggested_rate,
            schedule=run.schedule,
            steps=self.steps or affordable,
        )


def _without(suspect: Suspect, scene: Scene) -> tuple[Removal | None, float]:
    """The conditions without the suspect, and the skill reached; None where that can't be tried.

    A network of the user's may not run under changed conditions, in larger batches say.
    """
    try:
        removal = suspect.remove(scene)
        return removal, 0.0 if removal is None else _outcome(scene, removal.conditions)
    except (RuntimeError, ValueError, IndexError):
        return None, 0.0


def _outcome(scene: Scene, conditions: Conditions) -> float:
    return try_out(conditions, scene.held, outputs=scene.bench.outputs)


def _findings(run: Run, more: list[Finding]) -> Iterator[Finding]:
    for result in run.results:
        yield from result.findings
    yield from more


def _has_failed(run: Run) -> bool:
    """Whether some training, of a few examples or of all, has failed."""
    return any(
        finding.verdict is Verdict.FAIL
        for result in run.results
        if result.stage in OUTCOME_STAGES
        for finding in result.findings
    )


def _is_short(run: Run) -> bool:
    """Whether the training is over before a model could be expected to be good."""
    return run.steps_per_epoch * run.training.epochs < LEAST_STEPS


def _suspects(symptoms: list[Finding], *, failed: bool) -> Iterator[Suspect]:
    """Those named by a symptom or that account for one; all, where a training has failed.

    Where a proof explains the symptoms, there is nothing left to find out.
    """
    proved = [f for f in symptoms if f.verdict is Verdict.FAIL and f.confidence >= PROVED]
    if any(f.cause is not None and f.cause not in OUTCOMES for f in proved):
        return
    named = {finding.cause for finding in symptoms if finding.cause is not None}
    first = [suspect for suspect in SUSPECTS if suspect.causes & named]
    yield from first
    for suspect in SUSPECTS:
        behind = any(ACCOUNTS_FOR.get(cause, frozenset()) & named for cause in suspect.causes)
        if suspect not in first and (failed or behind):
            yield suspect


def _row(experiment: Experiment, before: float) -> dict[str, Any]:
    gain = experiment.after - before
    return {
        "experiment": experiment.suspect.label,
        "cause": str(experiment.cause),
        "figure": "skill",
        "before": before,
        "after": experiment.after,
        "seconds": experiment.seconds,
        "verdict": "helps" if gain >= HELPS else "worse" if gain <= -HELPS else "no change",
    }


def _none_made(symptoms: list[Finding]) -> Finding:
    return Finding(
        check="experiments",
        verdict=Verdict.PASS,
        measured="none made: " + ("the findings name their causes" if symptoms else "no symptoms"),
        expected="experiments only where a cause is open",
        source=SOURCE,
    )
