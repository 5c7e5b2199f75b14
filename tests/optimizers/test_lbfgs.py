"""L-BFGS: what it refuses, and that it finds minima."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional as F

from nnrecipe.core.errors import UserError
from nnrecipe.core.parameters import ParameterRule, group
from nnrecipe.optimizers import Lbfgs


def regression():
    """A softmax regression with an L2 penalty: convex, with a single minimum."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3).double()
    inputs, targets = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 3

    def objective():
        loss = F.cross_entropy(model(inputs), targets)
        return loss + 0.01 * sum((p * p).sum() for p in model.parameters())

    return model, objective


def test_it_finds_the_minimum_that_scipy_finds():
    model, objective = regression()
    (entry,) = group(model, [ParameterRule(pattern=".*")], lr=1.0, weight_decay=0.0)
    optimizer = Lbfgs(tolerance_change=0.0, tolerance_grad=1e-9).build([entry], lr=1.0)

    def closure():
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)

    found = torch.cat([p.detach().flatten() for p in model.parameters()])
    theirs, objective = regression()

    def by_vector(vector):
        nn.utils.vector_to_parameters(torch.tensor(vector), theirs.parameters())
        theirs.zero_grad()
        loss = objective()
        loss.backward()
        slopes = torch.cat([p.grad.flatten() for p in theirs.parameters()])
        return loss.item(), slopes.numpy()

    start = torch.cat([p.detach().flatten() for p in regression()[0].parameters()]).numpy()
    reference = minimize(
        by_vector, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15}
    )
    torch.testing.assert_close(found, torch.from_numpy(reference.x), rtol=0, atol=1e-6)


def test_weight_decay_is_refused_and_half_of_it_as_l2_is_the_same():
    with pytest.raises(ValidationError) as caught:
        Lbfgs(weight_decay=0.02)
    (error,) = caught.value.errors()
    assert error["ctx"]["path"] == "optimizer.weight_decay"
    assert "regularization.l2 to 0.01," in error["ctx"]["remedy"]


def test_one_learning_rate_for_all():
    model = nn.Linear(4, 3)
    slow = ParameterRule(pattern="bias", lr_scale=0.1)
    groups = group(model, [slow, ParameterRule(pattern=".*")], lr=1.0, weight_decay=0.0)
    with pytest.raises(
        UserError, match=r"optimizer\.kind: lbfgs has one learning rate, not 0\.1, 1"
    ):
        Lbfgs().build(groups, lr=1.0)


@pytest.mark.parametrize(
    "wrong",
    [{"line_search_fn": "backtracking"}, {"max_iter": 0}, {"tolerance_grad": -1.0}],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        Lbfgs(**wrong)
