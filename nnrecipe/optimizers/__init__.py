"""Optimizers: how a gradient becomes a step. Fields are spelled as in `torch.optim`.

`weight_decay` reaches the weights alone, through the parameter groups (`core.parameters.group`).
"""

from __future__ import annotations

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.optimizers.adam import Adam, AdamW, NAdam
from nnrecipe.optimizers.adaptive import Adadelta, Adagrad, RmsProp
from nnrecipe.optimizers.custom import CustomOptimizer
from nnrecipe.optimizers.lbfgs import Lbfgs
from nnrecipe.optimizers.muon import Muon
from nnrecipe.optimizers.sgd import GradientDescent, Sgd

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "CustomOptimizer",
    "GradientDescent",
    "Lbfgs",
    "Muon",
    "NAdam",
    "OptimizerSpec",
    "RmsProp",
    "Sgd",
]

OptimizerSpec = Annotated[
    GradientDescent
    | Sgd
    | Adagrad
    | Adadelta
    | RmsProp
    | Adam
    | AdamW
    | NAdam
    | Muon
    | Lbfgs
    | CustomOptimizer,
    ByKind(default="sgd"),
]
