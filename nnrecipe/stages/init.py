"""The init stage: how the initial weights treat signals and gradients, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from nnrecipe.checks import Bench
from nnrecipe.checks.signals import judge_signals
from nnrecipe.core.errors import conflict
from nnrecipe.core.findings import Finding, StageResult
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.spec import Count, Spec, kind_of
from nnrecipe.init import Init
from nnrecipe.init.scaled import KaimingNormal, XavierNormal
from nnrecipe.layers import Activation
from nnrecipe.layers.activations import Tanh
from nnrecipe.stages.run import Run
from nnrecipe.training.signals import Signal, signals

INPUT_ELEMENTS = 2**19
"""Numbers of the inputs that are looked at: 170 images of 32 x 32, 32 of 224 x 224."""


class InitStage(Spec):
    """Mean, spread, saturation and gradient of every layer before the first step.

    With `compare`, the same network is started in each of these ways, with each of the
    `activations`, and the pictures stand side by side.
    """

    source: ClassVar[str] = "lecture: weight initialization"

    kind: Literal["init"] = "init"
    examples: Count = Field(256, description="training examples that are sent through the network")
    compare: tuple[Init, ...] = Field((), description="other initial weights to show beside it")
    activations: tuple[Activation, ...] = Field(
        (), description="nonlinearities to show each of `compare` with; none: the network's own"
    )

    @model_validator(mode="after")
    def _activations_are_compared(self) -> Self:
        if self.activations and not self.compare:
            message = "nonlinearities are shown with the weights of compare, which is empty"
            raise conflict("stages.init.activations", message, "list some in compare")
        return self

    def run(self, run: Run) -> StageResult:
        """Judge the recipe's own start; show, without a verdict, those that it is compared to."""
        run.progress.begin(self.kind)
        layers = self.layers(run.bench, run.bench.make_model())
        facts: dict[str, Any] = {
            "layers": [_row(layer) for layer in layers],
            "histograms": [_histogram(layer) for layer in layers],
            "compared": self._compared(run),
        }
        _log(run, layers)
        return StageResult.of(self.kind, facts, self.findings(run.bench, layers))

    def findings(self, bench: Bench, layers: Sequence[Signal]) -> Iterator[Finding]:
        """The verdicts on a network's signals, with a look at those of weights that fit it."""

        def redrawn() -> list[Signal]:
            model = bench.make_model()
            squashing = any(layer.nonlinearity == "Tanh" for layer in layers)
            init = XavierNormal() if squashing else KaimingNormal()
            with isolated_rng(bench.seed, "redrawn"):
                init.apply(model, activation=Tanh() if squashing else None)
            return self.layers(bench, model)

        return judge_signals(layers, redrawn)

    def layers(self, bench: Bench, model: nn.Module) -> list[Signal]:
        """The signals of a model's layers on a sample of the training split.

        Of large examples it has fewer: all layers' values are kept at once.
        """
        affordable = max(32, INPUT_ELEMENTS // math.prod(bench.data.input_shape))
        batch = bench.sample(bench.data.train, min(self.examples, affordable))

        def loss_of(model: nn.Module) -> Tensor:
            return bench.loss_of(model, batch)

        return signals(model, loss_of)

    def _compared(self, run: Run) -> list[dict[str, Any]]:
        found = []
        for activation, init in product(self.activations or (None,), self.compare):
            model = run.bench.make_variant(init=init, activation=activation)
            layers = self.layers(run.bench, model)
            found.append(
                {
                    "activation": "" if activation is None else _name(activation),
                    "init": _name(init),
                    "layers": [_row(layer) for layer in layers],
                    "histograms": [_histogram(layer) for layer in layers],
                }
            )
            run.progress.advance(note=_name(init))
        return found


def _log(run: Run, layers: list[Signal]) -> None:
    """TensorBoard's page `init`: curves and histograms that run over the layers."""
    for depth, layer in enumerate(layers):
        values = {key: value for key, value in _row(layer).items() if isinstance(value, float)}
        run.logbook.layer("init", depth, values)
        run.logbook.histogram(
            "init/activations", layer.histogram, low=layer.low, high=layer.high, step=depth
        )


def _row(layer: Signal) -> dict[str, Any]:
    return {
        "path": layer.path,
        "layer": layer.layer,
        "mean": layer.mean,
        "spread": layer.std,
        "saturated": layer.saturated,
        "gradient": layer.gradient,
    }


def _histogram(layer: Signal) -> dict[str, Any]:
    return {"low": layer.low, "high": layer.high, "shares": [round(s, 4) for s in layer.histogram]}


def _name(part: Spec) -> str:
    """The kind, and the settings that were given: `normal (std 1.0)`."""
    given = part.model_dump(mode="json", include=part.model_fields_set - {"kind"})
    said = ", ".join(f"{key} {value}" for key, value in given.items())
    kind = kind_of(type(part))
    return f"{kind} ({said})" if said else kind
