"""`nnrecipe doctor`: what is wrong with a run or with plain code, and a config that mends it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import click

from nnrecipe.checkup.examine import diagnose
from nnrecipe.core.errors import UserError
from nnrecipe.core.report import Report
from nnrecipe.core.table import aligned
from nnrecipe.core.targets import call_target
from nnrecipe.recipe import LoadedRecipe, Recipe, load, load_kept
from nnrecipe.recipe.repairs import to_apply, with_repairs
from nnrecipe.report import print_causes, read_report
from nnrecipe.report.store import CONFIG_FILE
from nnrecipe.report.wording import clean, metric, spoken
from nnrecipe.runner import run_recipe

REPAIRED, TRIALS = "config.repaired", "doctor"
SHORT_EPOCHS, SHORT_LIMIT = 3, 2000
"""A short run has this many epochs of this many training examples, or fewer if the run had."""
MOST_EPOCHS = 12
RETURNS = "must return the arguments of nnrecipe.diagnose, as a tuple or a dict"


def examine_code(target: str, *, output: Path | None) -> Report:
    """Call `package.module:make` and diagnose what it returns."""
    given = call_target("doctor", target)
    arguments = given if isinstance(given, Mapping) else {}
    places = given if isinstance(given, tuple | list) else ()
    settings = {} if output is None else {"output": output}
    if not arguments and not places:
        raise UserError(f"doctor: {target} {RETURNS}; got {type(given).__name__}")
    try:
        bound = inspect.signature(diagnose).bind(*places, **{**arguments, **settings})
    except TypeError as error:
        raise UserError(f"doctor: {target} {RETURNS}: {error}") from error
    return diagnose(*bound.args, **bound.kwargs)


@dataclass(frozen=True)
class Patient:
    """A run: its folder, what was found, and its config, as far as it can still be loaded."""

    folder: Path
    report: Report
    loaded: LoadedRecipe

    @property
    def change(self) -> tuple[str, ...]:
        """The overrides that mend what a value of the config brings about."""
        return to_apply(self.loaded.recipe, self.report.diagnosis)


def admit(folder: Path) -> Patient:
    """Read a run's report and config. Raises `UserError` if it isn't a run, or can't be loaded."""
    report = read_report(folder)
    loaded = load_kept(folder / CONFIG_FILE)
    return Patient(folder, with_repairs(report, loaded.recipe), loaded)


def tell(patient: Patient) -> None:
    """Print each cause with its evidence, the advice, and the change of the config."""
    if not patient.report.diagnosis:
        click.echo(f"{patient.report.name}: no cause of any trouble was found")
        return
    print_causes(patient.report)
    if not patient.change:
        click.echo(f"nothing that a change of the config can repair: {_elsewhere(patient)}")


def repair(patient: Patient) -> int:
    """Write the repaired config, try both for a short while, and print the figures side by side.

    Returns the exit code: 1 if there is nothing to repair in a failed run, or if the repaired
    config fails too.
    """
    if not patient.change:
        return patient.report.exit_code
    config = patient.folder / CONFIG_FILE
    repaired = load(config, overrides=patient.change)
    path = _free(patient.folder / f"{REPAIRED}.yaml")
    path.write_text(repaired.record, encoding="utf-8")
    click.echo(f"repaired  {path}")
    for override in patient.change:
        click.echo(f"          {override}")
    folder = _free(patient.folder / TRIALS)
    click.echo(f"\na short run of each, in {folder}\n")
    trials = {
        "before": _shortened(patient.loaded.recipe, patient.loaded.recipe),
        "after": [*patient.change, *_shortened(repaired.recipe, patient.loaded.recipe)],
    }
    reports = {
        name: _try_out(load(config, overrides=changes), folder / name)
        for name, changes in trials.items()
    }
    click.echo("\n".join(_side_by_side(reports)))
    return reports["after"].exit_code


def _elsewhere(patient: Patient) -> str:
    own = next((found.where for found in patient.report.diagnosis if found.where), "")
    return f"look at {clean(own)}" if own else "look at the advice on the data and the code"


def _shortened(recipe: Recipe, before: Recipe) -> list[str]:
    """Overrides that make a run short; epochs keep their proportion to those `before`."""
    ratio = recipe.training.epochs / before.training.epochs
    epochs = min(MOST_EPOCHS, max(1, round(min(before.training.epochs, SHORT_EPOCHS) * ratio)))
    limit = min(recipe.data.limit or SHORT_LIMIT, SHORT_LIMIT)
    free = ["scheduler.warmup=0", "training.average=none", "tracking=none"]  # may need more epochs
    return [f"training.epochs={epochs}", f"data.limit={limit}", *free]


def _try_out(short: LoadedRecipe, folder: Path) -> Report:
    """Train the recipe, after the probe where that gives the rate, and do nothing else."""
    wanted = {"train", "lr_probe"} if short.recipe.optimizer.lr == "auto" else {"train"}
    stages = [stage.kind for stage in short.recipe.stages if stage.kind in wanted]
    if "train" not in stages:
        raise UserError("doctor: the run's config has no stage train, so there is none to compare")
    outcome = run_recipe(
        short.recipe, output=folder, stages=stages, keep_going=True, source=short.record
    )
    return outcome.report


def _side_by_side(reports: Mapping[str, Report]) -> list[str]:
    """A line for each figure of the best epoch."""
    names = dict.fromkeys(chain.from_iterable(report.metrics for report in reports.values()))
    rows = [("", *reports)]
    for name in names:
        values = [report.metrics.get(name) for report in reports.values()]
        rows.append((spoken(name), *("-" if v is None else metric(name, v) for v in values)))
    rows.append(("verdict", *(report.verdict.value for report in reports.values())))
    return aligned(rows, right=range(1, len(rows[0])))


def _free(path: Path) -> Path:
    """The path, or where it is taken, the first one with a number that isn't."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(free for free in chain([path], numbered) if not free.exists())
