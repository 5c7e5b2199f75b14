"""The user's optimizer, made anew for a copy of their model; or a usual one where none is given."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nnrecipe.core.errors import UserError
from nnrecipe.core.targets import accepted

_SCHEDULERS_KEYS = ("initial_lr", "max_lr", "min_lr")
"""What torch's schedulers write into an optimizer's groups."""
_OWN_KEYS = ("params", "param_names")


@dataclass(frozen=True)
class PlainOptimizer:
    """An optimizer of the user's, which is only read, and the paths of the parameters in it.

    `paths` maps the identity of each of the model's parameters to its path. Without an optimizer it
    stands for Adam over all that trains.
    """

    optimizer: torch.optim.Optimizer | None
    paths: dict[int, str]

    @property
    def held(self) -> frozenset[str]:
        """The paths of the model's parameters that the optimizer changes."""
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        ids = {id(parameter) for group in groups for parameter in group["params"]}
        return frozenset(path for identity, path in self.paths.items() if identity in ids)

    @property
    def learning_rate(self) -> float | None:
        """The largest of the groups' rates, before any schedule; None if there is none."""
        if self.optimizer is None:
            return None
        return max(map(_declared, self.optimizer.param_groups), default=0.0) or None

    @property
    def starts_low(self) -> bool:
        """Whether a schedule has the first steps taken at less than half of the rate."""
        if self.optimizer is None or self.learning_rate is None:
            return False
        now = max(_number(group.get("lr")) for group in self.optimizer.param_groups)
        return now < 0.5 * self.learning_rate

    @property
    def reevaluates(self) -> bool:
        """Whether a step needs a closure, to compute the loss several times."""
        if self.optimizer is None:
            return False
        parameters = inspect.signature(type(self.optimizer).step).parameters
        needed = "closure" in parameters and parameters["closure"].default is inspect._empty
        return needed or isinstance(self.optimizer, torch.optim.LBFGS)

    def build(self, model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        """The same optimizer over a copy's parameters, without a past.

        The largest rate of its groups is `lr`, the others keep their ratios to it; `decay=False`
        leaves weight decay out.
        """
        if self.optimizer is None or not self.held:
            return torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=lr)
        made = self._over(model)
        reference = self.learning_rate or 1.0
        pairs = zip(self.optimizer.param_groups, made.param_groups, strict=True)
        for original, group in pairs:
            for key in _SCHEDULERS_KEYS:
                group.pop(key, None)
            group["lr"] = lr * _declared(original) / reference
            if not decay and "weight_decay" in group:
                group["weight_decay"] = 0.0
        return made

    def _over(self, model: nn.Module) -> torch.optim.Optimizer:
        """A new one with the same settings, over the parameters of the same paths."""
        assert self.optimizer is not None
        named = dict(model.named_parameters(remove_duplicate=False))
        counterparts: dict[int, Any] = {
            identity: named[path] for identity, path in self.paths.items() if path in named
        }
        try:
            return _constructed(self.optimizer, counterparts)
        except Exception:  # a class of the user's own may want anything
            return _imitated(self.optimizer, counterparts)


def _constructed(
    optimizer: torch.optim.Optimizer, counterparts: dict[int, Any]
) -> torch.optim.Optimizer:
    """What the class makes of the same groups and defaults."""
    groups = []
    for group in optimizer.param_groups:
        params = [counterparts[id(p)] for p in group["params"] if id(p) in counterparts]
        settings = {key: value for key, value in group.items() if key not in _OWN_KEYS}
        groups.append({**settings, "params": params})
    maker = type(optimizer)
    defaults = accepted(maker, **optimizer.defaults)
    made: torch.optim.Optimizer = maker(groups, **defaults)
    return made


def _imitated(
    optimizer: torch.optim.Optimizer, counterparts: dict[int, Any]
) -> torch.optim.Optimizer:
    """A copy that was never constructed, as what a constructor took can't be read off its object.

    What its parameters have gone through is forgotten.
    """
    attributes = vars(optimizer)
    # A scheduler wraps `step` in an attribute; hooks belong to the user's own training.
    kept = {k: v for k, v in attributes.items() if k != "state" and not callable(v)}
    kept = {k: OrderedDict() if k.endswith("_hooks") else v for k, v in kept.items()}
    made = object.__new__(type(optimizer))
    vars(made).update(copy.deepcopy(kept, dict(counterparts)), state=defaultdict(dict))
    return made


def plain_optimizer(optimizer: torch.optim.Optimizer | None, model: nn.Module) -> PlainOptimizer:
    """How to make the user's optimizer anew. Raises `UserError` if it isn't one of torch's."""
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        found = type(optimizer).__name__
        raise UserError(f"optimizer: expected a torch.optim.Optimizer, got {found}")
    return PlainOptimizer(optimizer, {id(p): path for path, p in model.named_parameters()})


def _declared(group: dict[str, Any]) -> float:
    """A group's rate before its scheduler changed it."""
    return max(_number(group.get(key)) for key in ("lr", "initial_lr", "max_lr"))


def _number(value: Any) -> float:
    return 0.0 if value is None else float(value)
