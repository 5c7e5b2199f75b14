"""The bands of the learning-rate ladder, and how it is climbed."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnrecipe.data.batch import Batch
from nnrecipe.regularization import Regularization
from nnrecipe.training.ladder import Band, Rung, bands, climb, rates, start_loss, suggest
from nnrecipe.training.setup import TrainSetup

LADDER = [
    Rung(1e-5, 2.30, 2.299),
    Rung(1e-4, 2.30, 2.28),
    Rung(1e-3, 2.30, 1.50),
    Rung(1e-2, 2.30, 1.05),
    Rung(3e-2, 2.30, 1.00),
    Rung(1e-1, 2.30, 2.29),
    Rung(1.0, 2.30, math.inf),
]


def test_bands_follow_the_fall() -> None:
    found = list(bands(LADDER).values())
    low, good, exploding = Band.TOO_LOW, Band.GOOD, Band.EXPLODING
    assert found == [low, low, good, good, good, exploding, exploding]


def test_the_smallest_of_about_equals_is_suggested() -> None:
    assert suggest(LADDER) == 1e-2


def test_nothing_is_suggested_where_nothing_falls() -> None:
    rungs = [Rung(1e-3, 2.3, 2.3), Rung(1e-2, 2.3, 2.4), Rung(1.0, 2.3, math.inf)]
    assert suggest(rungs) is None
    assert list(bands(rungs).values()) == [Band.TOO_LOW, Band.EXPLODING, Band.EXPLODING]


def test_rates_are_even_in_log_space() -> None:
    found = list(rates(1e-4, 1.0, per_decade=2))
    assert found[0] == 1e-4
    assert found[-1] == 1.0
    assert len(found) == 9
    for low, high in pairwise(found):
        assert high / low == pytest.approx(10**0.5, rel=0.01)


def _climb(rate: float) -> Rung:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 4, generator=draw)
    batches = [Batch(inputs, inputs[:, :3].argmax(1))] * 24
    start = start_loss(model, F.cross_entropy, batches)
    setup = TrainSetup(
        model=model,
        loss=F.cross_entropy,
        optimizer=torch.optim.SGD(model.parameters(), lr=rate),
        penalty=Regularization().penalty(),
        device=torch.device("cpu"),
    )
    return climb(setup, batches, rate=rate, start=start)


def test_a_step_of_the_ladder_is_made_of_as_many_batches_as_training_takes() -> None:
    # The rate is sound for the mean over both batches, and too high for either of them alone.
    inputs = torch.eye(2).repeat_interleave(8, 0) * 3.0
    halves = [Batch(inputs[:8], torch.zeros(8)), Batch(inputs[8:], torch.zeros(8))] * 12

    def end(accumulate: int) -> Rung:
        torch.manual_seed(0)
        model = nn.Linear(2, 1, bias=False)
        setup = TrainSetup(
            model=model,
            loss=lambda outputs, targets: F.mse_loss(outputs[:, 0], targets),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.15),
            penalty=Regularization().penalty(),
            device=torch.device("cpu"),
            task="regression",
            accumulate=accumulate,
        )
        return climb(setup, halves, rate=0.15, start=1.0)

    assert end(2).fall > 0.9
    assert end(1).fall < 0


def test_a_linear_model_has_the_bands_of_its_rates() -> None:
    rungs = [_climb(rate) for rate in (1e-6, 0.5, 1e8)]
    assert rungs[0].fall == pytest.approx(0, abs=1e-3)
    assert rungs[1].fall > 0.3
    assert rungs[2].fall < 0
    assert rungs[0].start == rungs[1].start == rungs[2].start
    assert list(bands(rungs).values()) == [Band.TOO_LOW, Band.GOOD, Band.EXPLODING]


def test_a_rate_above_the_best_has_to_keep_up_with_it() -> None:
    rungs = [Rung(1e-3, 2.3, 1.9), Rung(1e-2, 2.3, 0.9), Rung(0.1, 2.3, 1.8), Rung(1.0, 2.3, 2.4)]
    assert list(bands(rungs).values()) == [Band.GOOD, Band.GOOD, Band.UNSTABLE, Band.EXPLODING]
    assert suggest(rungs) == 1e-2
