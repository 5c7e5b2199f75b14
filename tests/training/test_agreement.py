"""NLL, calibration and diversity: cases worked out by hand, and NumPy's figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.training.agreement import Agreement, calibration_error, figures


def test_the_calibration_error_of_a_case_by_hand() -> None:
    """Five bins: (0.2, 0.4] has 0.3 and 0.4 with one right, (0.8, 1] has 0.9 and 1 with one right.

    |1/2 - 0.35| * 2/5 + |1 - 0.7| * 1/5 + |1/2 - 0.95| * 2/5 = 0.06 + 0.06 + 0.18
    """
    confidence = torch.tensor([0.3, 0.4, 0.7, 0.9, 1.0], dtype=torch.float64)
    right = torch.tensor([True, False, True, True, False])
    assert calibration_error(confidence, right, bins=5) == pytest.approx(0.30)


def test_the_calibration_error_of_many_is_that_of_a_loop() -> None:
    draw = np.random.default_rng(1)
    confidence, right = draw.uniform(0.1, 1, 500), draw.random(500) < 0.6
    expected = 0.0
    for low in range(15):
        chosen = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if chosen.any():
            expected += chosen.mean() * abs(right[chosen].mean() - confidence[chosen].mean())
    found = calibration_error(torch.from_numpy(confidence), torch.from_numpy(right))
    assert found == pytest.approx(expected, abs=1e-12)


def test_nll_is_the_log_probability_of_what_is_true() -> None:
    logits = torch.tensor([[0.8, 0.2], [0.4, 0.6]]).log()
    found = figures(logits, torch.tensor([0, 0]), OutputSpec(2))
    assert found["nll"] == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2, rel=1e-6)
    assert found["accuracy"] == 0.5
    labels = torch.tensor([[1.0, 0.0]])
    found = figures(torch.tensor([[0.0, 0.0]]), labels, OutputSpec(2, task="multi_label"))
    assert found["nll"] == pytest.approx(math.log(2))
    assert "nll" not in figures(labels, labels, OutputSpec(2, task="regression"))


def _sure(*said: int) -> Tensor:
    return 10 * torch.nn.functional.one_hot(torch.tensor(said), 3).float()


def _agreement(members: list[Tensor], targets: Tensor, task: str = "single_label") -> Agreement:
    made = torch.stack(members)
    return Agreement(made, made.mean(0), targets, OutputSpec(made.shape[2], task=task))  # type: ignore[arg-type]


def test_diversity_of_classes() -> None:
    targets = torch.tensor([0, 0, 0, 0])
    found = _agreement([_sure(0, 0, 0, 1), _sure(0, 0, 1, 2), _sure(0, 0, 0, 2)], targets)
    assert found.disagreement == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)
    errors = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]])
    pairs = np.corrcoef(errors)[np.triu_indices(3, k=1)]
    assert found.error_correlation == pytest.approx(pairs.mean())
    assert found.average_figures()["accuracy"] == 0.75
    assert [row["accuracy"] for row in found.member_figures()] == [0.75, 0.5, 0.75]


def test_members_without_errors_have_no_correlation() -> None:
    targets = torch.tensor([0, 1])
    assert _agreement([_sure(0, 1), _sure(0, 0)], targets).error_correlation is None


def test_diversity_of_values() -> None:
    draw = np.random.default_rng(2)
    targets, noise = draw.normal(size=(40, 2)), draw.normal(size=(2, 40, 2))
    members = [torch.from_numpy(targets + part) for part in noise]
    found = _agreement(members, torch.from_numpy(targets), "regression")
    assert found.disagreement == pytest.approx(np.sqrt(np.mean((noise[0] - noise[1]) ** 2)))
    expected = np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]
    assert found.error_correlation == pytest.approx(expected)
