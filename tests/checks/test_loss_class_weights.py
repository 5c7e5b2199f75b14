"""How much each class counts in a loss: measured, and held against the counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import make_bench
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks.loss.class_weights import ClassWeightsCheck
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.losses import BceWithLogits, CrossEntropy, Focal, MultiMargin

LossOf = Callable[[Tensor, Tensor], Tensor]
EVEN, FIVE_TO_ONE, LONG_TAIL = (100,) * 4, (20, 100, 20, 100), (1000, 300, 100, 30)


LABELS = OutputSpec(3, (40, 80, 200), "multi_label", 400)


def weighted(*weights: float) -> LossOf:
    """The mean that divides by the weights, as torch's."""
    return lambda z, y: F.cross_entropy(z, y, weight=torch.tensor(weights).float())


def multiplied(*weights: float) -> LossOf:
    """The mean that divides by the examples."""
    return lambda z, y: (
        torch.tensor(weights).float()[y] * F.cross_entropy(z, y, reduction="none")
    ).mean()


def verdict(
    loss: LossOf, counts: tuple[int, ...], task: Task = "single_label"
) -> tuple[Verdict, Cause | None]:
    size = len(counts)
    inputs = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(1)
    labels: Any = torch.arange(120) % size
    if task == "multi_label":
        labels = (torch.rand(120, size, generator=draw) < 0.3).float()
    outputs = OutputSpec(size, counts, task, 400)
    data = {"outputs": outputs, "classes": tuple("abcd"[:size]), "input_shape": (8,)}
    both = (inputs, labels)
    bench = make_bench(model=lambda: nn.Linear(8, size), loss=loss, train=both, val=both, data=data)
    (finding,) = ClassWeightsCheck().check(bench)
    return finding.verdict, finding.cause


@pytest.mark.parametrize("counts", [EVEN, FIVE_TO_ONE, LONG_TAIL])
@pytest.mark.parametrize(
    "member",
    [
        CrossEntropy(),
        CrossEntropy(class_weights="balanced"),
        CrossEntropy(class_weights="balanced", label_smoothing=0.1),
        Focal(),
        Focal(class_weights="balanced"),
        MultiMargin(),
    ],
)
def test_uniform_and_balanced_weights_pass(member: Any, counts: tuple[int, ...]) -> None:
    assert verdict(member.build(OutputSpec(4, counts)), counts)[0] is Verdict.PASS


@pytest.mark.parametrize(
    ("loss", "counts"),
    [
        (multiplied(5, 1, 5, 1), FIVE_TO_ONE),
        (weighted(25, 1, 25, 1), FIVE_TO_ONE),  # the inverse squared
        (weighted(1, 1.8, 3.1, 5.7), LONG_TAIL),  # the root of the inverse
        (weighted(10, 1, 1, 1), EVEN),
        (
            lambda z, y: F.cross_entropy(z, y, reduction="none").topk(len(y) // 2).values.mean(),
            EVEN,
        ),
    ],
)
def test_weights_that_somebody_may_want_pass(loss: LossOf, counts: tuple[int, ...]) -> None:
    assert verdict(loss, counts)[0] is Verdict.PASS


@pytest.mark.parametrize(
    ("loss", "counts", "gravity"),
    [
        (weighted(0, 1, 1, 1), EVEN, Verdict.FAIL),
        (multiplied(0, 1, 1, 1), EVEN, Verdict.FAIL),
        (multiplied(-1, 1, 1, 1), EVEN, Verdict.FAIL),
        (weighted(1, -0.2, 1, 1), EVEN, Verdict.FAIL),
        (lambda z, y: F.cross_entropy(z, y, ignore_index=2), EVEN, Verdict.FAIL),
        (weighted(500, 1, 1, 1), EVEN, Verdict.WARN),
        (multiplied(1e-3, 1, 1, 1), EVEN, Verdict.WARN),
        (weighted(20, 100, 20, 100), FIVE_TO_ONE, Verdict.WARN),  # the counts themselves
        (multiplied(1000, 300, 100, 30), LONG_TAIL, Verdict.WARN),
    ],
)
def test_weights_that_harm_are_named(
    loss: LossOf, counts: tuple[int, ...], gravity: Verdict
) -> None:
    assert verdict(loss, counts) == (gravity, Cause.BAD_CLASS_WEIGHTS)


def pos_weight(*weights: float) -> LossOf:
    return lambda z, t: F.binary_cross_entropy_with_logits(
        z, t, pos_weight=torch.tensor(weights).float()
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (pos_weight(1, 1, 1), Verdict.PASS),
        (pos_weight(9, 4, 1), Verdict.PASS),
        (BceWithLogits(pos_weight="balanced").build(LABELS), Verdict.PASS),
        (Focal(alpha=0.25).build(LABELS), Verdict.PASS),
        (pos_weight(2000, 800, 200), Verdict.WARN),
        (pos_weight(1 / 9, 1 / 9, 1), Verdict.WARN),  # the wrong way round
        (pos_weight(0, 0, 0), Verdict.FAIL),
    ],
)  # fmt: skip
def test_weights_of_labels(loss: LossOf, expected: Verdict) -> None:
    found, cause = verdict(loss, LABELS.class_counts, "multi_label")
    assert found is expected
    assert cause is (None if expected is Verdict.PASS else Cause.BAD_CLASS_WEIGHTS)


def test_a_loss_whose_form_is_wrong_is_not_weighed() -> None:
    bench = make_bench(loss=lambda z, y: -F.cross_entropy(z, y))
    assert list(ClassWeightsCheck().check(bench)) == []
