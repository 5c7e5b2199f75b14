"""Muon for the weights of hidden layers, AdamW for everything else."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import ParamGroup
from nnrecipe.core.spec import Count, Flag, NonNegativeFloat, PositiveFloat, Probability
from nnrecipe.optimizers.adam import Betas, Epsilon
from nnrecipe.optimizers.descent import Descent
from nnrecipe.optimizers.joined import Joined
from nnrecipe.optimizers.learning_rate import LearningRate


class Muon(Descent):
    """Momentum whose steps are made orthogonal, for hidden layers' weights; AdamW for the rest.

    Muon takes the matrices: the weights of linear layers [out, in], and kernels
    [out, in, height, width] as matrices [out, in * height * width]. AdamW takes the last matrix
    that trains, which is the output layer's, and what has only one row or column: biases, norms,
    position embeddings and tokens.
    """

    source: ClassVar[str] = "Jordan et al. 2024; Liu et al. 2025, section 2.2"

    kind: Literal["muon"] = "muon"
    lr: LearningRate = Field(1e-3, description="learning rate, or auto for the probe's suggestion")
    momentum: Probability = Field(0.95, description="share of the running gradient kept by Muon")
    nesterov: Flag = Field(True, description="take the running gradient one step ahead")
    ns_steps: Count = Field(5, le=99, description="Newton-Schulz iterations that orthogonalize")
    adjust_lr_fn: Literal["original", "match_rms_adamw"] = Field(
        "match_rms_adamw",
        description="scale Muon's steps by the matrix's sides: to AdamW's size, so that one lr "
        "suits both, or as Jordan does",
    )
    adamw_factor: PositiveFloat = Field(1.0, description="AdamW's learning rate, as a factor on lr")
    betas: Betas = (0.9, 0.999)
    eps: Epsilon = 1e-8
    weight_decay: NonNegativeFloat = Field(
        0.1, description="share of a weight that a step takes away, times lr"
    )

    def build(self, groups: list[ParamGroup], *, lr: float) -> torch.optim.Optimizer:
        """The optimizer; each group's own `lr` and `weight_decay` win.

        Raises `UserError` if no hidden layer's weights are among the parameters.
        """
        hidden, rest = _split(groups)
        if not hidden:
            found = "muon is for the weights of hidden layers, and none trains"
            raise UserError(f"optimizer.kind: {found}: use adamw")
        muon = MatrixMuon(
            hidden,
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.ns_steps,
            adjust_lr_fn=self.adjust_lr_fn,
        )
        for group in rest:
            group["lr"] *= self.adamw_factor
        adamw = torch.optim.AdamW(rest, lr=lr, betas=self.betas, eps=self.eps, fused=True)
        return Joined([muon, adamw])


class MatrixMuon(torch.optim.Muon):
    """torch's Muon, to which a kernel is a matrix with a row for each output channel."""

    def __init__(self, groups: list[ParamGroup], **settings: Any) -> None:
        # torch refuses kernels at the door alone, so what it is shown there are matrices
        shown = [
            {**group, "params": [p.detach().flatten(1) for p in group["params"]]}
            for group in groups
        ]
        super().__init__(shown, **settings)
        for ours, given in zip(self.param_groups, groups, strict=True):
            ours["params"] = given["params"]

    def _init_group(
        self,
        group: MutableMapping[str, Any],
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        muon_momentum_bufs: list[Tensor],
    ) -> bool:
        """Gather what takes part in the step; torch's step changes these views in place."""
        is_complex = super()._init_group(group, params_with_grad, grads, muon_momentum_bufs)
        for tensors in (params_with_grad, grads, muon_momentum_bufs):
            tensors[:] = [_as_matrix(tensor) for tensor in tensors]
        return is_complex


def _as_matrix(tensor: Tensor) -> Tensor:
    """A view [out, rest] of a kernel. The order of the columns doesn't matter to Muon."""
    in_memory = tensor if tensor.is_contiguous() else tensor.movedim(1, -1)  # channels last
    return in_memory.view(len(tensor), -1)


def _split(groups: list[ParamGroup]) -> tuple[list[ParamGroup], list[ParamGroup]]:
    """The groups of the hidden layers' matrices, and those of everything else.

    The parameters of a group come in the model's order, so the last matrix of the last group that
    has one is taken for the output layer's.
    """
    matrices = [p for group in groups for p in group["params"] if _is_matrix(p)]
    hidden = {id(matrix) for matrix in matrices[:-1]}
    parts: tuple[list[ParamGroup], list[ParamGroup]] = ([], [])
    for group in groups:
        for part, wanted in zip(parts, (True, False), strict=True):
            params = [p for p in group["params"] if (id(p) in hidden) is wanted]
            if params:
                part.append({**group, "params": params})
    return parts


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and 1 < len(parameter) < parameter.numel()
