from __future__ import annotations

import math
import pickle

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.optim import lr_scheduler as schedulers

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import kind_of, members
from nnrecipe.schedulers import Constant, Cosine, OneCycle, Scheduler

FAMILY = TypeAdapter(Scheduler)
TOTAL, PER_EPOCH = 97, 10


def exponential(optimizer, total, *, gamma=0.95):
    """torch's, which is stepped once an epoch, as a function of the optimizer step."""
    return schedulers.StepLR(optimizer, PER_EPOCH, gamma)


# settings, and torch's scheduler for them over a number of steps
CASES = [
    ("constant", {}, lambda o, n: schedulers.ConstantLR(o, factor=1.0)),
    ("step", {"step_size": 30}, lambda o, n: schedulers.StepLR(o, 30)),
    ("step", {"step_size": 7, "gamma": 0.5}, lambda o, n: schedulers.StepLR(o, 7, 0.5)),
    (
        "multi_step",
        {"milestones": [5, 50, 200], "gamma": 0.3},
        lambda o, n: schedulers.MultiStepLR(o, [5, 50, 200], 0.3),
    ),
    ("exponential", {}, exponential),
    ("exponential", {"gamma": 0.5}, lambda o, n: exponential(o, n, gamma=0.5)),
    ("linear", {}, lambda o, n: schedulers.LinearLR(o, 1.0, 0.0, n)),
    ("linear", {"min_factor": 0.1}, lambda o, n: schedulers.LinearLR(o, 1.0, 0.1, n)),
    ("polynomial", {}, lambda o, n: schedulers.PolynomialLR(o, n, 2.0)),
    ("polynomial", {"power": 0.9}, lambda o, n: schedulers.PolynomialLR(o, n, 0.9)),
    ("cosine", {}, lambda o, n: schedulers.CosineAnnealingLR(o, n)),
    ("cosine", {"min_factor": 0.1}, lambda o, n: schedulers.CosineAnnealingLR(o, n, 0.1)),
    ("one_cycle", {}, lambda o, n: schedulers.OneCycleLR(o, 1.0, n, cycle_momentum=False)),
    (
        "one_cycle",
        {"pct_start": 0.5, "div_factor": 10, "final_div_factor": 100.0},
        lambda o, n: schedulers.OneCycleLR(
            o, 1.0, n, pct_start=0.5, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
    ),
]
# what a member needs beside its kind
NEEDED = {"step": {"step_size": 5}, "multi_step": {"milestones": [5]}}
each_case = pytest.mark.parametrize(("kind", "settings", "torchs"), CASES)
each_member = pytest.mark.parametrize("member", members(Scheduler), ids=kind_of)


def spec_of(member, **settings):
    return member(**{**NEEDED.get(kind_of(member), {}), **settings})


def course_of(make, steps):
    """The learning rates of torch's scheduler from 1.0, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return rates


def test_every_member_is_compared_to_torch():
    assert {kind for kind, *_ in CASES} == {kind_of(member) for member in members(Scheduler)}


@each_case
def test_the_whole_course_is_torchs(kind, settings, torchs):
    multiplier = FAMILY.validate_python({"kind": kind, **settings}).build(
        TOTAL, steps_per_epoch=PER_EPOCH
    )
    expected = course_of(lambda o: torchs(o, TOTAL), TOTAL)
    assert [multiplier(step) for step in range(TOTAL)] == pytest.approx(expected, abs=1e-9)


def test_exponential_is_torchs_stepped_at_the_end_of_each_epoch():
    multiplier = FAMILY.validate_python("exponential").build(TOTAL, steps_per_epoch=PER_EPOCH)
    epochs = math.ceil(TOTAL / PER_EPOCH)
    by_epoch = course_of(lambda o: schedulers.ExponentialLR(o, 0.95), epochs)
    expected = [by_epoch[step // PER_EPOCH] for step in range(TOTAL)]
    assert [multiplier(step) for step in range(TOTAL)] == pytest.approx(expected, abs=1e-9)


@each_case
def test_after_a_warmup_the_schedule_runs_over_what_is_left(kind, settings, torchs):
    warm = 12
    spec = FAMILY.validate_python({"kind": kind, "warmup": warm, **settings})
    multiplier = spec.build(TOTAL, steps_per_epoch=PER_EPOCH)
    rest = course_of(lambda o: torchs(o, TOTAL - warm), TOTAL - warm)
    found = [multiplier(step) for step in range(TOTAL)]
    assert found[warm:] == pytest.approx(rest, abs=1e-9)
    climb = course_of(
        lambda o: schedulers.LinearLR(o, 1 / (warm + 1), 1.0, total_iters=warm), warm + 1
    )
    assert found[: warm + 1] == pytest.approx([rest[0] * rate for rate in climb], abs=1e-9)


@pytest.mark.parametrize(
    ("warmup", "steps"),
    [
        (0, 0),
        (0.0, 0),
        (1, 1),
        (25, 25),
        (0.1, 9),
        (0.5, 48),
        ("1 epoch", 10),
        ("3 epochs", 30),
        ("2.5 epochs", 25),
    ],
)
def test_a_warmup_is_steps_a_fraction_or_epochs(warmup, steps):
    multiplier = Constant(warmup=warmup).build(TOTAL, steps_per_epoch=PER_EPOCH)
    found = [multiplier(step) for step in range(TOTAL)]
    assert sum(rate < 1 for rate in found) == steps
    assert found == sorted(found)
    assert found[0] > 0


@pytest.mark.parametrize("warmup", [97, 98, "10 epochs"])
@each_member
def test_a_warmup_must_leave_some_steps(member, warmup):
    with pytest.raises(UserError, match=r"scheduler\.warmup: .* training has only 97: shorten it"):
        spec_of(member, warmup=warmup).build(TOTAL, steps_per_epoch=PER_EPOCH)


@pytest.mark.parametrize("warmup", [-1, 1.5, -0.1, True, None, "3", "3 steps", "epochs", [3]])
def test_a_warmup_that_is_none_gives_one_message(warmup):
    with pytest.raises(ValidationError) as caught:
        FAMILY.validate_python({"kind": "cosine", "warmup": warmup})
    (error,) = caught.value.errors()
    assert error["loc"] == ("cosine", "warmup")
    assert "'3 epochs'" in error["msg"]


@each_member
@pytest.mark.parametrize("total", [1, 2, 3, 10])
def test_short_trainings_get_finite_factors(member, total):
    multiplier = spec_of(member).build(total, steps_per_epoch=1)
    assert all(0 <= multiplier(step) <= 1 for step in range(total + 2))


@each_member
def test_a_multiplier_depends_on_the_step_alone(member):
    multiplier = spec_of(member, warmup=3).build(TOTAL, steps_per_epoch=PER_EPOCH)
    forwards = [multiplier(step) for step in range(TOTAL)]
    backwards = [multiplier(step) for step in reversed(range(TOTAL))]
    assert forwards == backwards[::-1]


@each_member
def test_a_multiplier_can_be_pickled(member):
    multiplier = spec_of(member, warmup=3).build(TOTAL, steps_per_epoch=PER_EPOCH)
    copy = pickle.loads(pickle.dumps(multiplier))
    assert [copy(s) for s in range(TOTAL)] == [multiplier(s) for s in range(TOTAL)]


@pytest.mark.parametrize("spec", [Cosine(min_factor=0.1), OneCycle()], ids=lambda spec: spec.kind)
def test_after_the_last_step_a_schedule_stays_at_its_end(spec):
    multiplier = spec.build(TOTAL, steps_per_epoch=PER_EPOCH)
    assert multiplier(TOTAL + 1) == multiplier(TOTAL) == multiplier(10 * TOTAL)


def test_a_one_cycle_whose_peak_is_its_first_step():
    multiplier = OneCycle(pct_start=0.5).build(2, steps_per_epoch=1)
    assert multiplier(0) == 1.0


def test_constant_is_the_default():
    assert FAMILY.validate_python({}) == Constant()


@pytest.mark.parametrize("milestones", [[20, 10], [10, 10]])
def test_milestones_must_rise(milestones):
    with pytest.raises(ValidationError) as caught:
        FAMILY.validate_python({"kind": "multi_step", "milestones": milestones})
    assert caught.value.errors()[0]["ctx"]["path"] == "scheduler.milestones"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "step"},
        {"kind": "step", "step_size": 0},
        {"kind": "step", "step_size": 10, "gamma": 0},
        {"kind": "step", "step_size": 10, "gamma": 1.5},
        {"kind": "multi_step", "milestones": []},
        {"kind": "multi_step", "milestones": [0]},
        {"kind": "cosine", "min_factor": 1.0},
        {"kind": "polynomial", "power": 0},
        {"kind": "one_cycle", "pct_start": 1.0},
        {"kind": "one_cycle", "div_factor": 0.5},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        FAMILY.validate_python(wrong)
