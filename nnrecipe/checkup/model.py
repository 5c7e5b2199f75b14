"""The user's model: copied once, so that nothing that is done here reaches the original."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nnrecipe.core.errors import UserError
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.targets import blaming, describe
from nnrecipe.layers.chain import HOOKS

ADVICE = "keep in the module only what you made yourself: parameters, buffers and submodules"


def plain_model(model: nn.Module) -> nn.Module:
    """The module inside DataParallel, DistributedDataParallel and torch.compile."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = model.module if isinstance(model, wrappers) else vars(model)["_modules"]
        if isinstance(inner, dict):
            inner = inner.get("_orig_mod")
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters and buffers are. Raises `UserError` unless it is one place."""
    tensors = [*model.parameters(), *model.buffers()]
    if not any(True for _ in model.parameters()):
        raise UserError("model: it has no parameters, so there is nothing to train")
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        names = ", ".join(sorted(map(str, devices)))
        raise UserError(f"model: its parameters and buffers are on {names}: move all to one device")
    (device,) = devices
    if device.type == "meta":
        raise UserError("model: it is on the device meta, without any values: give it some first")
    return device


def copied(model: nn.Module) -> nn.Module:
    """A copy in float32, in training mode, without gradients. Raises `UserError` if there is none.

    It has the weights that the model has now.
    """
    try:
        made = copy.deepcopy(model)
    except Exception as error:  # whatever a module's own attributes raise
        name = type(model).__name__
        raise UserError(
            f"model: {name} can't be copied ({describe(error)}), and the checks work on copies: "
            f"{ADVICE}"
        ) from error
    made.zero_grad(set_to_none=True)
    return made.float().train()


def hooks_of(model: object) -> list[Callable[..., Any]]:
    """The hooks on a model's modules, but for torch's own, which norms of weights consist of."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return [
        hook
        for module in modules
        for kind in HOOKS
        for hook in vars(module).get(kind, {}).values()
        if _is_users(hook)
    ]


def _is_users(hook: Any) -> bool:
    """Whether a hook isn't torch's own; one may be a function, a method or an object."""
    home = getattr(hook, "__module__", None) or type(hook).__module__
    return str(home).partition(".")[0] != "torch"


def without_hooks(model: nn.Module, inputs: Tensor) -> nn.Module:
    """A copy without the user's hooks, which only look on; the model itself if they do more.

    They do if, on `inputs: [N, ...]`, outputs or gradients are others with them, or none.
    """
    if not hooks_of(model):
        return model
    made = copy.deepcopy(model)
    for module in made.modules():
        for kind in HOOKS:
            hooks = vars(module).get(kind, {})
            for key in [key for key, hook in hooks.items() if _is_users(hook)]:
                del hooks[key]
    try:
        with_hooks, without = (_behaviour(copy.deepcopy(m), inputs) for m in (model, made))
    except Exception:  # what the user's own code raises, they are told in another place
        return model
    alike = all(map(torch.equal, with_hooks, without))
    return made if len(with_hooks) == len(without) and alike else model


def _behaviour(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """A model's outputs in both modes, and its gradients; NaN and infinity are numbers here."""
    with isolated_rng(0, "hooks"):
        with torch.no_grad():
            outputs = model.eval()(inputs)
        trained = model.train()(inputs)
        trained.square().mean().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return [torch.nan_to_num(found.detach()) for found in (outputs, trained, *grads)]


def materialized(model: nn.Module, inputs: Tensor) -> nn.Module:
    """The model after lazy layers have seen their first `inputs: [N, ...]`."""
    if any(is_lazy(parameter) for parameter in model.parameters()):
        with torch.no_grad(), blaming("model", type(model).__name__):
            model.eval()(inputs)
    return model.train()


def draw_anew(model: nn.Module) -> None:
    """Let every module that can draw its own weights do so, from torch's global generator.

    What is frozen stays, as it may be a pretrained part, and so does a parameter whose module has
    no `reset_parameters`.
    """
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        reset: Any = getattr(module, "reset_parameters", None)
        if callable(reset) and all(parameter.requires_grad for parameter in own):
            reset()


@torch.no_grad()
def first_outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """What a copy of the model makes of `inputs: [N, ...]`. Raises `UserError` for misfits.

    It has to be one tensor `[N]` or `[N, C]`.
    """
    name = type(model).__name__
    shape = list(inputs.shape)
    with blaming(f"model: on inputs {shape} from train_loader", name):
        outputs: Any = copy.deepcopy(model).eval()(inputs)
    if not isinstance(outputs, Tensor):
        found = type(outputs).__name__
        remedy = "wrap it in a module that returns the one that the loss takes"
        raise UserError(f"model: {name} returns {found}, not one tensor: {remedy}")
    if outputs.ndim not in (1, 2) or len(outputs) != len(inputs):
        found = f"inputs {shape} to {list(outputs.shape)}"
        raise UserError(f"model: {name} maps {found}: diagnose takes models that give [N, C]")
    return outputs
