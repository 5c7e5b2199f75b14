from __future__ import annotations

import math
import pickle

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.optim import lr_scheduler as schedulers

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import kind_of, members
from nnrecipe.schedulers import Constant, Cosine, OneCycle, Scheduler, Step

FAMILY = TypeAdapter(Scheduler)
TOTAL, PER_EPOCH = 97, 10


def exponential(optimizer, total, *, gamma=0.95):
    """torch's, which is stepped once an epoch, as a function of the optimizer step."""
    return schedulers.StepLR(optimizer, PER_EPOCH, gamma)


def cyclic(optimizer, base, *settings, **more):
    """torch's, from `base` to 1."""
    return schedulers.CyclicLR(optimizer, base, 1.0, *settings, cycle_momentum=False, **more)


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
    ("step", {"step_size": "1.5 epochs"}, lambda o, n: schedulers.StepLR(o, 15)),
    (
        "multi_step",
        {"milestones": ["2 epochs", "4.5 epochs"]},
        lambda o, n: schedulers.MultiStepLR(o, [20, 45]),
    ),
    ("linear", {}, lambda o, n: schedulers.LinearLR(o, 1.0, 0.0, n)),
    ("linear", {"min_factor": 0.1}, lambda o, n: schedulers.LinearLR(o, 1.0, 0.1, n)),
    ("polynomial", {}, lambda o, n: schedulers.PolynomialLR(o, n, 2.0)),
    ("polynomial", {"power": 0.9}, lambda o, n: schedulers.PolynomialLR(o, n, 0.9)),
    ("cosine", {}, lambda o, n: schedulers.CosineAnnealingLR(o, n)),
    ("cosine", {"min_factor": 0.1}, lambda o, n: schedulers.CosineAnnealingLR(o, n, 0.1)),
    (
        "cosine_restarts",
        {"period": 9},
        lambda o, n: schedulers.CosineAnnealingWarmRestarts(o, 9, 2),
    ),
    (
        "cosine_restarts",
        {"period": "1 epoch", "period_factor": 1, "min_factor": 0.2},
        lambda o, n: schedulers.CosineAnnealingWarmRestarts(o, 10, 1, 0.2),
    ),
    (
        "cosine_restarts",
        {"period": 1, "period_factor": 3},
        lambda o, n: schedulers.CosineAnnealingWarmRestarts(o, 1, 3),
    ),
    ("cyclic", {}, lambda o, n: cyclic(o, 0.1, 40)),
    (
        "cyclic",
        {"base_factor": 0.0, "step_size_up": 5, "step_size_down": "1.2 epochs"},
        lambda o, n: cyclic(o, 0.0, 5, 12),
    ),
    (
        "cyclic",
        {"step_size_up": 7, "mode": "triangular2"},
        lambda o, n: cyclic(o, 0.1, 7, mode="triangular2"),
    ),
    (
        "cyclic",
        {"step_size_up": 1, "step_size_down": 6, "mode": "exp_range", "gamma": 0.95},
        lambda o, n: cyclic(o, 0.1, 1, 6, mode="exp_range", gamma=0.95),
    ),
    # nothing observed, nothing decays: test_plateau.py has the rest
    ("plateau", {}, lambda o, n: schedulers.ConstantLR(o, factor=1.0)),
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
    ("kind", "settings", "torchs"),
    # these two set the optimizer's rate as they are made, so SequentialLR can't hold them
    [case for case in CASES if case[0] not in ("one_cycle", "cyclic")],
)
def test_a_warmup_and_a_schedule_are_torchs_in_sequence(kind, settings, torchs):
    warm = 12
    spec = FAMILY.validate_python({"kind": kind, "warmup": "1.2 epochs", **settings})
    multiplier = spec.build(TOTAL, steps_per_epoch=PER_EPOCH)

    def in_sequence(optimizer):
        climb = schedulers.LinearLR(optimizer, 1 / (warm + 1), 1.0, total_iters=warm)
        rest = torchs(optimizer, TOTAL - warm)
        return schedulers.SequentialLR(optimizer, [climb, rest], [warm])

    expected = course_of(in_sequence, TOTAL)
    assert [multiplier(step) for step in range(TOTAL)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("warmup", "steps"),
    [
        (0, 0),
        (0.0, 0),
        (1, 1),
        (25, 25),
        (0.1, 9),
        (0.5, 48),
        ("0 epochs", 0),
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


def test_the_kinds_of_a_cycle():
    """The peaks of three cycles of ten steps, by Smith's formulas."""
    peaks = {"triangular": [1, 1, 1], "triangular2": [1, 0.5, 0.25]}
    peaks["exp_range"] = [0.9**5, 0.9**15, 0.9**25]
    for mode, heights in peaks.items():
        more = {"gamma": 0.9} if mode == "exp_range" else {}
        spec = FAMILY.validate_python(
            {"kind": "cyclic", "step_size_up": 5, "base_factor": 0.2, "mode": mode, **more}
        )
        multiplier = spec.build(TOTAL, steps_per_epoch=PER_EPOCH)
        found = [multiplier(step) for step in (5, 15, 25)]
        assert found == pytest.approx([0.2 + 0.8 * height for height in heights], abs=1e-12)
        assert [multiplier(step) for step in (0, 10, 20)] == pytest.approx([0.2] * 3, abs=1e-12)


@pytest.mark.parametrize(("mode", "gamma"), [("triangular", 0.9), ("exp_range", 1.0)])
def test_gamma_goes_with_exp_range_alone(mode, gamma):
    with pytest.raises(ValidationError) as caught:
        FAMILY.validate_python({"kind": "cyclic", "mode": mode, "gamma": gamma})
    assert caught.value.errors()[0]["ctx"]["path"] == "scheduler.gamma"


@pytest.mark.parametrize(
    ("size", "steps"), [(7, 7), ("1 epoch", 10), ("0.25 epochs", 2), ("0.01 epochs", 1)]
)
def test_a_duration_is_steps_or_epochs(size, steps):
    multiplier = spec_of(Step, step_size=size).build(TOTAL, steps_per_epoch=PER_EPOCH)
    found = [multiplier(step) for step in range(2 * steps)]
    assert found == pytest.approx([1.0] * steps + [0.1] * steps)


@pytest.mark.parametrize(
    "size", [0, -1, 1.5, True, None, "3", "3 steps", "0 epochs", "0.0 epochs", "9" * 10 + " epochs"]
)
def test_a_duration_that_is_none_gives_one_message(size):
    with pytest.raises(ValidationError) as caught:
        FAMILY.validate_python({"kind": "step", "step_size": size})
    (error,) = caught.value.errors()
    assert error["loc"] == ("step", "step_size")
    assert error["msg"] == "should be a number of optimizer steps above 0, or '30 epochs'"


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
def test_figures_leave_all_but_plateau_alone(member):
    multiplier = spec_of(member).build(TOTAL, steps_per_epoch=PER_EPOCH)
    before = [multiplier(step) for step in range(TOTAL)]
    for epoch in range(1, 40):
        multiplier.observe(epoch, {"train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5})
    unmoved = before == [multiplier(step) for step in range(TOTAL)]
    assert unmoved == (kind_of(member) != "plateau")


@each_member
def test_every_member_says_what_it_is_and_where_from(member):
    assert member.source
    assert member.__doc__.splitlines()[0].endswith(".")


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


@pytest.mark.parametrize(
    "milestones",
    [[20, 10], [10, 10], ["2 epochs", "1 epoch"], ["1 epoch", "1.0 epochs"], [5, "2 epochs"]],
)
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
        {"kind": "cosine_restarts", "period_factor": 0},
        {"kind": "cyclic", "base_factor": 1.0},
        {"kind": "plateau", "factor": 1.0},
        {"kind": "plateau", "monitor": "test_accuracy"},
        {"kind": "polynomial", "power": 0},
        {"kind": "one_cycle", "pct_start": 1.0},
        {"kind": "one_cycle", "div_factor": 0.5},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        FAMILY.validate_python(wrong)
