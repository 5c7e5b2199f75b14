"""The transfer stage: how much data there are, how like the old ones, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from nnrecipe.checks.cost import step_flops
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.spec import Count, Spec
from nnrecipe.layers.stages import StageClassifier
from nnrecipe.stages.run import Run
from nnrecipe.training.similarity import Probe, feature_distance, probes
from nnrecipe.training.transfer import Strategy, taps

SOURCE = "lecture: transfer learning"
PROBE_FLOPS = 5e11
"""What the passes through the network may cost: some ten seconds on a core."""
FEWEST = 64
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
    With `transfer.strategy: auto` the quadrant's strategy is what is trained. Without a strategy
    the stage is left out of the walk.
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

    def run(self, run: Run) -> StageResult:
        """Measure, and where the recipe leaves it open, go on with what was found."""
        if run.transfer.strategy == "none":
            return StageResult.of(self.kind, {}, [])
        run.progress.begin(self.kind)
        found = self._measure(run)
        chosen = QUADRANTS[found.each <= self.little, found.alike]
        declared = run.transfer.strategy
        if declared == "auto":
            assert run.bench.with_strategy is not None, "made from a recipe"
            run.bench = run.bench.with_strategy(chosen)
            run.recipe = run.recipe | {
                "transfer": run.recipe["transfer"] | {"strategy": chosen},
            }
        facts = self._facts(run, found, chosen)
        return StageResult.of(self.kind, facts, [self._finding(found, chosen, declared)])

    def _measure(self, run: Run) -> _Found:
        bench = run.bench
        model = bench.make_model()
        network = model.trunk if isinstance(model, StageClassifier) else model
        cost = step_flops(bench, examples=1)
        count = min(self.examples, max(FEWEST, int(PROBE_FLOPS / max(cost, 1.0))))
        train, held = bench.sample(bench.data.train, count), bench.sample(bench.data.val, count)
        task = bench.outputs.task
        return _Found(
            each=len(bench.data.train) / bench.outputs.size,
            probes=probes(network, taps(network), train, held, task=task),
            distance=feature_distance(network, train.inputs),
            looked_at=len(train.targets),
        )

    def _facts(self, run: Run, found: _Found, chosen: Strategy) -> dict[str, Any]:
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
            "quadrant": chosen,
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
