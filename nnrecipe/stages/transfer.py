"""The transfer stage: how much data there are, how like the old ones, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any, ClassVar, Literal

from pydantic import Field

from nnrecipe.checks import Bench
from nnrecipe.checks.cost import step_flops
from nnrecipe.core.device import evaluation_batch
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.spec import Count, NonNegativeInt, Spec
from nnrecipe.layers.stages import StageClassifier
from nnrecipe.stages.run import Run
from nnrecipe.training.evaluate import evaluate
from nnrecipe.training.similarity import Probe, feature_distance, probes
from nnrecipe.training.steps import train_steps
from nnrecipe.training.transfer import Strategy, taps

SOURCE = "lecture: transfer learning"
PROBE_FLOPS = 5e11
"""What the passes through the network may cost: some ten seconds on a core."""
FEWEST = 64
TRIAL_FLOPS = 1.5e12
"""What a strategy's trial may cost: some twenty seconds on a core."""
FEWEST_STEPS = 20
USUAL_RATE = 0.01
"""The rate of a trial where the recipe's is still to be found."""
DIFFERENT = 0.02
"""By so much may a probe of an earlier depth beat the last one where the data are alike."""
FAR = 1.0
"""From this distance of the features on the data are different, in spreads of the old ones."""

QUADRANTS: dict[tuple[bool, bool], Strategy] = {
    (True, True): "linear_probe",
    (False, True): "last_n",
    (True, False): "stages",
    (False, False): "full",
}
"""(little data, alike) -> strategy."""

TRAINS: dict[Strategy, str] = {
    "linear_probe": "a linear classifier on top",
    "last_n": "the last few layers",
    "stages": "a linear classifier on features from several depths",
    "full": "all layers",
}


class TransferStage(Spec):
    """Measures both axes of the lecture's quadrants, and names the one that the data are in.

    How much: training examples of a class, or for each output. How alike: whether the last depth's
    features serve a linear probe best, and how far the features lie from those of the old data.
    With `transfer.strategy: auto` that quadrant's strategy is trained, unless a short training by
    another comes out ahead on the validation split. Without a strategy the stage is left out of the
    walk.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["transfer"] = "transfer"
    little: Count = Field(
        100,
        description="training examples of a class, or for each output, up to which it is little",
    )
    examples: Count = Field(
        1000, description="examples of the training and of the validation split to look at, at most"
    )
    trial: NonNegativeInt = Field(
        200,
        description="steps that auto tries each strategy for; fewer or none of an expensive "
        "network; 0: take the quadrant's untried",
    )

    def run(self, run: Run) -> StageResult:
        """Measure, and where the recipe leaves it open, go on with what was found."""
        if run.transfer.strategy == "none":
            return StageResult.of(self.kind, {}, [])
        run.progress.begin(self.kind)
        found = self._measure(run)
        quadrant = QUADRANTS[found.each <= self.little, found.alike]
        facts = self._facts(run, found) | {"quadrant": quadrant}
        declared = run.transfer.strategy
        findings = [self._finding(found, quadrant, declared)]
        if declared == "auto":
            trials = self._trials(run)
            chosen = _ahead(trials, quadrant)
            facts |= {"trials": trials, "strategy": chosen}
            findings += [_tried(trials, quadrant, chosen)] if trials else []
            _adopt(run, chosen)
        return StageResult.of(self.kind, facts, findings)

    def _trials(self, run: Run) -> dict[Strategy, float]:
        """The validation accuracy, or R2, after a short training by each strategy."""
        size = run.training.batch_size
        affordable = int(TRIAL_FLOPS / max(step_flops(run.bench, examples=size), 1.0))
        steps = min(self.trial, affordable)
        if steps < min(FEWEST_STEPS, self.trial) or not steps:
            return {}
        found: dict[Strategy, float] = {}
        for strategy in TRAINS:
            found[strategy] = _trained(run, _under(run.bench, strategy), steps)
            run.progress.advance(note=strategy)
        return found

    def _measure(self, run: Run) -> _Found:
        bench = run.bench
        model = bench.make_model()
        network = model.trunk if isinstance(model, StageClassifier) else model
        cost = step_flops(bench, examples=1)
        size = min(self.examples, max(FEWEST, int(PROBE_FLOPS / max(cost, 1.0))))
        train, held = bench.sample(bench.data.train, size), bench.sample(bench.data.val, size)
        task = bench.outputs.task
        return _Found(
            each=len(bench.data.train) / bench.outputs.size,
            probes=probes(network, taps(network), train, held, task=task),
            distance=feature_distance(network, train.inputs),
            looked_at=len(train.targets),
        )

    def _facts(self, run: Run, found: _Found) -> dict[str, Any]:
        pretrained = run.bench.pretrained
        assert pretrained is not None, "a strategy has weights to go on from"
        return {
            "weights": pretrained.source,
            "replaced": list(pretrained.replaced),
            "examples_for_each_output": found.each,
            "probes": [
                {"depth": probe.path, "features": probe.features, found.score: probe.score}
                for probe in found.probes
            ],
            "looked_at": found.looked_at,
            "feature_distance": found.distance,
            "amount": "little" if found.each <= self.little else "much",
            "similarity": "alike" if found.alike else "different",
        }

    def _finding(self, found: _Found, chosen: Strategy, declared: Strategy) -> Finding:
        amount = "little" if found.each <= self.little else "much"
        alike = "alike" if found.alike else "different"
        distance = "unknown" if found.distance is None else f"{found.distance:.2f}"
        other = declared not in ("auto", chosen)
        return Finding(
            check="transfer_quadrant",
            verdict=Verdict.PASS,
            measured=f"{amount} data ({found.each:.4g} examples for each output), {alike} "
            f"(a linear probe reaches {found.last.score:.3f} on {found.last.path}, "
            f"{found.best.score:.3f} on {found.best.path}; distance of the features {distance})",
            expected=f"for these {chosen}: {TRAINS[chosen]}",
            advice=f"The recipe says {declared}; try transfer.strategy={chosen} too."
            if other
            else "",
            source=SOURCE,
        )


def _adopt(run: Run, strategy: Strategy) -> None:
    """Go on with a strategy."""
    run.bench = _under(run.bench, strategy)
    run.recipe = run.recipe | {"transfer": run.recipe["transfer"] | {"strategy": strategy}}


def take_strategy(run: Run, results: Sequence[StageResult]) -> None:
    """Adopt what `auto` came to before, or in another process, if it did."""
    for result in results:
        if result.stage == "transfer" and "strategy" in result.facts:
            _adopt(run, result.facts["strategy"])


def _under(bench: Bench, strategy: Strategy) -> Bench:
    assert bench.with_strategy is not None, "made from a recipe"
    return bench.with_strategy(strategy)


def _trained(run: Run, bench: Bench, steps: int) -> float:
    """The first figure of a model on the validation split, after so many steps from the weights."""
    data, size = bench.data, run.training.batch_size
    with isolated_rng(bench.seed, "transfer"):
        model = bench.make_model()
        schedule = run.scheduler.build(steps, steps_per_epoch=steps)
        setup = bench.setup(model, lr=bench.learning_rate or USUAL_RATE, schedule=schedule)
        order = generator(bench.seed, "transfer")
        epochs = (data.training_batches(size, generator=order) for _ in count())
        for _ in train_steps(setup, islice(chain.from_iterable(epochs), steps)):
            pass
    batches = data.batches(data.val, evaluation_batch(run.device))
    ended = evaluate(
        model, batches, bench.make_loss(), outputs=bench.outputs, precision=bench.precision
    )
    _, figure = ended.headline
    return figure if math.isfinite(figure) else 0.0


def _ahead(trials: dict[Strategy, float], quadrant: Strategy) -> Strategy:
    """The best strategy in the trials; the quadrant's if it is no worse, or nothing was tried."""
    best = max(trials.values(), default=-math.inf)
    if trials.get(quadrant, best) >= best:
        return quadrant
    return next(strategy for strategy, figure in trials.items() if figure == best)


def _tried(trials: dict[Strategy, float], quadrant: Strategy, chosen: Strategy) -> Finding:
    shown = ", ".join(f"{strategy} {figure:.3f}" for strategy, figure in trials.items())
    taken = f"{chosen}, ahead of the quadrant's {quadrant}"
    return Finding(
        check="transfer_trials",
        verdict=Verdict.PASS,
        measured=f"{shown} in validation after a short training",
        expected=f"taken: {chosen}, the quadrant's" if chosen == quadrant else f"taken: {taken}",
        source=SOURCE,
    )


@dataclass(frozen=True)
class _Found:
    """The examples for each output, the probes by depth, the inputs first, and the distance."""

    each: float
    probes: list[Probe]
    distance: float | None
    looked_at: int

    @property
    def last(self) -> Probe:
        """The probe of the deepest features."""
        return self.probes[-1]

    @property
    def best(self) -> Probe:
        """The best of all probes; of equals the deepest."""
        return max(reversed(self.probes), key=lambda probe: probe.score)

    @property
    def alike(self) -> bool:
        """Whether the deepest features serve best, and lie where they did."""
        near = self.distance is None or self.distance < FAR
        return near and self.last.score >= self.best.score - DIFFERENT

    @property
    def score(self) -> str:
        """What the probes' figure is called."""
        return "accuracy"
