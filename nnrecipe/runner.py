"""Walks the recipe: makes the run folder, runs the stages in order, stops at a failed gate."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import Subset

from nnrecipe.checks import Bench
from nnrecipe.core.device import pick_device
from nnrecipe.core.errors import UserError
from nnrecipe.core.logbook import Logbook
from nnrecipe.core.progress import Progress, Silence
from nnrecipe.core.report import Report
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.source_lines import OwnCode
from nnrecipe.core.targets import describe, import_target, is_torchs, is_users_fault
from nnrecipe.recipe import Recipe, load
from nnrecipe.recipe.bench import make_bench
from nnrecipe.recipe.repairs import with_repairs
from nnrecipe.report import markdown, write_html, write_report
from nnrecipe.report.store import CONFIG_FILE, REPORT_FILE
from nnrecipe.stages import Run
from nnrecipe.stages.walk import walk
from nnrecipe.training.search import NoSearch
from nnrecipe.training.steps import train_steps
from nnrecipe.training.threads import fastest, using_threads
from nnrecipe.trials import search_tools


@dataclass(frozen=True)
class Outcome:
    """A finished run: its report, and the folder that holds everything it made."""

    report: Report
    folder: Path


def run(
    *configs: str | Path,
    overrides: Sequence[str] = (),
    output: str | Path | None = None,
    stages: Sequence[str] | None = None,
    keep_going: bool = False,
) -> Report:
    """Run a recipe and return its report; the global random generators are left as they were.

    `configs` are files or names of presets, merged from left to right, and `overrides` are
    `key.path=value`, as on the command line. Raises `UserError` for what is the caller's to mend.
    """
    loaded = load(*configs, overrides=overrides)
    return run_recipe(
        loaded.recipe,
        output=None if output is None else Path(output),
        stages=stages,
        keep_going=keep_going,
        source=loaded.record,
    ).report


def run_recipe(
    recipe: Recipe,
    *,
    output: Path | None = None,
    stages: Sequence[str] | None = None,
    keep_going: bool = False,
    progress: Progress | None = None,
    source: str = "",
) -> Outcome:
    """Walk the stages of a recipe: those named in `stages`, or all that it lists.

    Writes to `output`, or to `runs/<name>/<time>`. A failed stage up to `train` ends the walk
    unless `keep_going`. `source` is the config as it is kept: resolved, and as the user wrote it.

    `report.json` is brought up to date after every stage, so an interrupted run keeps what it has.
    Raises `UserError`, also for mistakes in the user's own modules, with their file and line.
    """
    progress = progress or Silence()
    chosen = _chosen(recipe, stages)
    device = pick_device(recipe.device)
    folder = _make_folder(output or default_folder(recipe))
    _record(recipe, folder, source=source)
    with (
        isolated_rng(recipe.seed, "run"),
        _users_mistakes(recipe),
        Logbook(folder, recipe.tracking) as logbook,
    ):
        progress.say(f"{recipe.name}: {folder}")
        for key, target in _targets(recipe):
            progress.say(f"your code as {key}: {target}")
        run = _prepare(recipe, device, folder, logbook, progress)
        threads = _threads(run)
        _write(folder / "environment.json", json.dumps(_environment(device, threads), indent=1))
        if any(stage.kind == "train" for stage in chosen):
            _ = run.snapshot_steps  # what the schedule can't do is told before anything is computed
        try:
            with using_threads(threads):
                report = _walk(recipe, run, chosen, keep_going=keep_going)
        finally:
            if run.results:
                write_html(folder)
        logbook.text("report", markdown(report))
    return Outcome(report=report, folder=folder)


def default_folder(recipe: Recipe) -> Path:
    """`runs/<name>/<time>-<process>`: where a run goes that isn't told; numbered if taken."""
    stamp = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{os.getpid()}"
    first = Path("runs") / recipe.name / stamp
    numbered = (first.with_name(f"{stamp}-{number}") for number in count(2))
    return next(folder for folder in chain([first], numbered) if not folder.exists())


def _prepare(
    recipe: Recipe, device: torch.device, folder: Path, logbook: Logbook, progress: Progress
) -> Run:
    """Load the data and lay out the bench; the indices of the splits are saved."""
    data = recipe.data.build(device=device, seed=recipe.seed, workers=recipe.training.workers)
    _write(folder / "splits.json", json.dumps(data.indices))
    bench = make_bench(recipe, data, device=device)
    return Run(
        bench=bench,
        training=recipe.training,
        scheduler=recipe.scheduler,
        early_stopping=recipe.regularization.early_stopping,
        ensemble=recipe.ensemble,
        search=recipe.search,
        search_tools=search_tools(
            recipe, data, device=str(device), threads=_most_threads(recipe), progress=progress
        ),
        folder=folder,
        logbook=logbook,
        progress=progress,
        recipe=recipe.model_dump(mode="json"),
        own=_own_code(recipe, bench),
    )


def _most_threads(recipe: Recipe) -> int:
    """The CPU threads that there are for the work that can be shared out."""
    wanted = recipe.training.threads
    return torch.get_num_threads() if wanted == "auto" else wanted


def _threads(run: Run) -> int:
    """The CPU threads to compute with, found by trying where that is left open."""
    wanted, most = run.training.threads, torch.get_num_threads()
    if wanted != "auto":
        return wanted
    if run.device.type != "cpu":
        return most
    chosen = most
    with contextlib.suppress(Exception):  # what is wrong with a step, the sanity stage tells better
        chosen = fastest(_steps_of(run))
    if chosen < most:
        run.progress.say(f"{chosen} of {most} threads: a step is faster with fewer")
    return chosen


def _steps_of(run: Run) -> Callable[[], object]:
    """A function that takes a training step, on a copy."""
    bench = run.bench
    with isolated_rng(bench.seed, "threads"):
        setup = bench.setup(bench.make_model(), lr=bench.learning_rate or 1e-3)
        batch = bench.sample(bench.data.train, bench.batch_size)

    def step() -> None:
        with isolated_rng(bench.seed, "threads"):
            for _ in train_steps(setup, [batch]):
                pass

    return step


def _walk(recipe: Recipe, run: Run, stages: Sequence[Any], *, keep_going: bool) -> Report:
    """Run the stages in turn, and bring `report.json` up to date after each."""
    report = Report.of(recipe.name, (), {})
    for _ in walk(run, stages, gates=() if keep_going else _gates(recipe)):
        report = with_repairs(Report.of(recipe.name, run.results, run.metrics), recipe)
        write_report(report, run.folder)
    return report


def _gates(recipe: Recipe) -> list[str]:
    """The stages whose failure ends the walk: those up to and including `train`."""
    kinds: list[str] = [stage.kind for stage in recipe.stages]
    return kinds[: kinds.index("train") + 1] if "train" in kinds else kinds


def _chosen(recipe: Recipe, names: Sequence[str] | None) -> list[Any]:
    kinds = [stage.kind for stage in recipe.stages]
    unknown = [name for name in names or () if name not in kinds]
    if unknown:
        raise UserError(
            f"--stages: {', '.join(unknown)}: not among the recipe's stages: {', '.join(kinds)}"
        )
    chosen = [stage for stage in recipe.stages if names is None or stage.kind in names]
    for idle, remedy in _idle(recipe).items():
        if idle in (names or ()):
            raise UserError(f"--stages: {idle}: the recipe has none: {remedy}")
        chosen = [stage for stage in chosen if stage.kind != idle]
    wanted = [stage.kind for stage in chosen]
    if recipe.optimizer.lr == "auto" and "train" in wanted and "lr_probe" not in wanted:
        raise UserError("--stages: optimizer.lr: auto needs lr_probe before train")
    return chosen


def _idle(recipe: Recipe) -> dict[str, str]:
    """The stages that have nothing to do, and what would give them something."""
    found = {}
    if recipe.ensemble.kind == "none":
        found["ensemble"] = "set ensemble.kind=members, say"
    if isinstance(recipe.search, NoSearch):
        found["search"] = "give it a search.space, say"
    return found


def _targets(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The user's callables that the recipe names, with the keys that name them."""
    parts = {"data": recipe.data, "architecture": recipe.architecture, "loss": recipe.loss}
    for key, part in (parts | {"optimizer": recipe.optimizer}).items():
        if part.kind == "custom":
            yield key, part.target


def _own_code(recipe: Recipe, bench: Bench) -> OwnCode:
    """What the user wrote of the model, the loss and the data."""
    made = {key: [import_target(key, target)] for key, target in _targets(recipe)}
    return OwnCode(
        model=[*made.get("architecture", []), *bench.make_model().modules()],
        loss=[*made.get("loss", []), bench.make_loss()],
        data=[*made.get("data", []), *_origins(bench)],
    )


def _origins(bench: Bench) -> Iterator[object]:
    """The Datasets that examples are read from, out of the Subsets that they are wrapped in."""
    for split in (bench.data.train, bench.data.val, bench.data.test):
        origin = None if split is None else split.origin
        while isinstance(origin, Subset):
            origin = origin.dataset
        yield origin


def _make_folder(folder: Path) -> Path:
    """Make the run folder. Raises `UserError` if it already holds a run or can't be made."""
    if (folder / REPORT_FILE).exists() or (folder / CONFIG_FILE).exists():
        raise UserError(f"--output {folder}: holds a run already: choose another folder")
    try:
        for name in ("", "plots", "checkpoints"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: can't make the folder: {error.strerror}") from error
    return folder


def _record(recipe: Recipe, folder: Path, *, source: str) -> None:
    """Keep the config."""
    resolved = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    _write(folder / CONFIG_FILE, source or resolved)


def _write(path: Path, text: str) -> None:
    path.write_text(text + ("" if text.endswith("\n") else "\n"), encoding="utf-8")


def _environment(device: torch.device, threads: int) -> dict[str, Any]:
    """What may make the same recipe come out differently elsewhere."""
    packages = ("nnrecipe", "torch", "torchvision", "numpy", "pydantic", "scikit-learn")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "cpus": os.cpu_count(),
        "threads": threads,
    }


@contextlib.contextmanager
def _users_mistakes(recipe: Recipe) -> Iterator[None]:
    """Tell an error that came out of the user's own code as theirs, with its file and line."""
    own = ", ".join(f"{key} {target}" for key, target in _targets(recipe))
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # A user's module may be made of torch's own: then none of its lines are in the traceback.
        if is_users_fault(error) or (own and is_torchs(error)):
            raise UserError(f"your own code failed ({own}): {describe(error)}") from error
        raise
