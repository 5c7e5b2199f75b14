from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nnrecipe.core.shapes import OutputSpec


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_chance_loss_is_the_cross_entropy_of_equal_logits(classes):
    logits = torch.zeros(1, classes, dtype=torch.float64)
    expected = F.cross_entropy(logits, torch.tensor([0])).item()
    assert OutputSpec(classes).chance_loss == pytest.approx(expected, abs=1e-12)
