"""The steps of `torch.optim`'s optimizers on stacks of K replicas, each with its own settings.

An update has two halves. `coefficients` computes on the CPU, in float64 and from the settings [K],
the few numbers that a step multiplies with; `apply` changes a weight [K, ...] and its state in
place, given those numbers as [K, 1, ...]. The formulas, and the names in the state, are torch's.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor

State = MutableMapping[str, Tensor]
Numbers = Mapping[str, Tensor]


class Update(Protocol):
    """How one kind of optimizer changes its weights.

    `numbers` are the settings that may differ between replicas, besides `lr` and `weight_decay`;
    `flags` are those that all replicas of a stack share.
    """

    numbers: ClassVar[tuple[str, ...]]
    flags: ClassVar[tuple[str, ...]]
    counts_steps: ClassVar[bool]

    def coefficients(self, settings: Numbers, *, step: Tensor) -> dict[str, Tensor]:
        """What `apply` needs of the settings at the step-th step (1 is the first), all [K]."""

    def apply(self, weight: Tensor, gradient: Tensor, state: State, c: Numbers) -> None:
        """Change the weight and its state; the gradient may be used up."""


class SgdUpdate:
    """v <- momentum * v + (1 - dampening) * g; w <- w - lr * v."""

    numbers = ("momentum", "dampening")
    flags = ("nesterov",)
    counts_steps = False

    def __init__(self, *, flags: Mapping[str, bool], momentum: bool) -> None:
        self.nesterov, self.momentum = flags["nesterov"], momentum

    def coefficients(self, settings: Numbers, *, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Without momentum torch ignores dampening."""
        momentum = settings["momentum"]
        kept = torch.where(momentum == 0, 1.0, 1 - settings["dampening"])
        return {"momentum": momentum, "kept": kept, "minus_lr": -settings["lr"]}

    def apply(self, weight: Tensor, gradient: Tensor, state: State, c: Numbers) -> None:
        """The first gradient becomes the velocity as it is."""
        if self.momentum:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = gradient.clone()
            else:
                velocity.mul_(c["momentum"]).addcmul_(gradient, c["kept"])
            gradient = gradient.addcmul_(velocity, c["momentum"]) if self.nesterov else velocity
        weight.addcmul_(gradient, c["minus_lr"])


class AdamUpdate:
    """w <- w - lr * m / (sqrt(v) + eps), with m and v corrected for their start at zero."""

    numbers = ("betas", "eps")
    flags = ("amsgrad",)
    counts_steps = True

    def __init__(self, *, flags: Mapping[str, bool], momentum: bool) -> None:  # noqa: ARG002
        self.amsgrad = flags["amsgrad"]

    def coefficients(self, settings: Numbers, *, step: Tensor) -> dict[str, Tensor]:
        """Both corrections go into the numbers, and none into the weights' passes."""
        beta1, beta2 = settings["betas"].unbind(-1)
        root = (1 - beta2**step).sqrt()
        return {
            "one_minus_beta1": 1 - beta1,
            "beta2": beta2,
            "one_minus_beta2": 1 - beta2,
            "per_root": 1 / root,
            "eps": settings["eps"],
            "minus_rate": -settings["lr"] / (1 - beta1**step),
        }

    def apply(self, weight: Tensor, gradient: Tensor, state: State, c: Numbers) -> None:
        """Kingma & Ba 2015, algorithm 1."""
        mean, square = _zeros(state, "exp_avg", weight), _zeros(state, "exp_avg_sq", weight)
        mean.lerp_(gradient, c["one_minus_beta1"].expand_as(mean))
        square.mul_(c["beta2"]).addcmul_(gradient.square(), c["one_minus_beta2"])
        if self.amsgrad:
            largest = _zeros(state, "max_exp_avg_sq", weight)
            square = torch.maximum(largest, square, out=largest)
        scale = square.sqrt().mul_(c["per_root"]).add_(c["eps"])
        weight.addcmul_(scale.reciprocal_().mul_(mean), c["minus_rate"])


class RmsPropUpdate:
    """w <- w - lr * g / (sqrt(v) + eps), v a running mean of squares; momentum comes after it."""

    numbers = ("alpha", "eps", "momentum")
    flags = ("centered",)
    counts_steps = True

    def __init__(self, *, flags: Mapping[str, bool], momentum: bool) -> None:
        self.centered, self.momentum = flags["centered"], momentum

    def coefficients(self, settings: Numbers, *, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """No correction for the start."""
        alpha = settings["alpha"]
        return {
            "alpha": alpha,
            "one_minus_alpha": 1 - alpha,
            "eps": settings["eps"],
            "momentum": settings["momentum"],
            "minus_lr": -settings["lr"],
        }

    def apply(self, weight: Tensor, gradient: Tensor, state: State, c: Numbers) -> None:
        """Tieleman & Hinton 2012, lecture 6e; centered: Graves 2013."""
        square = _zeros(state, "square_avg", weight)
        square.mul_(c["alpha"]).addcmul_(gradient.square(), c["one_minus_alpha"])
        if self.centered:
            mean = _zeros(state, "grad_avg", weight)
            mean.lerp_(gradient, c["one_minus_alpha"].expand_as(mean))
            square = square - mean.square()
        gradient = gradient.div_(square.sqrt().add_(c["eps"]))
        if self.momentum:
            velocity = _zeros(state, "momentum_buffer", weight)
            gradient = velocity.mul_(c["momentum"]).add_(gradient)
        weight.addcmul_(gradient, c["minus_lr"])


class AdagradUpdate:
    """w <- w - lr * g / (sqrt(s) + eps), s the sum of all squares."""

    numbers = ("lr_decay", "eps")
    flags = ()
    counts_steps = True

    def __init__(self, *, flags: Mapping[str, bool], momentum: bool) -> None:
        """No variants."""

    def coefficients(self, settings: Numbers, *, step: Tensor) -> dict[str, Tensor]:
        """The rate's own decay."""
        rate = settings["lr"] / (1 + (step - 1) * settings["lr_decay"])
        return {"eps": settings["eps"], "minus_rate": -rate}

    def apply(self, weight: Tensor, gradient: Tensor, state: State, c: Numbers) -> None:
        """Duchi et al. 2011. The sum is in the state from the optimizer's first day."""
        total = state["sum"].addcmul_(gradient, gradient)
        weight.addcmul_(gradient.div_(total.sqrt().add_(c["eps"])), c["minus_rate"])


class AdadeltaUpdate:
    """Zeiler 2012, algorithm 1."""

    numbers = ("rho", "eps")
    flags = ()
    counts_steps = True

    def __init__(self, *, flags: Mapping[str, bool], momentum: bool) -> None:
        """No variants."""

    def coefficients(self, settings: Numbers, *, step: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """The settings as they are."""
        rho = settings["rho"]
        named = {"rho": rho, "one_minus_rho": 1 - rho, "eps": settings["eps"]}
        return named | {"minus_lr": -settings["lr"]}

    def apply(self, weight: Tensor, gradient: Tensor, state: State, c: Numbers) -> None:
        """Running squares of the gradients, and of the steps before the rate."""
        square, change = _zeros(state, "square_avg", weight), _zeros(state, "acc_delta", weight)
        square.mul_(c["rho"]).addcmul_(gradient.square(), c["one_minus_rho"])
        ratio = (change + c["eps"]).sqrt_().div_((square + c["eps"]).sqrt_())
        delta = gradient.mul_(ratio)
        change.mul_(c["rho"]).addcmul_(delta.square(), c["one_minus_rho"])
        weight.addcmul_(delta, c["minus_lr"])


Updates = SgdUpdate | AdamUpdate | RmsPropUpdate | AdagradUpdate | AdadeltaUpdate

UPDATES: dict[type[torch.optim.Optimizer], type[Updates]] = {
    torch.optim.SGD: SgdUpdate,
    torch.optim.Adam: AdamUpdate,
    torch.optim.AdamW: AdamUpdate,
    torch.optim.RMSprop: RmsPropUpdate,
    torch.optim.Adagrad: AdagradUpdate,
    torch.optim.Adadelta: AdadeltaUpdate,
}
"""The optimizers that can be stacked; a class derived from one of them may do anything."""


def decouples_decay(group: Mapping[str, object], optimizer: torch.optim.Optimizer) -> bool:
    """Whether weight decay shrinks the weights by itself and is no part of the gradient."""
    return isinstance(optimizer, torch.optim.AdamW) or bool(group.get("decoupled_weight_decay"))


def _zeros(state: State, name: str, like: Tensor) -> Tensor:
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]
