"""Runs a recipe more than once: for several seeds, for each cell of a grid, or for both."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from nnrecipe.core.errors import PeerError, Problem, RecipeError, UserError
from nnrecipe.core.progress import Progress, Silence
from nnrecipe.core.torchrun import place, restarts
from nnrecipe.exits import NO_FAULT_OF_OURS, Crash, exit_code
from nnrecipe.recipe import LoadedRecipe, load_kept
from nnrecipe.recipe.problems import ClashError
from nnrecipe.recipe.variations import Cell
from nnrecipe.report import terminal_progress
from nnrecipe.report.compare import show_comparison
from nnrecipe.report.grid_file import (
    GRID_FILE,
    Grid,
    GridCell,
    PlannedRun,
    read_grid,
    write_grid,
)
from nnrecipe.report.store import CONFIG_FILE, REPORT_FILE, replace_file
from nnrecipe.report.wording import clean, headline
from nnrecipe.resumption import LOCK_FILE, locked
from nnrecipe.runner import Outcome, resume_run, run_recipe

USERS = 2
"""The exit code of what is the user's to mend."""
LONGEST_REASON = 200  # characters
PLANNED_FOLDER = "planned"
"""Where a grid keeps the configs of its runs, for those that aren't begun when it is cut off."""

Load = Callable[[Sequence[str]], LoadedRecipe]
"""Makes the recipe that a command line means, with these overrides on top."""


@dataclass(frozen=True)
class Plan:
    """A cell, and its recipe for each seed; or why there can't be one."""

    cell: Cell
    recipes: tuple[LoadedRecipe, ...] = ()
    refusal: str = ""

    @property
    def record(self) -> GridCell:
        """The cell as `grid.json` keeps it."""
        name, overrides = self.cell.name, self.cell.overrides
        runs = tuple(PlannedRun(folder=folder) for folder, _ in self.runs)
        return GridCell(name=name, overrides=overrides, refusal=self.refusal, runs=runs)

    @property
    def runs(self) -> Iterator[tuple[str, LoadedRecipe]]:
        """Each recipe with its folder, below the grid's: `norm=batch/seed-0`."""
        for loaded in self.recipes:
            seed = f"seed-{loaded.recipe.seed}"
            yield f"{self.cell.name}/{seed}" if self.cell.name else seed, loaded


def make_plans(cells: Sequence[Cell], seeds: Sequence[int], *, load: Load) -> list[Plan]:
    """Load every recipe of the grid, before anything is run; without seeds, each cell's own.

    What can't be combined is a plan without recipes. Raises `RecipeError` with every mistake, which
    no other cell makes good (an unknown kind, a value out of bounds), or with all refusals if no
    cell can be run; and `UserError` if two cells are the same config.
    """
    changes = [[f"seed={seed}"] for seed in seeds] or [[]]
    plans: list[Plan] = []
    problems: list[Problem] = []
    mistakes: list[Problem] = []
    for cell in cells:
        try:
            recipes = tuple(load([*cell.overrides, *change]) for change in changes)
            plans.append(Plan(cell, recipes))
        except ClashError as error:
            problems += error.problems
            told = dict.fromkeys(f"{problem.path}: {problem.message}" for problem in error.problems)
            plans.append(Plan(cell, refusal="; ".join(told)))
        except RecipeError as error:
            mistakes += error.problems
    if mistakes or not any(plan.recipes for plan in plans):
        raise RecipeError(list(dict.fromkeys(mistakes or problems)))
    _refuse_twins(plans)
    return plans


def configs(plans: Sequence[Plan]) -> Iterator[str]:
    """The resolved configs, for `--print-config`; a cell of a grid under its name."""
    for plan in plans:
        if plan.cell.name:
            yield f"# {plan.cell.name}{f': refused: {plan.refusal}' if plan.refusal else ''}\n"
        yield "\n".join(loaded.resolved for loaded in plan.recipes)


def run_plans(
    plans: Sequence[Plan], base: Path, *, stages: Sequence[str] | None, keep_going: bool
) -> int:
    """Run them all below `base`, compare them there, and return the exit code.

    A run that can't be made, or ends in an error, doesn't stop the others: 2 if none could be made,
    else 3 if there was an error of ours, 1 if a check failed, 0 if none did.
    """
    names = None if stages is None else tuple(stages)
    cells = tuple(plan.record for plan in plans)
    grid = Grid(cells=cells, stages=names, keep_going=keep_going)
    recipes = dict(run for plan in plans for run in plan.runs)
    _make_room(base)
    with locked(base):
        _begin(grid, base, recipes)
        code = _walk(grid, base, lambda folder: _run(grid, base / folder, recipes[folder]))
    if code == USERS:
        _give_up(base)
    return code


def resume_plans(base: Path) -> int:
    """Go on with the runs below `base`; those that are complete stay as they are.

    A run that ended in an error is tried again. Returns the exit code, as `run_plans` does.
    """
    grid = read_grid(base)
    with locked(base):
        return _walk(grid, base, partial(_go_on, grid, base))


def _walk(grid: Grid, base: Path, work: Callable[[str], Outcome]) -> int:
    """Work on each run in turn, keep what became of it, compare them, and return the exit code."""
    codes = []
    try:
        for number, folder in enumerate(grid.folders, start=1):
            click.echo(f"\nrun {number} of {len(grid.folders)}: {folder}")
            code, failure = _attempt(partial(work, folder))
            codes.append(code)
            if (after := grid.failed(folder, failure)) != grid:
                grid = after
                write_grid(grid, base)
    except KeyboardInterrupt:
        click.echo(f"\nwhat has finished stays: nnrecipe compare {base}")
        click.echo(f"go on with all of them: nnrecipe resume {base}")
        raise
    if set(codes) == {USERS}:
        return USERS
    click.echo()
    show_comparison([base])
    return max(code for code in codes if code != USERS)


def refuse_processes(*, several: bool, output: Path | None) -> None:
    """Raise `UserError` for what `torchrun` can't start: several runs, or one it couldn't find."""
    _, size = place()
    if size > 1 and several:
        found = f"{size} processes, and --seeds and --vary walk several runs"
        raise UserError(f"torchrun: {found}: start one run, or leave torchrun out")
    if restarts()[1] and output is None:
        found = "--max-restarts has to find the run again"
        raise UserError(f"torchrun: {found}: say with --output where it is")


def run_one(
    loaded: LoadedRecipe, folder: Path, *, stages: Sequence[str] | None, keep_going: bool
) -> Outcome:
    """Walk one recipe, and show how far it is. Raises `UserError`, or `Crash` for what is ours."""
    count, _ = restarts()
    with _at_work(folder) as progress:
        if count and (folder / CONFIG_FILE).is_file():  # torchrun has started it anew
            return resume_run(folder, progress=progress)
        return run_recipe(
            loaded.recipe,
            output=folder,
            stages=stages,
            keep_going=keep_going,
            progress=progress,
            source=loaded.record,
        )


def resume_one(folder: Path) -> Outcome:
    """Go on with one run as `run_one` began it. Raises `UserError` or `Crash`."""
    with _at_work(folder) as progress:
        return resume_run(folder, progress=progress)


@contextlib.contextmanager
def _at_work(folder: Path) -> Iterator[Progress]:
    """A block that works on a run: shows how far it is, and says what is to be done if it stops."""
    try:
        if place()[0]:  # the first process of several speaks for all
            yield Silence()
            return
        with terminal_progress() as progress:
            yield progress
    except (UserError, PeerError):
        raise
    except KeyboardInterrupt:
        if place()[0] == 0 and (folder / CONFIG_FILE).is_file():
            click.echo(f"go on with: nnrecipe resume {folder}", err=True)
        raise
    except OSError as error:
        if error.errno in NO_FAULT_OF_OURS:
            raise
        raise Crash(error, folder) from error
    except Exception as error:
        raise Crash(error, folder) from error


def _run(grid: Grid, folder: Path, loaded: LoadedRecipe) -> Outcome:
    return run_one(loaded, folder, stages=grid.stages, keep_going=grid.keep_going)


def _go_on(grid: Grid, base: Path, folder: str) -> Outcome:
    """Go on with a run of the grid, or begin it."""
    if (base / folder / CONFIG_FILE).is_file():
        return resume_one(base / folder)
    return _run(grid, base / folder, load_kept(_planned(base, folder)))


def _planned(base: Path, folder: str) -> Path:
    return base / PLANNED_FOLDER / f"{folder}.yaml"


def _attempt(work: Callable[[], Outcome]) -> tuple[int, str]:
    """The exit code of one run of several, and what kept it from an end, in a line."""
    try:
        outcome = work()
    except UserError as error:
        return exit_code(error, sys.argv[1:]), clean(f"refused: {error}")
    except OSError as error:
        return exit_code(error, sys.argv[1:]), clean(f"stopped: {error}")
    except Crash as crash:
        kind = type(crash.error).__name__
        reason = clean(f"crashed: {kind}: {crash}".removesuffix(": "), limit=LONGEST_REASON)
        return exit_code(crash, sys.argv[1:]), reason
    click.echo(f"{outcome.report.verdict.value.upper()}  {headline(outcome.report)}")
    return outcome.report.exit_code, ""


def _make_room(base: Path) -> None:
    """Make the folder of all runs. Raises `UserError` if it is taken, or can't be made."""
    if any((base / name).exists() for name in (GRID_FILE, REPORT_FILE, CONFIG_FILE)):
        raise UserError(f"--output {base}: holds a run already: choose another folder")
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {base}: can't make the folder: {error.strerror}") from error


def _begin(grid: Grid, base: Path, recipes: Mapping[str, LoadedRecipe]) -> None:
    """Keep what is planned, `grid.json` last, which makes it a grid; say what is refused."""
    for folder, loaded in recipes.items():
        replace_file(_planned(base, folder), loaded.record)
    write_grid(grid, base)
    for cell in grid.cells:
        if cell.refusal:
            click.echo(f"refused: {cell.name}: {cell.refusal}")


def _give_up(base: Path) -> None:
    """Leave the folder free for another try, where nothing came to be in it."""
    (base / GRID_FILE).unlink()
    shutil.rmtree(base / PLANNED_FOLDER)
    (base / LOCK_FILE).unlink()
    with contextlib.suppress(OSError):
        base.rmdir()


def _refuse_twins(plans: Sequence[Plan]) -> None:
    """Two cells of one config would be counted as two runs of it."""
    known: list[Plan] = []
    for plan in plans:
        for other in known:
            if plan.recipes and other.recipes and plan.recipes[0].recipe == other.recipes[0].recipe:
                both = f"{other.cell.name} and {plan.cell.name}"
                raise UserError(f"--vary: {both} are the same config: leave one out")
        known.append(plan)
