"""What a recipe keeps from an earlier training, and how it trains the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnrecipe.core.depth import Level, levels
from nnrecipe.core.errors import conflict
from nnrecipe.core.parameters import ParameterRule, standard_rules
from nnrecipe.core.spec import Count, Spec
from nnrecipe.layers.norms import hold_statistics
from nnrecipe.layers.stages import StageClassifier

Strategy = Literal["none", "auto", "linear_probe", "last_n", "stages", "full"]

TAPS = 4
"""Depths at which features are looked at."""


class TransferSpec(Spec):
    """Which parameters stay as they are, and how the others go on from pretrained weights.

    The strategies are the lecture's: a linear classifier on top (linear_probe), the last few layers
    (last_n), a linear classifier on features from several depths (stages), or all layers (full).
    `auto` takes the one that the transfer stage finds right. A layer here is a residual block or
    any other block of a library's network, with the norm after it.
    """

    source: ClassVar[str] = "lecture: transfer learning"

    freeze: tuple[str, ...] = Field(
        (), description="regular expressions over parameter paths; what they match is not trained"
    )
    strategy: Strategy = Field(
        "none",
        description="what is trained of a pretrained network; none: all, and nothing is said",
    )
    layers: Count = Field(2, description="layers or blocks that last_n trains, the head included")
    lr_decay: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        1.0, description="factor on the learning rate for each layer further from the head"
    )
    unfreeze: Count | None = Field(
        None,
        description="epochs after which one layer more is trained, from the head on; null: all at "
        "once",
    )
    batch_norm: Literal["auto", "frozen", "train"] = Field(
        "auto",
        description="whose statistics stay: auto: of frozen layers; frozen: all; train: none",
    )

    @field_validator("freeze")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for index, pattern in enumerate(patterns):
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                message = f"{pattern!r} is no regular expression: {error}"
                remedy = "it is searched for in parameters' paths, such as features.0.weight"
                raise conflict(f"transfer.freeze.{index}", message, remedy) from error
        return patterns

    @model_validator(mode="after")
    def _has_a_strategy_to_set(self) -> Self:
        plain = TransferSpec.model_construct(freeze=self.freeze)
        if self.strategy == "none" and self.model_dump() != plain.model_dump():
            message = "none, and settings of a strategy beside it"
            raise conflict("transfer.strategy", message, "name a strategy, or leave them out")
        return self

    def arrange(self, model: nn.Module, x: Tensor, *, outputs: int) -> nn.Module:
        """The network in the form that the strategy trains; `x: [N, ...]` are inputs to run it on.

        Batch norms whose statistics stay are in eval mode from now on.
        """
        if self.strategy == "stages":
            return StageClassifier(model, taps(model), x, outputs=outputs)
        for norm in self._plan(model).norms:
            hold_statistics(norm)
        return model

    def rules(self, model: nn.Module) -> list[ParameterRule]:
        """How each parameter of the arranged model is trained."""
        plan = self._plan(model)
        held = {f"transfer: {self.strategy}": plan.held} if plan.held else {}
        return standard_rules(model, self.freeze, held=held, scales=plan.scales)

    def thaw(self, model: nn.Module, epoch: int) -> None:
        """Let the layers train whose turn has come in this epoch, and no others; 1 is the first."""
        if self.unfreeze is None:
            return
        turns = 1 + (epoch - 1) // self.unfreeze
        for turn, level in enumerate(self._plan(model).trained):
            for path in level:
                model.get_parameter(path).requires_grad_(turn < turns)

    def _plan(self, model: nn.Module) -> _Plan:
        if isinstance(model, StageClassifier):
            paths = [path for path, _ in model.named_parameters()]
            held = tuple(path for path in paths if path.startswith("trunk."))
            return _Plan(held=held, trained=[tuple(p for p in paths if p not in held)])
        if self.strategy == "none":
            return _Plan()
        found = levels(model)
        count = {"linear_probe": 1, "last_n": self.layers}.get(self.strategy, len(found))
        still, trained = found[:-count], found[::-1][:count]
        scales: dict[float, tuple[str, ...]] = {}
        for depth, level in enumerate(trained):
            if depth and self.lr_decay < 1:
                scales[self.lr_decay**depth] = level.parameters
        paths = [path for path, _ in model.named_parameters()]
        declared = {p for p in paths if any(re.search(pattern, p) for pattern in self.freeze)}
        return _Plan(
            held=tuple(p for level in still for p in level.parameters if p not in declared),
            scales=scales,
            norms=self._norms(model, still),
            trained=[tuple(p for p in level.parameters if p not in declared) for level in trained],
        )

    def _norms(self, model: nn.Module, still: list[Level]) -> list[_BatchNorm]:
        """The batch norms whose statistics stay."""
        roots = [model] if self.batch_norm == "frozen" else []
        if self.batch_norm == "auto":
            roots = [model.get_submodule(path) for level in still for path in level.modules]
        modules = [module for root in roots for module in root.modules()]
        return [module for module in modules if isinstance(module, _BatchNorm)]


@dataclass(frozen=True)
class _Plan:
    """What is held, and what trains.

    `held` has the paths of parameters that stay, `scales` of those at another rate by the factor,
    `trained` of all that train, level by level from the head on. `norms` keep their statistics.
    """

    held: tuple[str, ...] = ()
    scales: Mapping[float, tuple[str, ...]] = field(default_factory=dict)
    norms: list[_BatchNorm] = field(default_factory=list)
    trained: list[tuple[str, ...]] = field(default_factory=list)


def taps(model: nn.Module) -> list[str]:
    """The paths of up to `TAPS` modules, evenly from the first level to the one before the head."""
    body = [level for level in levels(model)[:-1] if level.modules]
    steps = min(TAPS, len(body))
    places = {round(place) for place in np.linspace(0, len(body) - 1, steps)}
    return [body[place].modules[-1] for place in sorted(places)]
