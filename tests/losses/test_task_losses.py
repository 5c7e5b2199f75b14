"""The losses of several tasks: each of its own outputs, and how their weights come about."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import Head, OutputSpec
from nnrecipe.core.spec import kind_of, members
from nnrecipe.data.outputs import side_by_side, together
from nnrecipe.losses import Loss, TaskLosses, TasksLoss, TaskWeights, mass
from nnrecipe.losses.weighting import Balanced

OUTPUTS = together(
    side_by_side(
        [
            Head("kind", OutputSpec(3, class_counts=(10, 20, 30), examples=60)),
            Head("tags", OutputSpec(2, task="multi_label", class_counts=(15, 30), examples=60)),
            Head(
                "size",
                OutputSpec(
                    1, task="regression", examples=60, target_mean=(1.0,), target_std=(2.0,)
                ),
            ),
        ]
    ),
    examples=60,
)


def build(**fields: Any) -> TaskLosses:
    spec = TypeAdapter(Loss).validate_python({"kind": "tasks", **fields})
    assert isinstance(spec, TasksLoss)
    made = spec.build(OUTPUTS)
    assert isinstance(made, TaskLosses)
    return made


def batch(count: int = 12) -> tuple[Tensor, Tensor]:
    """Outputs [N, 6], and targets [N, 4]: a class, two labels and a number."""
    draw = torch.Generator().manual_seed(3)
    outputs = torch.randn(count, 6, generator=draw)
    kind = torch.randint(3, (count, 1), generator=draw).float()
    tags = torch.randint(2, (count, 2), generator=draw).float()
    return outputs, torch.cat([kind, tags, torch.randn(count, 1, generator=draw)], 1)


def by_hand(outputs: Tensor, targets: Tensor) -> list[Tensor]:
    return [
        F.cross_entropy(outputs[:, :3], targets[:, 0].long()),
        F.binary_cross_entropy_with_logits(outputs[:, 3:5], targets[:, 1:3]),
        F.mse_loss(outputs[:, 5:], targets[:, 3:]),
    ]


def test_each_task_has_its_usual_loss_of_its_own_outputs() -> None:
    outputs, targets = batch()
    torch.testing.assert_close(
        build().each(outputs, targets), torch.stack(by_hand(outputs, targets))
    )


def test_factors_weigh_and_a_loss_can_be_chosen() -> None:
    outputs, targets = batch()
    loss = build(losses={"size": "l1"}, weights={"kind": "fixed", "factors": {"tags": 3}})
    kind, tags, _ = by_hand(outputs, targets)
    expected = kind + 3 * tags + F.l1_loss(outputs[:, 5:], targets[:, 3:])
    torch.testing.assert_close(loss(outputs, targets), expected)


def test_the_gradient_in_float64_is_that_of_the_sum() -> None:
    outputs, targets = batch()
    leaf = outputs.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: build()(x, targets.double()), leaf)


def test_chance_is_the_weighted_sum_of_each() -> None:
    loss = build(weights={"kind": "fixed", "factors": {"kind": 2, "size": 0.5}})
    assert loss.chance == pytest.approx(2 * math.log(3) + math.log(2) + 0.5 * 4)
    assert build(losses={"size": "huber"}).chance is None


def test_auto_makes_every_loss_start_at_its_factor() -> None:
    outputs, targets = batch()
    loss = build(weights={"kind": "auto", "factors": {"size": 2}})
    first = loss.each(outputs, targets)
    loss.weighting.begin(first)
    torch.testing.assert_close(loss.weighting.weights() * first, torch.tensor([1.0, 1.0, 2.0]))
    assert loss(outputs, targets).item() == pytest.approx(4)


@pytest.mark.parametrize("broken", [0.0, math.nan, math.inf])
def test_auto_leaves_alone_what_it_can_not_divide_by(broken: float) -> None:
    loss = build(weights="auto")
    loss.weighting.begin(torch.tensor([2.0, broken, 4.0]))
    assert loss.weighting.weights().tolist() == [0.5, 1.0, 0.25]


def test_uncertainty_is_kendalls_formula() -> None:
    outputs, targets = batch()
    loss = build(weights="uncertainty")
    (log_variance,) = loss.weighting.parameters()
    with torch.no_grad():
        log_variance.copy_(torch.tensor([0.4, -0.3, 1.1]))
    kind, tags, size = by_hand(outputs, targets)
    sigma = (log_variance / 2).exp()
    expected = kind / sigma[0] ** 2 + tags / sigma[1] ** 2 + size / (2 * sigma[2] ** 2)
    torch.testing.assert_close(loss(outputs, targets), expected + sigma.log().sum())
    assert loss.weighting.weights()[2].item() == pytest.approx(0.5 * math.exp(-1.1))


def test_uncertainty_comes_to_rest_where_the_formula_says() -> None:
    """For losses that stay, exp(s) is 2 c loss: c is 1 of classes and labels, 1/2 of numbers."""
    loss, fixed = build(weights="uncertainty"), torch.tensor([0.7, 0.2, 3.0])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    loss.train_with(optimizer, lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        loss.weighting(fixed).backward()
        optimizer.step()
    (log_variance,) = loss.weighting.parameters()
    torch.testing.assert_close(log_variance.exp().detach(), torch.tensor([1.4, 0.4, 3.0]))


def chens_algorithm(norms: Tensor, losses: Tensor, first: Tensor, *, alpha: float) -> list[Tensor]:
    """Chen et al. 2018, algorithm 1, with autograd and torch's Adam; norms [steps, T]."""
    weights = nn.Parameter(torch.ones(norms.shape[1]))
    adam = torch.optim.Adam([weights], lr=0.025)
    course = []
    for norm, loss in zip(norms, losses, strict=True):
        weighted = weights * norm
        rate = (loss / first) / (loss / first).mean()
        target = (weighted.mean() * rate**alpha).detach()
        adam.zero_grad()
        (weighted - target).abs().sum().backward()
        adam.step()
        with torch.no_grad():
            weights.mul_(len(weights) / weights.sum())
        course.append(weights.detach().clone())
    return course


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_grad_norm_is_chens_algorithm(alpha: float) -> None:
    draw = torch.Generator().manual_seed(1)
    norms = torch.rand(20, 3, generator=draw) * torch.tensor([1.0, 5.0, 0.2])
    losses, first = torch.rand(20, 3, generator=draw) + 0.5, torch.tensor([2.0, 1.0, 0.7])
    weighting = build(weights={"kind": "grad_norm", "alpha": alpha}).weighting
    assert isinstance(weighting, Balanced)
    weighting.begin(first)
    reference = chens_algorithm(norms, losses, first, alpha=alpha)
    for norm, loss, expected in zip(norms, losses, reference, strict=True):
        weighting.move(norm, loss)
        torch.testing.assert_close(weighting.weights(), expected)


def test_grad_norm_brings_the_norms_together() -> None:
    """Tasks that come equally far end with equal weighted norms where alpha is 0 or not."""
    weighting = Balanced(2, alpha=1.5, lr=0.025)
    norms, losses = torch.tensor([8.0, 1.0]), torch.tensor([1.0, 1.0])
    for _ in range(400):
        weighting.move(norms, losses)
    first, second = (weighting.weights() * norms).tolist()
    assert first / second == pytest.approx(1, abs=0.3)
    assert weighting.weights().sum().item() == pytest.approx(2)


def test_grad_norm_outlives_what_is_not_finite() -> None:
    weighting = Balanced(2, alpha=1.5, lr=0.025)
    weighting.move(torch.tensor([math.nan, 1.0]), torch.tensor([1.0, 1.0]))
    assert weighting.weights().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("member", members(TaskWeights), ids=kind_of)
def test_what_is_learned_comes_back_with_the_state(member: Any) -> None:
    one, other = build(weights=kind_of(member)), build(weights=kind_of(member))
    one.weighting.begin(torch.tensor([1.0, 2.0, 3.0]))
    for parameter in one.weighting.parameters():
        parameter.data.add_(0.3)
    if isinstance(one.weighting, Balanced):
        one.weighting.move(torch.tensor([1.0, 2.0, 3.0]), torch.ones(3))
    assert isinstance(other.loss, nn.Module)
    assert isinstance(one.loss, nn.Module)
    other.loss.load_state_dict(one.loss.state_dict())
    outputs, targets = batch()
    assert one(outputs, targets).item() == other(outputs, targets).item()


def test_the_mass_of_a_task_is_that_of_its_own_classes() -> None:
    _, targets = batch()
    loss = build(losses={"kind": {"kind": "cross_entropy", "class_weights": [1, 2, 4]}})
    counts = targets[:, 0].long().bincount(minlength=3)
    assert loss.masses(targets).tolist() == [float(counts @ torch.tensor([1, 2, 4])), 12, 12]
    assert float(mass(loss, targets)) == 12


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"losses": {"sise": "mse"}}, r"^loss\.losses\.sise: no such task: .*kind, tags, size"),
        (
            {"weights": {"kind": "auto", "factors": {"x": 2}}},
            r"^loss\.weights\.factors\.x: no such",
        ),
        ({"losses": {"size": "focal"}}, r"^loss\.losses\.size\.kind: .*use mse"),
        (
            {"losses": {"kind": {"kind": "cross_entropy", "class_weights": [1, 2]}}},
            r"^loss\.losses\.kind\.class_weights: 2 weights for 3 classes",
        ),
    ],
)
def test_what_fits_no_task_is_told_with_its_path(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(**fields)
