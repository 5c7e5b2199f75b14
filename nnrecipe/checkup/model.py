"""The user's model: copied once, so that nothing that is done here reaches the original."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nnrecipe.core.errors import UserError
from nnrecipe.core.targets import blaming, describe

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


def materialized(model: nn.Module, inputs: Tensor) -> nn.Module:
    """The model after lazy layers have seen their first `inputs: [N, ...]`."""
    if any(is_lazy(parameter) for parameter in model.parameters()):
        with torch.no_grad(), blaming("model", type(model).__name__):
            model.eval()(inputs)
    return model.train()


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
