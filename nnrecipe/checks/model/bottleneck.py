"""The check that no layer is too narrow for what has to get through it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import examined, few, redrawn, unmeasured
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.spec import Spec

SOURCE = "lecture: architecture"
DRAWS = 8
"""Of the weights at most: two tell, but a layer of a single ReLU is shut in every second."""
NULL = 1e-11
"""Of the largest singular value: float64 leaves less where there should be nothing."""


class BottleneckCheck(Spec):
    """The outputs can move in as many directions as it takes to tell the classes apart.

    The rank of the outputs' derivative by the inputs is that of the narrowest place on the way,
    where no other path leads around it. It is taken in float64 with redrawn weights.
    """

    source: ClassVar[str] = SOURCE

    kind: Literal["bottleneck"] = "bottleneck"

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Find the largest rank over a few examples and draws of the weights."""
        yield from examined(self.kind, SOURCE, self._look, bench)

    def _look(self, bench: Bench) -> Iterator[Finding]:
        size, features = bench.outputs.size, math.prod(bench.data.input_shape)
        freedom = size - 1 if bench.outputs.task == "single_label" else size
        freedom -= sum(head.outputs.task == "single_label" for head in bench.outputs.heads)
        enough = max(1, math.ceil(math.log2(size)) - 1)
        rank, place = 0, ""
        inputs = few(bench, 8).inputs.double()
        if freedom > 1:
            for draw in range(DRAWS):
                model = redrawn(bench, draw=draw).double()
                rank = max(rank, _rank(model, inputs, directions=enough + 1))
                if rank > enough or (rank and draw):
                    break
            if not rank:
                yield unmeasured(self.kind, SOURCE, "the outputs have no derivative by the inputs")
                return
            place = _narrowest(model, inputs)
        sick = 0 < rank < min(freedom, features) and (rank == 1 or rank < enough)
        yield Finding(
            check=self.kind,
            verdict=Verdict.WARN if sick else Verdict.PASS,
            measured=f"the outputs move in {rank} direction{'s' * (rank != 1)}{place}"
            if sick
            else f"the outputs move in {rank or 'enough'} directions"
            + (" or more" if rank > enough else ""),
            expected=f"at least {min(enough + 1, freedom, features)}",
            cause=Cause.BOTTLENECK if sick else None,
            confidence=(0.75 if rank == 1 else 0.6) if sick else 0.0,
            advice=f"All that the outputs know of the inputs passes through {rank} "
            f"number{'s' * (rank != 1)}: widen that layer (architecture.widths), or lead a "
            "shortcut around it."
            if sick
            else "",
            source=SOURCE,
        )


def _rank(model: nn.Module, inputs: Tensor, *, directions: int) -> int:
    """The largest rank, over the examples, of random mixtures of the outputs by the inputs."""
    leaf = inputs.clone().requires_grad_()
    with isolated_rng(0, "probe"), torch.backends.cudnn.flags(enabled=False):
        outputs = model(leaf * 1.0)  # a copy, which forward may write to
    draw = generator(0, "bottleneck")
    mixtures = torch.randn(directions, outputs.shape[1], generator=draw).to(outputs)
    slopes = []
    for mixture in mixtures:
        if not outputs.requires_grad:
            return 0
        (slope,) = torch.autograd.grad(
            (outputs @ mixture).sum(), leaf, retain_graph=True, allow_unused=True
        )
        if slope is None or not bool(torch.isfinite(slope).all()):
            return 0
        slopes.append(slope.flatten(1))
    jacobians = torch.stack(slopes, 1)  # [N, directions, features]
    values = torch.linalg.svdvals(jacobians)
    return int((values > NULL * values[:, :1]).sum(1).max())


@torch.no_grad()
def _narrowest(model: nn.Module, inputs: Tensor) -> str:
    """The innermost module that gives the fewest numbers for an example, for the finding."""
    found: list[tuple[int, str]] = []

    def note(path: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and len(output) == len(inputs):
                found.append((output[0].numel(), path))

        return hook

    innermost = [(path, m) for path, m in model.named_modules() if not list(m.children())]
    hooks = [module.register_forward_hook(note(path)) for path, module in innermost]
    try:
        model(inputs.clone())
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        return ""
    numbers, path = min(found)
    return f"; the narrowest place is {path} with {numbers}"
