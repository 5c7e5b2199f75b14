"""The check that the units of a layer are not all alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import examined, few, gradients_of, learn_a_little
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.parameters import weights_of
from nnrecipe.core.spec import Spec
from nnrecipe.data.batch import Batch

SOURCE = "lecture: weight initialization, symmetric units"
ALIKE = 0.999
"""Cosine from which weights or gradients count as the same direction."""
STEPS = 3
"""After which a last layer that starts at zero lets gradients through to the others."""


class SymmetryCheck(Spec):
    """No two units of a hidden layer have the same weights and get the same gradient.

    Such units stay the same for ever. The gradient is looked at after a few steps, so that a last
    layer or a residual branch that starts at zero has opened.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["symmetry"] = "symmetry"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Compare the weights and the gradients of units, layer by layer."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        model, batch = bench.make_model(), few(bench)
        suspects = [layer for layer in _hidden(model, batch) if _largest_group(layer.rows()) > 0.5]
        empty = {layer.path for layer in suspects if not bool(layer.weight.any())}
        if suspects:
            gradients = gradients_of(bench, learn_a_little(bench, model, batch, steps=STEPS), batch)
            suspects = [layer for layer in suspects if _stays_alike(layer, gradients)]
        cause = None
        if suspects:
            zero = any(layer.path in empty for layer in suspects)
            cause = Cause.ZERO_INIT if zero else Cause.CONSTANT_INIT
        paths = ", ".join(layer.path for layer in suspects[:4])
        how = "zero" if cause is Cause.ZERO_INIT else "the same number"
        yield Finding(
            check=self.kind,
            verdict=Verdict.FAIL if cause else Verdict.PASS,
            measured=f"units of {paths} have the same weights and get the same gradient"
            if cause
            else "the units of each layer differ, in their weights or in their gradients",
            expected="units that differ",
            cause=cause,
            confidence=0.95 if cause else 0.0,
            advice=f"Weights that all start at {how} make units that learn the same for ever: "
            "draw them at random, by init: kaiming_normal say, or in your module by "
            "nn.init.kaiming_normal_."
            if cause
            else "",
            source=SOURCE,
        )


@dataclass(frozen=True)
class _Layer:
    """The parameters of a layer's units, a row for each."""

    path: str
    weight: Tensor
    bias: Tensor | None

    def rows(self, gradients: Mapping[Tensor, Tensor] | None = None) -> Tensor:
        """[units, numbers of each]: the parameters, or their gradients if these are given."""
        given = [p for p in (self.weight, self.bias) if p is not None]
        values = [p if gradients is None else gradients.get(p, torch.zeros_like(p)) for p in given]
        return torch.cat(
            [v.detach().flatten(1) if v.ndim > 1 else v.detach()[:, None] for v in values], 1
        )


@torch.no_grad()
def _largest_group(rows: Tensor) -> float:
    """The share of the units that are the same as the one that most are the same as."""
    if len(rows) < 2:
        return 0.0
    _, counts = torch.unique(rows, dim=0, return_counts=True)
    return float(counts.max()) / len(rows)


@torch.no_grad()
def _stays_alike(layer: _Layer, gradients: Mapping[Tensor, Tensor]) -> bool:
    """Whether more than half of the units still have one direction, and one gradient."""
    weights, slopes = layer.rows(), layer.rows(gradients)
    if not bool(torch.isfinite(slopes).all()):
        return False
    alike = _same(weights) & _same(slopes)
    return float(alike.float().mean(1).max()) > 0.5


def _same(rows: Tensor) -> Tensor:
    """[units, units]: whether two rows are parallel and of one length; zeros are alike."""
    sizes = rows.norm(dim=1)
    dot = rows @ rows.T
    largest = torch.maximum(sizes[:, None], sizes[None, :])
    return (dot >= ALIKE * largest.square()) | (largest == 0)


def _hidden(model: nn.Module, batch: Batch) -> list[_Layer]:
    """The layers that run, without those that give the outputs."""
    paths = {module: path for path, module in model.named_modules()}
    wanted = {id(weight) for weight in weights_of(model).values() if weight.requires_grad}
    ran: dict[nn.Module, None] = {}

    def note(module: nn.Module, _args: Any, _output: Any) -> None:
        ran.pop(module, None)
        ran[module] = None

    watched = [module for module in paths if isinstance(module, nn.Linear | _ConvNd)]
    hooks = [module.register_forward_hook(note) for module in watched]
    try:
        with torch.no_grad():
            model.eval()(batch.inputs.clone())
    finally:
        for hook in hooks:
            hook.remove()
    hidden = list(ran)[:-1]
    return [
        _Layer(paths[module], module.weight, module.bias)
        for module in hidden
        if isinstance(module, nn.Linear | _ConvNd) and id(module.weight) in wanted
    ]
