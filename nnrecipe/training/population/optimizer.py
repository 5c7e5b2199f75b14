"""The optimizers of a stack's replicas, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnrecipe.training.population.objective import spread
from nnrecipe.training.population.updates import UPDATES, Updates, decouples_decay
from nnrecipe.training.setup import TrainSetup

STEP = "step"


@dataclass
class Group:
    """Parameters that lie together in every replica's groups.

    `rates`: [K] initial learning rates; `settings`: [K] or [K, 2] each, both float64 on the CPU.
    `step` counts the updates so far, [K] as well.
    """

    names: list[str]
    sources: list[dict[str, Any]]
    update: Updates
    rates: Tensor
    settings: dict[str, Tensor]
    decoupled: bool
    step: Tensor


class StackedOptimizer:
    """Steps of K optimizers of one kind on stacked weights, each with its own settings.

    It starts from what the optimizers remember, and `write_back` gives it back to them.
    """

    def __init__(self, setups: Sequence[TrainSetup], weights: Mapping[str, Tensor]) -> None:
        self._optimizers = [setup.optimizer for setup in setups]
        self._weights = dict(weights)
        self._owners = [dict(setup.model.named_parameters()) for setup in setups]
        self._states = {name: self._gathered(name) for name in weights}
        self._groups = [self._group(names) for names in self._grouped()]

    def step(self, gradients: Mapping[str, Tensor], factors: Sequence[float]) -> None:
        """Update all weights that have a gradient; the gradients are used up."""
        factor = torch.tensor(factors, dtype=torch.float64)
        for group in self._groups:
            group.step += 1
            rates = group.rates * factor
            for source, rate in zip(group.sources, rates.tolist(), strict=True):
                source["lr"] = rate
            wanted = group.settings | {"lr": rates}
            numbers = group.update.coefficients(wanted, step=group.step)
            decay = group.settings["weight_decay"]
            if decays := bool(decay.any()):
                numbers["decay"] = 1 - rates * decay if group.decoupled else decay
            for name in group.names:
                if name in gradients:
                    self._apply(group, name, gradients[name], numbers, decays=decays)

    def _apply(
        self, group: Group, name: str, gradient: Tensor, numbers: Mapping[str, Tensor], decays: bool
    ) -> None:
        weight = self._weights[name]
        c = {key: spread(value.to(weight), weight) for key, value in numbers.items()}
        if decays and group.decoupled:
            weight.mul_(c["decay"])
        elif decays:
            gradient = gradient.addcmul_(weight, c["decay"])
        group.update.apply(weight, gradient, self._states[name], c)

    def write_back(self) -> None:
        """Give each optimizer its state, as its own `step` would have left it."""
        for group in self._groups:
            for name in group.names:
                for index, optimizer in enumerate(self._optimizers):
                    self._return(group, name, index, optimizer)

    def _return(
        self, group: Group, name: str, index: int, optimizer: torch.optim.Optimizer
    ) -> None:
        stacked = self._states[name]
        if not stacked:
            return
        parameter = self._owners[index][name]
        state = optimizer.state[parameter]
        for key, value in stacked.items():
            state[key] = value[index].clone()
        if group.update.counts_steps:
            source = group.sources[index]
            with_weight = source.get("capturable") or source.get("fused")
            place = parameter.device if with_weight else "cpu"
            state[STEP] = torch.tensor(float(group.step[index]), device=place)

    def _gathered(self, name: str) -> dict[str, Tensor]:
        """What the optimizers remember of a parameter, stacked, but for the number of steps."""
        states = [
            optimizer.state.get(owner[name], {})
            for optimizer, owner in zip(self._optimizers, self._owners, strict=True)
        ]
        return {
            key: torch.stack([state[key] for state in states])
            for key, value in states[0].items()
            if key != STEP and value is not None
        }

    def _grouped(self) -> list[list[str]]:
        """The names of the parameters that lie together in every optimizer's groups."""
        places: dict[tuple[int, ...], list[str]] = {}
        for name in self._weights:
            place = tuple(
                _place(optimizer, owner[name])
                for optimizer, owner in zip(self._optimizers, self._owners, strict=True)
            )
            if -1 not in place:
                places.setdefault(place, []).append(name)
        return list(places.values())

    def _group(self, names: list[str]) -> Group:
        first = names[0]
        sources = [
            optimizer.param_groups[_place(optimizer, owner[first])]
            for optimizer, owner in zip(self._optimizers, self._owners, strict=True)
        ]
        kind = UPDATES[type(self._optimizers[0])]

        def numbers(key: str) -> Tensor:
            return torch.tensor([source[key] for source in sources], dtype=torch.float64)

        rates = [source.setdefault("initial_lr", source["lr"]) for source in sources]
        steps = [
            max(float(optimizer.state.get(owner[name], {}).get(STEP, 0)) for name in names)
            for optimizer, owner in zip(self._optimizers, self._owners, strict=True)
        ]
        return Group(
            names=names,
            sources=sources,
            update=kind(
                flags={flag: sources[0][flag] for flag in kind.flags},
                momentum=any(source.get("momentum") for source in sources),
            ),
            rates=torch.tensor(rates, dtype=torch.float64),
            settings={key: numbers(key) for key in (*kind.numbers, "weight_decay")},
            decoupled=decouples_decay(sources[0], self._optimizers[0]),
            step=torch.tensor(steps, dtype=torch.float64),
        )


def _place(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> int:
    """The index of the parameter's group; -1 if it is in none."""
    for index, group in enumerate(optimizer.param_groups):
        if any(parameter is other for other in group["params"]):
            return index
    return -1
