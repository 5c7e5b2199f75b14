"""Walks the recipe: makes the run folder, runs the stages in order, stops at a failed gate."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import Subset

from nnrecipe.checks import Bench
from nnrecipe.core.device import pick_device
from nnrecipe.core.errors import PeerError, UserError
from nnrecipe.core.logbook import Logbook, NoTracking
from nnrecipe.core.progress import Progress, Silence
from nnrecipe.core.report import Report
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.source_lines import OwnCode
from nnrecipe.core.targets import describe, import_target, is_torchs, is_users_fault
from nnrecipe.core.world import World, joined, peers
from nnrecipe.recipe import Recipe, load, load_kept
from nnrecipe.recipe.bench import make_bench
from nnrecipe.recipe.repairs import with_repairs
from nnrecipe.report import markdown, write_html, write_report
from nnrecipe.report.store import CONFIG_FILE, REPORT_FILE, replace_file
from nnrecipe.resumption import Cut, Saved, fingerprint, locked, read_saved, take_up
from nnrecipe.stages import Run
from nnrecipe.stages.walk import settle, walk
from nnrecipe.training.search import NoSearch
from nnrecipe.training.steps import train_steps
from nnrecipe.training.threads import fastest, using_threads
from nnrecipe.trials import search_tools

ENVIRONMENT_FILE = "environment.json"
PACKAGES = ("nnrecipe", "torch", "torchvision", "numpy", "pydantic", "scikit-learn")
"""The packages whose versions a run keeps."""


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
    _chosen(recipe, stages)  # refuses what can't be walked before there is a folder
    with joined(pick_device(recipe.device)) as world:
        if not world.is_first:
            return _follow(recipe, world)
        folder = _make_folder(output or default_folder(recipe))
        with locked(folder):
            _refuse_taken(folder)
            names = None if stages is None else tuple(stages)
            saved = Saved(stages=names, keep_going=keep_going, recipe=fingerprint(recipe))
            saved.write(folder)
            _record(recipe, folder, source=source)
            return _carry_on(recipe, folder, Cut(saved), world=world, progress=progress)


def resume_run(folder: Path, *, progress: Progress | None = None) -> Outcome:
    """Go on with a run that was cut off at any moment; it ends as if nothing had happened.

    A run that is complete stays as it is. Raises `UserError` as `run_recipe` does, and if the
    folder holds no run, another process works in it, or its config was changed.
    """
    progress = progress or Silence()
    read_saved(folder)  # a folder without a run is told as that
    recipe = load_kept(folder / CONFIG_FILE).recipe
    with joined(pick_device(recipe.device)) as world:
        if not world.is_first:
            return _follow(recipe, world)
        with locked(folder):
            saved = read_saved(folder)
            if fingerprint(recipe) != saved.recipe:
                remedy = "put it back, or run it as a new run"
                raise UserError(f"{folder / CONFIG_FILE}: changed since the run began: {remedy}")
            cut = Cut(saved) if saved.complete else take_up(saved, folder, say=progress.say)
            return _carry_on(recipe, folder, cut, world=world, progress=progress)


def _follow(recipe: Recipe, world: World) -> Outcome:
    """Train with the first process of a run; what is written here is thrown away."""
    with tempfile.TemporaryDirectory() as scratch:
        quiet = recipe.model_copy(update={"tracking": NoTracking()})
        return _carry_on(quiet, Path(scratch), None, world=world, progress=Silence())


def _carry_on(
    recipe: Recipe, folder: Path, cut: Cut | None, *, world: World, progress: Progress
) -> Outcome:
    """Walk the stages that are not walked yet, in a folder that is ours.

    The first process has the `cut` that the run goes on from, and the others take its.
    """
    cut = world.from_first(cut)
    assert cut is not None, "the first process has one"
    saved = cut.saved
    if saved.complete:
        progress.say(f"{folder}: complete, nothing is left to do")
        results, metrics = [done.result for done in saved.walked], saved.walked[-1].metrics
        report = with_repairs(Report.of(recipe.name, results, metrics), recipe)
        return Outcome(report=report, folder=folder)
    chosen, device = _chosen(recipe, saved.stages), pick_device(recipe.device)
    with (
        isolated_rng(recipe.seed, "run"),
        _users_mistakes(recipe),
        peers(),
        Logbook(folder, recipe.tracking) as logbook,
    ):
        progress.say(f"{recipe.name}: {folder}")
        for key, target in _targets(recipe):
            progress.say(f"your code as {key}: {target}")
        run = _prepare(recipe, device, folder, logbook, progress, world)
        run.results = [done.result for done in saved.walked]
        if saved.walked:
            run.metrics = dict(saved.walked[-1].metrics)
            run.suggested_rate = saved.walked[-1].suggested_rate
        settle(run, run.results)
        run.kept = cut.kept
        threads = world.from_first(_environment(run) if world.is_first else 0)
        if any(stage.kind == "train" for stage in chosen):
            _ = run.snapshot_steps  # what the schedule can't do is told before anything is computed
        try:
            with using_threads(threads):
                for _ in walk(run, chosen, gates=() if saved.keep_going else _gates(recipe)):
                    saved = saved.after(run)
                    if world.is_first:
                        write_report(_report(recipe, run), folder)
                        saved.write(folder)
        finally:
            if run.results and world.is_first:
                write_html(folder)
        report = _report(recipe, run)
        logbook.text("report", markdown(report))
    if world.is_first:
        replace(saved, complete=True).write(folder)
    return Outcome(report=report, folder=folder)


def _report(recipe: Recipe, run: Run) -> Report:
    return with_repairs(Report.of(recipe.name, run.results, run.metrics), recipe)


def default_folder(recipe: Recipe) -> Path:
    """`runs/<name>/<time>-<process>`: where a run goes that isn't told; numbered if taken."""
    stamp = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{os.getpid()}"
    first = Path("runs") / recipe.name / stamp
    numbered = (first.with_name(f"{stamp}-{number}") for number in count(2))
    return next(folder for folder in chain([first], numbered) if not folder.exists())


def _prepare(
    recipe: Recipe,
    device: torch.device,
    folder: Path,
    logbook: Logbook,
    progress: Progress,
    world: World,
) -> Run:
    """Load the data and lay out the bench; the indices of the splits are saved."""
    if not world.is_first:
        world.from_first(None)  # it may have images to decode, once for all
    data = recipe.data.build(device=device, seed=recipe.seed, workers=recipe.training.workers)
    if world.is_first:
        world.from_first(None)
    replace_file(folder / "splits.json", json.dumps(data.indices) + "\n")
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
        transfer=recipe.transfer,
        folder=folder,
        logbook=logbook,
        progress=progress,
        recipe=recipe.model_dump(mode="json"),
        own=_own_code(recipe, bench),
        world=world,
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
    if recipe.transfer.strategy == "auto" and "train" in wanted and "transfer" not in wanted:
        raise UserError("--stages: transfer.strategy: auto needs transfer before train")
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
    if recipe.transfer.strategy == "none":
        found["transfer"] = "set transfer.strategy=auto, say"
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


def _refuse_taken(folder: Path) -> None:
    if (folder / REPORT_FILE).exists() or (folder / CONFIG_FILE).exists():
        raise UserError(f"--output {folder}: holds a run already: choose another folder")


def _make_folder(folder: Path) -> Path:
    """Make the run folder. Raises `UserError` if it already holds a run or can't be made."""
    _refuse_taken(folder)
    try:
        for name in ("", "plots", "checkpoints"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: can't make the folder: {error.strerror}") from error
    return folder


def _record(recipe: Recipe, folder: Path, *, source: str) -> None:
    """Keep the config, which makes the folder a run's."""
    resolved = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    replace_file(folder / CONFIG_FILE, (source or resolved).rstrip("\n") + "\n")


def _environment(run: Run) -> int:
    """The CPU threads to compute with; keeps what may make a recipe come out differently elsewhere.

    A run that goes on has the threads that it had, and is told what else is different now.
    """
    path = run.folder / ENVIRONMENT_FILE
    here: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if run.device.type == "cuda" else "cpu",
        "cpus": os.cpu_count(),
        "processes": run.world.size,
    }
    if not path.exists():
        here["threads"] = _threads(run)
        replace_file(path, json.dumps(here, indent=1) + "\n")
        return int(here["threads"])
    before = json.loads(path.read_text(encoding="utf-8"))
    for name in here:
        if here[name] != before.get(name):
            run.progress.say(f"{name} was {before.get(name)}, is {here[name]}: digits may differ")
    return int(before["threads"])


@contextlib.contextmanager
def _users_mistakes(recipe: Recipe) -> Iterator[None]:
    """Tell an error that came out of the user's own code as theirs, with its file and line."""
    own = ", ".join(f"{key} {target}" for key, target in _targets(recipe))
    try:
        yield
    except (UserError, PeerError):
        raise
    except Exception as error:
        if "DataLoader worker" in str(error) and is_torchs(error):
            problem = f"data: a process that reads examples died: {error}"
            remedy = "set training.workers to fewer, as memory may be short"
            raise UserError(f"{problem}: {remedy}; `nnrecipe resume` goes on") from error
        # A user's module may be made of torch's own: then none of its lines are in the traceback.
        if is_users_fault(error) or (own and is_torchs(error)):
            raise UserError(f"your own code failed ({own}): {describe(error)}") from error
        raise
