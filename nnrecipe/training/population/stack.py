"""K replicas trained as one: their parameters stacked, their steps the same few operations."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nnrecipe.core.device import autocast
from nnrecipe.core.parameters import weights_of
from nnrecipe.data.batch import Batch
from nnrecipe.training.population.layers import RATE, OwnDropout, adapt
from nnrecipe.training.population.objective import StackedLimits, StackedLoss, StackedPenalty
from nnrecipe.training.population.optimizer import StackedOptimizer
from nnrecipe.training.population.team import Feed, TeamOutcome
from nnrecipe.training.scores import count_correct
from nnrecipe.training.setup import TrainSetup

Tensors = dict[str, Tensor]


class Stack:
    """A team whose members compute together. They must be alike (`likeness.partition`).

    No number of one replica ever enters another's, so that one whose loss explodes leaves the
    others as they are.
    """

    def __init__(self, setups: Sequence[TrainSetup], *, members: Sequence[int]) -> None:
        self.members = tuple(members)
        self._setups = setups = [setups[member] for member in members]
        for setup in setups:
            setup.model.train()
        first = setups[0]
        self._template = _template(setups)
        self._parameters = _stacked([dict(s.model.named_parameters()) for s in setups])
        self._buffers = _stacked([dict(s.model.named_buffers()) for s in setups])
        self._rates = _own_rates(setups, self._template)
        trained = [n for n, p in first.model.named_parameters() if p.requires_grad]
        self._trained = {name: self._parameters[name].requires_grad_() for name in trained}
        self._penalized = [name for name in weights_of(first.model) if name in self._trained]

        like = next(iter(self._trained.values()))
        self._loss = StackedLoss([setup.loss for setup in setups], like=like)
        self._penalty = StackedPenalty(setups, like=like)
        self._limits = StackedLimits(setups, like=like)
        self._optimizer = StackedOptimizer(setups, self._trained)

    def step(self, step: int, group: Sequence[Feed]) -> TeamOutcome:
        """Forward, backward and update of all members."""
        (feed,) = group
        losses, outputs, targets, shared = self._forward(feed)
        found = torch.autograd.grad(losses.sum(), list(self._trained.values()), allow_unused=True)
        gradients = _own(dict(zip(self._trained, found, strict=True)))
        with torch.no_grad():
            if self._penalty:
                for name in self._penalized:
                    weight = self._trained[name]
                    gradient = gradients.setdefault(name, torch.zeros_like(weight))
                    self._penalty.add(gradient, weight)
            self._limits.clip(list(gradients.values()))
            self._optimizer.step(gradients, [setup.schedule(step) for setup in self._setups])
            self._limits.limit_weights([self._trained[name] for name in self._penalized])
            correct = self._correct(outputs.detach(), targets, shared=shared)
        return TeamOutcome(losses.detach(), correct)

    def try_forward(self, group: Sequence[Feed]) -> str | None:
        """What torch says if it can't compute the members together; None if it can."""
        buffers = self._buffers
        self._buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        try:
            with torch.no_grad(), torch.random.fork_rng():
                self._forward(group[0])
        except (RuntimeError, TypeError, ValueError) as error:
            return str(error).partition("\n")[0]
        finally:
            self._buffers = buffers
        return None

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy weights, buffers and the optimizers' state to where the setups have them."""
        for index, setup in enumerate(self._setups):
            for path, parameter in setup.model.named_parameters():
                parameter.copy_(self._parameters[path][index])
            for path, buffer in setup.model.named_buffers():
                buffer.copy_(self._buffers[path][index])
        self._optimizer.write_back()

    def _forward(self, feed: Feed) -> tuple[Tensor, Tensor, Tensor, bool]:
        """Losses [K], outputs [K, N, size], and the targets, [N, ...] if they are shared."""
        inputs, targets, shared = self._batch(feed)
        along = None if shared else 0
        smoothing = self._loss.smoothing
        state = self._parameters | self._buffers | self._rates

        def of_one(
            state: Tensors, inputs: Tensor, targets: Tensor, smoothing: Tensor | None
        ) -> tuple[Tensor, Tensor]:
            outputs = functional_call(self._template, state, (inputs,))
            return self._loss(outputs, targets, smoothing), outputs

        of_all = torch.vmap(
            of_one,
            in_dims=(0, along, along, None if smoothing is None else 0),
            randomness="different",
        )
        with autocast(self._setups[0].device, self._setups[0].precision):
            losses, outputs = of_all(state, inputs, targets, smoothing)
        return losses, outputs, targets, shared

    def _batch(self, feed: Feed) -> tuple[Tensor, Tensor, bool]:
        if isinstance(feed, Batch):
            return feed.inputs, feed.targets, True
        own = [feed[member] for member in self.members]
        inputs = torch.stack([batch.inputs for batch in own])
        return inputs, torch.stack([batch.targets for batch in own]), False

    def _correct(self, outputs: Tensor, targets: Tensor, *, shared: bool) -> Tensor | None:
        task = self._setups[0].task
        if task == "regression":
            return None
        count = torch.vmap(count_correct, in_dims=(0, None if shared else 0, None))
        return count(outputs, targets, task)


def _stacked(replicas: Sequence[dict[str, nn.Parameter]] | Sequence[Tensors]) -> Tensors:
    return {
        name: torch.stack([replica[name].detach() for replica in replicas]) for name in replicas[0]
    }


def _own(gradients: dict[str, Tensor | None]) -> Tensors:
    """The gradients that there are, each in memory of its own, so that it can be changed in place.

    Autograd gives summands one gradient between them, and a broadcast number an expanded one.
    """
    own: Tensors = {}
    places: set[int] = set()
    for name, gradient in gradients.items():
        if gradient is None:
            continue
        shared = gradient.data_ptr() in places or 0 in gradient.stride()
        own[name] = gradient.clone() if shared else gradient
        places.add(own[name].data_ptr())
    return own


def _template(setups: Sequence[TrainSetup]) -> nn.Module:
    """The first replica's model, adapted to stacks, without any numbers of its own."""
    rates = [
        [module.p for module in setup.model.modules() if type(module) is nn.Dropout]
        for setup in setups
    ]
    template = copy.deepcopy(setups[0].model)
    adapt(template, own_rates=any(other != rates[0] for other in rates))
    return template.to("meta").train()


def _own_rates(setups: Sequence[TrainSetup], template: nn.Module) -> Tensors:
    """The dropout rates [K] by the path of their buffer, where the replicas have their own."""
    paths = [path for path, module in template.named_modules() if isinstance(module, OwnDropout)]
    device = setups[0].device
    return {
        f"{path}.{RATE}".lstrip("."): torch.tensor(
            [setup.model.get_submodule(path).p for setup in setups], device=device
        )
        for path in paths
    }
