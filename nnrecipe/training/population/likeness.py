"""Which replicas can be stacked, with which others, and why the rest can't."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from nnrecipe.layers.chain import HOOKS
from nnrecipe.losses import LossCallable
from nnrecipe.losses.function import LossFunction
from nnrecipe.training.population.updates import UPDATES, decouples_decay
from nnrecipe.training.setup import TrainSetup

OF_MODULES = frozenset(vars(nn.Module()))


class Traits(NamedTuple):
    """What the replicas of a stack have in common. Two are alike if these are equal."""

    modules: object
    tensors: object
    optimizer: object
    loss: object
    precision: str
    task: str
    device: torch.device


class Partition(NamedTuple):
    """Groups of replicas that can be stacked, and for each of the others the reason."""

    stacks: list[list[int]]
    refused: dict[int, str]


def partition(setups: Sequence[TrainSetup], members: Iterable[int]) -> Partition:
    """Sort `members` of the population. A replica that is like no other is refused, too."""
    stacks: list[tuple[Traits, list[int]]] = []
    refused: dict[int, str] = {}
    for member in members:
        setup = setups[member]
        if (obstacle := find_obstacle(setup)) is not None:
            refused[member] = obstacle
            continue
        traits = _traits(setup)
        for known, stack in stacks:
            if known == traits:
                stack.append(member)
                break
        else:
            stacks.append((traits, [member]))
    for _, stack in stacks:
        if len(stack) == 1:
            refused[stack[0]] = "no other replica has its structure, optimizer and loss"
    return Partition([stack for _, stack in stacks if len(stack) > 1], refused)


def draws(setup: TrainSetup) -> bool:
    """Whether training draws random numbers, as far as the library's own parts do."""
    modules = setup.model.modules()
    return bool(setup.mixing) or any(isinstance(module, _DropoutNd) for module in modules)


def find_obstacle(setup: TrainSetup) -> str | None:
    """Why a replica can be in no stack; None if nothing is known against it."""
    if setup.reevaluates:
        return f"{_kind(setup.optimizer)} evaluates its loss several times in a step"
    if type(setup.optimizer) not in UPDATES:
        return f"{_kind(setup.optimizer)} has no stacked form"
    if setup.accumulate != 1:
        return "its steps accumulate several batches"
    if setup.task == "several":
        return "each replica weighs its tasks by itself"
    if setup.mixing:
        return "mixup and cutmix draw for each replica"
    if any(group.get(name) for group in setup.optimizer.param_groups for name in UNUSUAL):
        return f"{_kind(setup.optimizer)} maximizes, or is differentiable"
    if any(isinstance(group["lr"], Tensor) for group in setup.optimizer.param_groups):
        return "its learning rate is a tensor"
    return _obstacle_in(setup.model)


UNUSUAL = ("maximize", "differentiable")


def _obstacle_in(model: nn.Module) -> str | None:
    for path, module in model.named_modules():
        name = f"{type(module).__name__} {path}".rstrip()
        if any(vars(module)[hooks] for hooks in HOOKS):
            return f"{name} has hooks, which would see all replicas at once"
        if any(isinstance(value, Tensor) for value in _attributes(module).values()):
            return f"{name} holds a tensor that is no parameter and no buffer"
    return None


def _kind(thing: object) -> str:
    return type(thing).__name__.lower()


def _traits(setup: TrainSetup) -> Traits:
    model = setup.model
    named = [*model.named_parameters(), *model.named_buffers()]
    return Traits(
        modules=[(path, type(m), _attributes(m)) for path, m in model.named_modules()],
        tensors=[(path, t.shape, t.dtype, t.requires_grad) for path, t in named],
        optimizer=_optimizer_traits(setup),
        loss=_loss_traits(setup.loss),
        precision=setup.precision,
        task=setup.task,
        device=setup.device,
    )


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What a module remembers besides parameters, buffers and children, but for a dropout's rate.

    The rate can differ within a stack.
    """
    own = {name: value for name, value in vars(module).items() if name not in OF_MODULES}
    if type(module) is nn.Dropout:
        del own["p"]
    return own


def _optimizer_traits(setup: TrainSetup) -> object:
    """The kind, its flags, which parameters it has, and what it remembers of each."""
    optimizer = setup.optimizer
    paths = {id(parameter): path for path, parameter in setup.model.named_parameters()}
    flags = UPDATES[type(optimizer)].flags
    return (
        type(optimizer),
        {
            paths.get(id(parameter)): (
                decouples_decay(group, optimizer),
                tuple(group[flag] for flag in flags),
                _remembered(optimizer.state.get(parameter, {})),
            )
            for group in optimizer.param_groups
            for parameter in group["params"]
        },
    )


def _remembered(state: Mapping[str, Tensor | None]) -> set[str]:
    return {name for name, value in state.items() if value is not None}


def _loss_traits(loss: LossCallable) -> object:
    """Equal for losses that compute the same; smoothing can differ within a stack."""
    if isinstance(loss, LossFunction):
        weights = None if loss.class_weights is None else loss.class_weights.tolist()
        return type(loss), weights, _loss_traits(loss.loss)
    if not isinstance(loss, nn.Module):
        return loss
    return [
        (
            type(module),
            {k: v for k, v in _attributes(module).items() if k != _varying(module)},
            {name: tensor.tolist() for name, tensor in module.state_dict().items()},
        )
        for module in loss.modules()
    ]


def _varying(module: nn.Module) -> str | None:
    return "label_smoothing" if type(module) is nn.CrossEntropyLoss else None
