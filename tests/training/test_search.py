"""What a search draws, how its ranges follow the best trials, and trials against `fit` alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import kind_of, members
from nnrecipe.training.search.distributions import (
    AnyDistribution,
    Choice,
    Distribution,
    IntUniform,
    LogUniform,
    Uniform,
    hull,
)
from nnrecipe.training.search.kinds import (
    GridSearch,
    Halving,
    RandomSearch,
    Round,
    Search,
    TpeSearch,
)
from nnrecipe.training.search.shrink import Change, Ranked, next_space
from nnrecipe.training.search.study import Outcome, Study, names, settings, shown

READ: TypeAdapter[AnyDistribution] = TypeAdapter(Distribution)
RATE = LogUniform(low=1e-6, high=1e-2)
SPACE: Mapping[str, AnyDistribution] = {
    "optimizer.lr": RATE,
    "regularization.dropout": Uniform(low=0.0, high=0.8),
    "training.batch_size": IntUniform(low=16, high=256, log=True),
    "norm": Choice(values=("none", "batch", {"kind": "group", "groups": 2})),
}


def _finished(score: float) -> Outcome:
    return Outcome("finished", score, {"val_accuracy": score}, [score], 1, 0.1)


def _drawn(kind: type[Any], path: Path, *, count: int = 30, **changes: Any) -> list[Any]:
    spec = kind(space=dict(SPACE), rounds=[{"trials": count}], **changes)
    study = Study(path, spec, seed=3, maximize=True)
    study.draw(0, SPACE, count)
    return [trial.drawn for trial in study.all()]


@pytest.mark.parametrize("kind", [m for m in members(Search) if kind_of(m) != "none"])
def test_what_is_drawn_lies_in_the_space_and_is_the_same_again(
    kind: type[Any], tmp_path: Path
) -> None:
    found = _drawn(kind, tmp_path / "one")
    assert found == _drawn(kind, tmp_path / "other")
    assert 1 < len(found) <= 30
    for values in found:
        taken = settings(SPACE, values)
        assert 1e-6 <= taken["optimizer.lr"] <= 1.0001e-2
        assert 0 <= taken["regularization.dropout"] <= 0.8
        assert isinstance(taken["training.batch_size"], int)
        assert 16 <= taken["training.batch_size"] <= 256
        assert taken["norm"] in ("none", "batch", {"kind": "group", "groups": 2})
    assert len({values["optimizer.lr"] for values in found}) > 1


def test_random_rates_are_uniform_in_the_logarithm(tmp_path: Path) -> None:
    spec = RandomSearch(space={"optimizer.lr": RATE})
    study = Study(tmp_path / "study", spec, seed=0, maximize=True)
    study.draw(0, spec.space, 200)
    logs = [math.log10(float(trial.drawn["optimizer.lr"])) for trial in study.all()]
    shares = [sum(low <= log < low + 1 for log in logs) / 200 for low in (-6, -5, -4, -3)]
    assert all(abs(share - 0.25) < 0.1 for share in shares)


def test_a_grid_has_every_combination_and_no_more_trials_than_it_may() -> None:
    grid = GridSearch(space={"a": Uniform(low=0.0, high=1.0), "b": RATE})
    found = grid.grid(grid.space, 10)
    assert [(row["a"], pytest.approx(row["b"])) for row in found] == [
        (a, pytest.approx(b)) for a in (0, 0.5, 1) for b in (1e-6, 1e-4, 1e-2)
    ]
    assert len(grid.grid({"c": Choice(values=tuple(range(5)))}, 3)) == 3


def test_a_study_goes_on_where_it_was_and_knows_what_it_was_told(tmp_path: Path) -> None:
    spec = TpeSearch(space={"optimizer.lr": RATE}, batch=4)
    whole = Study(tmp_path / "whole", spec, seed=1, maximize=True)
    for count in (4, 8, 12):
        whole.draw(0, spec.space, count)
        for trial in whole.all()[count - 4 :]:
            whole.tell(trial, _finished(float(trial.drawn["optimizer.lr"])))
    for count in (4, 8, 12):  # each time from the file alone
        cut = Study(tmp_path / "cut", spec, seed=1, maximize=True)
        cut.draw(0, spec.space, count - 2)
        cut = Study(tmp_path / "cut", spec, seed=1, maximize=True)
        cut.draw(0, spec.space, count)
        for trial in cut.all():
            if trial.outcome is None:
                cut.tell(trial, _finished(float(trial.drawn["optimizer.lr"])))
    assert cut.all() == whole.all()


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "search.journal"
    path.write_text("not a journal\n")
    with pytest.raises(UserError, match=r"search\.journal: is no search's journal"):
        Study(path, RandomSearch(space={"optimizer.lr": RATE}), seed=0, maximize=True)


def test_importance_finds_the_setting_that_matters_though_its_range_has_changed(
    tmp_path: Path,
) -> None:
    spec = RandomSearch(
        space={"matters": RATE, "doesn't": Uniform(low=0.0, high=1.0)},
        rounds=[{"trials": 20}, {"trials": 20}],
    )
    study = Study(tmp_path / "study", spec, seed=0, maximize=True)
    fine = {**spec.space, "matters": LogUniform(low=1e-4, high=1e-3)}
    study.draw(0, spec.space, 20)
    study.draw(1, fine, 20)
    for trial in study.all():
        study.tell(trial, _finished(math.log10(float(trial.drawn["matters"]))))
    found = study.importance([spec.space, fine])
    assert found["matters"] > 0.9
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("distribution", [RATE, *(d for d in SPACE.values() if d is not RATE)])
def test_what_is_shown_and_what_is_written_agree(distribution: AnyDistribution) -> None:
    if isinstance(distribution, Choice):
        assert [distribution.setting(text) for text in distribution.texts] == [*distribution.values]
        return
    for place in (0.0, 0.3, 1.0):
        assert distribution.position(distribution.at(place)) == pytest.approx(place)
    assert distribution.position(distribution.ends[0]) == pytest.approx(0)
    assert hull([distribution, distribution.between(*distribution.ends)]) == distribution


def test_a_factor_stands_between_what_is_drawn_and_what_the_config_gets() -> None:
    space = {"regularization.l2": LogUniform(low=1e-5, high=1e5, factor=0.5, name="reg")}
    assert settings(space, {"regularization.l2": 2.0}) == {"regularization.l2": 1.0}
    assert shown(space, {"regularization.l2": 2.0}) == {"reg": "2.000000e+00"}
    assert names({"a.lr": RATE, "b.lr": RATE, "c.x": RATE}) == {
        "a.lr": "a.lr", "b.lr": "b.lr", "c.x": "x"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "log_uniform", "low": 1e-3, "high": 1e-5}, "must be below"),
        ({"kind": "log_uniform", "low": 0, "high": 1}, "greater than"),
        ({"kind": "int", "low": 0, "high": 8, "log": True}, "must be above 0"),
        ({"kind": "int", "low": 1.5, "high": 8}, "valid integer"),
        ({"kind": "choice", "values": []}, "at least 1"),
        ({"kind": "choice", "values": [1, 2, 1]}, "there twice"),
    ],
)
def test_a_distribution_that_can_not_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        READ.validate_python(given)


def _ranked(*places: float, best: float) -> list[Ranked]:
    """Trials at places of `RATE`, of which the nearest to `best` are the best."""
    return [Ranked({"optimizer.lr": RATE.at(p)}, -abs(p - best)) for p in places]


def _next(trials: list[Ranked], *, admits: bool = True) -> Change:
    (change,) = next_space({"optimizer.lr": RATE}, trials, lambda path, spec: admits)
    return change


def test_a_range_shrinks_around_the_best_in_the_logarithm() -> None:
    change = _next(_ranked(*(n / 20 for n in range(21)), best=0.5))
    assert isinstance(change.after, LogUniform)
    assert (change.widened, change.held) == ((), ())
    assert RATE.position(change.after.low) == pytest.approx(0.35, abs=0.01)
    assert RATE.position(change.after.high) == pytest.approx(0.65, abs=0.01)
    assert change.after.low * change.after.high == pytest.approx(1e-8, rel=0.05)  # the same middle


@pytest.mark.parametrize(("best", "end"), [(0.0, "low"), (1.0, "high")])
def test_a_range_grows_where_the_best_lies_on_its_boundary(best: float, end: str) -> None:
    trials = _ranked(*(n / 20 for n in range(21)), best=best)
    change = _next(trials)
    low, high = change.after.ends  # type: ignore[union-attr]
    assert change.widened == (f"{end} end",)
    assert "the best lies there" in change.text()
    grown = 1e-7 if end == "low" else 1e-1  # a quarter of four decades
    assert (low if end == "low" else high) == pytest.approx(grown)
    held = _next(trials, admits=False)
    assert held.held == (f"{end} end",)
    assert "takes no value" in held.text()
    assert (held.after.ends[0] if end == "low" else held.after.ends[1]) == pytest.approx(  # type: ignore[union-attr]
        1e-6 if end == "low" else 1e-2
    )


def test_of_choices_those_among_the_best_stay_and_no_trial_changes_nothing() -> None:
    space = {"norm": Choice(values=("none", "batch", "layer"))}
    trials = [
        Ranked({"norm": f'"{norm}"'}, score)
        for norm, score in [("batch", 9), ("layer", 8), ("batch", 7), ("none", 1), ("none", 2)]
    ]
    (change,) = next_space(space, trials, lambda path, spec: True)
    assert isinstance(change.after, Choice)
    assert change.after.values == ("batch", "layer")
    assert next_space(SPACE, [], lambda path, spec: True) == [
        Change(path, spec, spec) for path, spec in SPACE.items()
    ]


def test_halving_multiplies_the_epochs_until_the_rounds_own() -> None:
    assert Halving(factor=3, first=1).rungs(10) == [1, 3, 9, 10]
    assert Halving(factor=2, first=4).rungs(4) == [4]
    assert Round().epochs == 5
