"""Reduce on plateau: against torch's, epoch by epoch, and on figures that are missing or odd."""

from __future__ import annotations

import math
import pickle
import random

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from nnrecipe.core.errors import UserError
from nnrecipe.schedulers import Plateau

EPOCHS, PER_EPOCH = 120, 5
TOTAL = EPOCHS * PER_EPOCH


def noisy(monitor, seed):
    """A figure that gets better, then stays where it is, with noise."""
    draw = random.Random(seed)
    better = [0.9 * math.exp(-epoch / 15) + 0.02 * draw.random() for epoch in range(EPOCHS)]
    return better if monitor.endswith("loss") else [1 - figure for figure in better]


def observed(spec, figures, *, steps_per_epoch=PER_EPOCH):
    """The factor that each epoch was trained with, and the multiplier after the last."""
    multiplier = spec.build(TOTAL, steps_per_epoch=steps_per_epoch)
    factors = []
    for epoch, figure in enumerate(figures, 1):
        factors.append(multiplier((epoch - 1) * steps_per_epoch))
        multiplier.observe(epoch * steps_per_epoch, {spec.monitor: figure, "other": 0.0})
    return factors, multiplier


def torchs(figures, **settings):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedulers.ReduceLROnPlateau(optimizer, eps=0.0, **settings)
    rates = []
    for figure in figures:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(figure)
    return rates


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("monitor", ["val_loss", "train_loss", "val_accuracy", "val_f1"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"patience": 0, "factor": 0.7},
        {"patience": 2, "factor": 0.5, "cooldown": 3, "threshold": 0.01},
        {"patience": 3, "threshold": 0.005, "threshold_mode": "abs"},
    ],
    ids=str,
)
@pytest.mark.parametrize("least", [0.0, 0.03])
def test_decays_at_the_epochs_of_torchs(monitor, settings, least, seed):
    figures = noisy(monitor, seed)
    found, _ = observed(Plateau(monitor=monitor, min_factor=least, **settings), figures)
    mode = "min" if monitor.endswith("loss") else "max"
    expected = torchs(figures, mode=mode, min_lr=least, **settings)
    assert found == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_figures_that_are_not_finite_are_no_improvement(odd):
    figures = [odd, 1.0, odd, odd, 0.5, odd, odd, odd]
    found, _ = observed(Plateau(patience=1), figures)
    assert found == torchs(figures, patience=1)
    assert found[-1] < 1


def test_what_was_said_of_past_steps_stays():
    spec = Plateau(patience=0, factor=0.5)
    factors, multiplier = observed(spec, [1.0] * 6)
    assert factors == [1, 1, 0.5, 0.25, 0.125, 0.0625]
    again = [multiplier(epoch * PER_EPOCH) for epoch in range(6)]
    assert again == factors
    last_steps = [multiplier((epoch + 1) * PER_EPOCH - 1) for epoch in range(6)]
    assert last_steps == factors


def test_a_multiplier_that_has_observed_can_be_pickled():
    _, multiplier = observed(Plateau(patience=1, cooldown=1), [1.0] * 10)
    copy = pickle.loads(pickle.dumps(multiplier))
    for each in (copy, multiplier):
        for epoch in range(11, 20):
            each.observe(epoch * PER_EPOCH, {"val_loss": 1.0})
    assert [copy(step) for step in range(TOTAL)] == [multiplier(step) for step in range(TOTAL)]


def test_two_multipliers_of_a_spec_share_nothing():
    spec = Plateau(patience=0)
    _, first = observed(spec, [1.0] * 10)
    second = spec.build(TOTAL, steps_per_epoch=PER_EPOCH)
    assert first(TOTAL) < 1
    assert second(TOTAL) == 1


def test_epochs_within_the_warmup_do_not_count():
    warm = 3
    spec = Plateau(patience=0, factor=0.5, warmup=f"{warm} epochs")
    factors, _ = observed(spec, [0.1] + [1.0] * 7)
    climb = [(epoch * PER_EPOCH + 1) / (warm * PER_EPOCH + 1) for epoch in range(warm)]
    after = torchs([1.0] * 5, patience=0, factor=0.5)
    assert factors == pytest.approx(climb + after, abs=1e-12)


def test_a_figure_that_is_not_measured_is_the_users_to_mend():
    multiplier = Plateau(monitor="val_accuracy").build(TOTAL, steps_per_epoch=PER_EPOCH)
    with pytest.raises(UserError, match=r"scheduler\.monitor: val_accuracy .* val_r2: watch one"):
        multiplier.observe(PER_EPOCH, {"train_loss": 0.3, "val_r2": 0.5})


def test_a_diverged_epoch_which_is_not_evaluated_is_let_pass():
    multiplier = Plateau(patience=0).build(TOTAL, steps_per_epoch=PER_EPOCH)
    multiplier.observe(PER_EPOCH, {"train_loss": math.nan})
    assert multiplier(TOTAL) == 1
