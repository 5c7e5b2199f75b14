"""Who trains in which case."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from bench.subject import Trained, Work

Prepare = Callable[[Work], Callable[[], Trained]]
"""Sets a training up; what it returns trains anew at every call, and times itself."""

BASE = "bare mem"
"""What all others are compared with."""


class AbsentError(Exception):
    """A contender that can't take part here, and why."""


def contenders(case: str, device: torch.device) -> dict[str, Prepare]:
    """By name, the base first. Each imports what it needs only when it is set up."""
    found: dict[str, Prepare] = {
        BASE: partial(_bare, case),
        "bare fused": partial(_bare, case, fused=True),
    }
    if case == "lenet5":
        found |= {
            "tutorial": partial(_tutorial, case),
            "lightning": partial(_lightning, case),
            "fastai": partial(_fastai, case),
        }
    if case == "mlp":
        found["lightning mem"] = partial(_lightning, case, in_memory=True)
    found["nnrecipe fp32"] = partial(_nnrecipe, "fp32")
    if case != "mlp":
        found |= {f"nnrecipe {name}": partial(_nnrecipe, name) for name in ("bf16", "auto")}
    elif device.type == "cuda":
        found["nnrecipe bf16"] = partial(_nnrecipe, "bf16")
    return found


def _bare(case: str, work: Work, *, fused: bool = False) -> Callable[[], Trained]:
    from bench.plain import bare

    return bare(case, work, fused=fused)


def _tutorial(case: str, work: Work) -> Callable[[], Trained]:
    from bench.plain import tutorial

    return tutorial(case, work)


def _lightning(case: str, work: Work, *, in_memory: bool = False) -> Callable[[], Trained]:
    try:
        from bench.with_lightning import lightning
    except ImportError as error:
        raise AbsentError(f"pytorch-lightning is not installed ({error})") from error
    return lightning(case, work, in_memory=in_memory)


def _fastai(case: str, work: Work) -> Callable[[], Trained]:
    try:
        from bench.with_fastai import fastai
    except ImportError as error:
        raise AbsentError(f"fastai is not installed ({error})") from error
    return fastai(case, work)


def _nnrecipe(precision: str, work: Work) -> Callable[[], Trained]:
    from bench.ours import nnrecipe
    from nnrecipe.core.errors import UserError

    if precision == "bf16" and not computes_bf16(work.device):
        raise AbsentError("this device doesn't compute in bf16")
    try:
        return nnrecipe(work, precision=precision)
    except UserError as error:
        if "precision" not in str(error):
            raise
        raise AbsentError(f"this nnrecipe knows no precision: {precision}") from error


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware has bf16 arithmetic, rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
