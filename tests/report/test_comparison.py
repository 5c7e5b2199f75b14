"""Runs are made up here: folders as `nnrecipe run` leaves them, with figures that are known."""

from __future__ import annotations

import io
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from rich.console import Console

from nnrecipe.core.causes import Cause
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.report import Report
from nnrecipe.report import write_report
from nnrecipe.report.attempts import read_attempts
from nnrecipe.report.compare import show_comparison
from nnrecipe.report.comparison import Comparison, Spread, compare
from nnrecipe.report.comparison_plot import draw_comparison
from nnrecipe.report.comparison_table import figure, print_comparison
from nnrecipe.report.differences import differing, label, texts, value_at
from nnrecipe.report.grid_file import GRID_FILE, Grid, GridCell, PlannedRun, read_grid, write_grid

STAGES = ["data", "sanity", "train", "evaluate"]
NORMS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "batch": {"kind": "batch", "momentum": 0.1, "eps": 1e-5},
    "layer": {"kind": "layer", "eps": 1e-5},
}


def config(*, seed: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "name": "made-up",
        "seed": seed,
        "optimizer": {"kind": "sgd", "lr": 0.1},
        "norm": NORMS["none"],
        "stages": [{"kind": kind} for kind in STAGES],
        **changes,
    }


def finding(verdict: Verdict, cause: Cause | None = None) -> Finding:
    return Finding(check="c", verdict=verdict, measured="m", expected="e", cause=cause)


def report(metrics: dict[str, float], *, epochs: int = 5, seconds: float = 10.0) -> Report:
    history = [
        {"epoch": epoch, "val_accuracy": 0.9 - 0.5 / epoch, "val_loss": 1 / epoch, "val_r2": 0.1}
        for epoch in range(1, epochs + 1)
    ]
    facts: dict[str, dict[str, Any]] = {"sanity": {"parameters": 61_706}, "train": {}}
    facts["train"]["history"] = history
    stages = [
        StageResult(stage=name, verdict=Verdict.PASS, seconds=seconds if name == "train" else 1.0,
                    facts=facts.get(name, {}), findings=(finding(Verdict.PASS),))
        for name in STAGES
    ]  # fmt: skip
    return Report.of("made-up", stages, metrics)


def stopped(stage: str = "sanity") -> Report:
    walked = STAGES[: STAGES.index(stage) + 1]
    bad = finding(Verdict.FAIL, Cause.ZERO_INIT)
    stages = [StageResult.of(name, {}, [bad] if name == stage else []) for name in walked]
    return Report.of("made-up", stages, {})


def write_run(folder: Path, given: dict[str, Any], outcome: Report | None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    if outcome is not None:
        write_report(outcome, folder)
    return folder


def accuracies(value: float) -> dict[str, float]:
    return {"val_accuracy": value, "test_accuracy": value, "test_loss": 1 - value}


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Norms, each with seeds 0 and 1: one is stopped, one is refused, one was never run."""
    base = tmp_path / "grid"
    cells = []
    for norm, level in {"none": 0.8, "batch": 0.9, "layer": None}.items():
        for seed in (0, 1):
            given = config(seed=seed, norm=NORMS[norm])
            outcome = stopped() if level is None else report(accuracies(level + 0.02 * seed))
            write_run(base / f"norm={norm}" / f"seed-{seed}", given, outcome)
        runs = tuple(PlannedRun(folder=f"norm={norm}/seed-{seed}") for seed in (0, 1))
        cells.append(GridCell(name=f"norm={norm}", overrides=(f"norm={norm}",), runs=runs))
    reason = "norm.kind: no pixels"
    refused = GridCell(name="norm=instance", overrides=("norm=instance",), refusal=reason)
    pending = (PlannedRun(folder="norm=group/seed-0"), PlannedRun(folder="norm=group/seed-1"))
    cells += [refused, GridCell(name="norm=group", overrides=("norm=group",), runs=pending)]
    write_grid(Grid(cells=tuple(cells)), base)
    return base


def compared(*folders: Path) -> Comparison:
    return compare(read_attempts(folders))


def shown(comparison: Comparison, *, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_comparison(comparison, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# What differs


@pytest.mark.parametrize(
    ("configs", "labels"),
    [
        ([{"a": 1}, {"a": 1}], []),
        ([{"a": 1, "b": 2}, {"a": 1, "b": 3}], ["b"]),
        ([{"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}], ["a.y"]),
        ([{"n": NORMS["batch"]}, {"n": NORMS["layer"]}], ["n"]),
        ([{"n": NORMS["batch"]}, {"n": {**NORMS["layer"], "eps": 0.1}}], ["n", "n.eps"]),
        ([{"n": {"std": s, "kind": "normal"}} for s in (1, 2)] + [{"n": {"kind": "zeros"}}],
         ["n", "n.std"]),
        ([{"w": [100]}, {"w": [200, 100]}], ["w"]),
        ([{"e": None}, {"e": {"patience": 3}}], ["e"]),
        ([{"s": [{"kind": "a", "n": 1}, {"kind": "b"}]}, {"s": [{"kind": "a", "n": 2},
          {"kind": "b"}]}], ["s.a.n"]),
        ([{"s": [{"kind": "a"}]}, {"s": [{"kind": "a"}, {"kind": "b"}]}], ["s"]),
        ([{"n": NORMS["batch"]}, {"n": "instance"}], ["n"]),
        ([{"s": [{"kind": "a", "n": 1}]}, {"s": {"a": {"n": 2}}}], []),
    ],
)  # fmt: skip
def test_the_keys_in_which_configs_differ(configs: list[Any], labels: list[str]) -> None:
    assert [label(path) for path in differing(configs)] == labels


def test_a_value_is_found_by_its_path() -> None:
    given = {"s": [{"kind": "a", "n": 1}, {"kind": "b", "n": {"x": 2}}], "norm": "instance"}
    assert value_at(given, ("s", "b", "n", "x")) == 2
    assert value_at(given, ("norm", "kind")) == "instance"
    assert texts([value_at(given, ("norm", "eps")), 1]) == ["-", "1"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.1, 1e-5, 3, True, None, "text"], ["0.1", "1e-05", "3", "true", "null", "text"]),
        ([[100], [200, 100], []], ["[100]", "[200, 100]", "[]"]),
        ([None, {"drop": 0.5, "keep": None, "force": False}], ["null", "{drop: 0.5}"]),
        ([{"drop": 0.5, "force": f} for f in (False, True)],
         ["{drop: 0.5}", "{drop: 0.5, force: true}"]),
        ([[], [{"kind": "crop", "padding": 1}]], ["[]", "[crop]"]),
        ([[{"kind": "crop", "padding": p}] for p in (1, 2)],
         ["[{kind: crop, padding: 1}]", "[{kind: crop, padding: 2}]"]),
        (["a\nb\x1b[31m"], ["a b [31m"]),
    ],
)  # fmt: skip
def test_values_are_as_short_as_tells_them_apart(values: list[Any], words: list[str]) -> None:
    assert texts(values) == words


# What is read


def test_a_grid_is_read_with_what_has_no_run(grid: Path) -> None:
    outcomes = [attempt.outcome for attempt in read_attempts([grid])]
    assert outcomes == ["pass"] * 4 + ["stopped at sanity"] * 2 + ["refused"] + ["not run"] * 2


def test_a_grid_comes_back_as_it_was_written(tmp_path: Path) -> None:
    runs = (PlannedRun(folder="a/seed-0"), PlannedRun(folder="a/seed-1"))
    grid = Grid(cells=(GridCell(name="a", overrides=("x=1",), runs=runs),))
    failed = grid.failed("a/seed-1", "crashed: oh")
    assert [run.failure for run in failed.cells[0].runs] == ["", "crashed: oh"]
    write_grid(failed, tmp_path)
    assert read_grid(tmp_path) == failed
    assert json.loads((tmp_path / GRID_FILE).read_text())["version"] == 1


def test_a_folder_is_searched_for_runs_and_each_counts_once(grid: Path) -> None:
    one = write_run(grid.parent / "single" / "now", config(name="single"), report(accuracies(0.7)))
    (grid.parent / "again").symlink_to(grid)
    attempts = read_attempts([one, grid.parent, grid, grid / "norm=batch" / "seed-1"])
    assert len(attempts) == 10
    assert attempts[0].folder == one


def test_an_interrupted_run_counts_as_unfinished(grid: Path) -> None:
    write_run(grid / "norm=group" / "seed-0", config(norm={"kind": "group"}), None)
    row = compared(grid).rows[-1]
    assert row.outcome == "1 unfinished, 1 not run"
    assert row.settings == ("group",)


def test_a_run_that_failed_after_some_stages_keeps_them_and_the_reason(grid: Path) -> None:
    folder = "norm=none/seed-0"
    write_grid(read_grid(grid).failed(folder, "crashed: disk full"), grid)
    row = compared(grid).rows[0]
    assert row.outcome == "1 crashed, 1 pass"
    assert row.remarks == ["crashed: disk full"]
    assert len(row.reports) == 2


def test_a_walk_that_ends_early_says_where(tmp_path: Path) -> None:
    early = report({})
    early = Report.of("r", early.stages[:2], {})
    assert compared(write_run(tmp_path / "r", config(), early)).rows[0].outcome == (
        "pass up to sanity"
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("report.json", "{", "report.json: not JSON"),
        ("config.yaml", "a: [", "config.yaml: not YAML"),
        ("config.yaml", "[1, 2]", "config.yaml: is no config"),
        ("config.yaml", None, "config.yaml: can't be read"),
        ("grid.json", "{}", "grid.json: cells: Field required"),
        ("grid.json", "nothing", "grid.json: Invalid JSON"),
        ("grid.json", '{"version": 2, "cells": []}', "grid.json: version"),
        ("report.json", "no metrics", r"report.json: metrics.test_loss: is \[\], no number: run"),
        ("config.yaml", "a: 2026-99-99", "config.yaml: not YAML: .*: run the recipe again"),
        ("config.yaml", "[" * 5000, "config.yaml: not YAML: .*: run the recipe again"),
    ],
)
def test_what_is_broken_is_the_users_to_know(
    tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    folder = write_run(tmp_path / "run", config(), report(accuracies(0.5)))
    if name == GRID_FILE:
        (folder / "report.json").unlink()
    if content == "no metrics":
        content = (folder / name).read_text().replace('"test_loss": 0.5', '"test_loss": []')
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(UserError, match=words):
        compared(folder)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_runs_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no such folder|no run in it"):
        read_attempts([tmp_path / name])


# Rows


def test_a_row_is_a_config_over_its_seeds(grid: Path) -> None:
    comparison = compared(grid)
    assert comparison.keys == ("norm",)
    assert comparison.metrics == ("test_accuracy", "test_loss")
    assert [row.settings for row in comparison.rows] == [
        ("none",), ("batch",), ("layer",), ("instance",), ("group",),
    ]  # fmt: skip
    none, batch, layer, *_ = comparison.rows
    spread = none.spread("test_accuracy")
    assert spread is not None
    assert (spread.mean, spread.n) == (pytest.approx(0.81), 2)
    assert spread.sd == pytest.approx(statistics.stdev([0.8, 0.82]))
    assert (none.train_seconds, none.seconds, none.parameters) == (10.0, 13.0, 61_706)
    assert layer.spread("test_accuracy") is None
    assert comparison.rows.index(batch) == comparison.best


def test_runs_of_one_config_need_not_come_from_one_grid(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"run-{seed}", config(seed=seed), report(accuracies(0.5)))
    write_run(tmp_path / "other", config(norm=NORMS["batch"]), report(accuracies(0.6)))
    comparison = compared(tmp_path)
    assert [len(row.attempts) for row in comparison.rows] == [1, 3]


def test_recipes_differ_in_more_than_one_key(tmp_path: Path) -> None:
    adam = {"kind": "adam", "lr": 0.001, "betas": [0.9, 0.999]}
    write_run(tmp_path / "a", config(), report(accuracies(0.5)))
    write_run(tmp_path / "b", config(name="other", optimizer=adam), report(accuracies(0.6)))
    comparison = compared(tmp_path)
    assert comparison.keys == ("name", "optimizer", "optimizer.lr")
    assert comparison.telling == ["name"]
    assert comparison.name(comparison.rows[1]) == "name=other"


def test_what_a_grid_varies_comes_first_in_its_order(tmp_path: Path) -> None:
    cells = []
    for norm in ("none", "batch"):
        for lr in (0.1, 1.0):
            name = f"norm={norm},lr={lr}"
            given = config(norm=NORMS[norm], optimizer={"kind": "sgd", "lr": lr})
            write_run(tmp_path / name / "seed-0", given, report(accuracies(0.5)))
            runs = (PlannedRun(folder=f"{name}/seed-0"),)
            typed = (f"norm={norm}", f"optimizer.lr={lr}")
            cells.append(GridCell(name=name, overrides=typed, runs=runs))
    write_grid(Grid(cells=tuple(cells)), tmp_path)
    assert compared(tmp_path).keys == ("norm", "optimizer.lr")


def test_configs_that_say_nothing_different_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    write_run(tmp_path / "a", config(), report(accuracies(0.5)))
    write_run(tmp_path / "b", config(added_since=1), report(accuracies(0.6)))
    comparison = compared(tmp_path)
    assert comparison.keys == ("run",)
    assert [row.settings for row in comparison.rows] == [(f"{tmp_path}/a",), (f"{tmp_path}/b",)]


@pytest.mark.parametrize(
    ("metrics", "names", "best"),
    [
        ([{"val_loss": 0.2}, {"val_loss": 0.1}], ("val_loss",), 1),
        ([{"val_loss": 0.2, "val_r2": 0.9}, {"val_loss": 0.1, "val_r2": 0.8}],
         ("val_r2", "val_loss"), 0),
        ([{"test_f1": 0.5, "val_f1": 0.1}, {"test_f1": 0.6, "val_f1": 0.1}], ("test_f1",), 1),
        ([{"test_f1": 0.5, "val_f1": 0.1}, {"val_f1": 0.2}], ("val_f1",), 1),
        ([{"test_accuracy": 0.5, "test_loss": 2.0}, {"test_accuracy": 0.5, "test_loss": 1.0}],
         ("test_accuracy", "test_loss"), 1),
        ([{"val_loss": math.nan}, {"val_loss": 0.1}], ("val_loss",), None),
        ([{"val_loss": math.inf}, {"val_loss": 0.2}, {"val_loss": 0.1}], ("val_loss",), 2),
        ([{}, {}], (), None),
    ],
)  # fmt: skip
def test_whatever_was_measured_ranks_the_rows(
    tmp_path: Path, metrics: list[dict[str, float]], names: tuple[str, ...], best: int | None
) -> None:
    for number, own in enumerate(metrics):
        write_run(tmp_path / f"run-{number}", config(name=f"r{number}"), report(own))
    comparison = compared(tmp_path)
    assert (comparison.metrics, comparison.best) == (names, best)


# The table


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("test_accuracy", [], "-"),
        ("test_accuracy", [0.9722], "97.22"),
        ("test_accuracy", [0.97, 0.98, 0.99], "98.00 ± 1.00"),
        ("val_loss", [0.0851], "0.0851"),
        ("val_loss", [0.10, 0.11, 0.12], "0.110 ± 0.010"),
        ("val_loss", [0.10, 0.14, 0.18], "0.14 ± 0.04"),
        ("val_loss", [0.1, 0.1], "0.1000 ± 0.0000"),
        ("val_loss", [0.5, 0.50000002], "0.5 ± 1.4e-08"),
        ("val_loss", [10.0, 50.0], "30 ± 28"),
        ("val_loss", [1e6, 3e6], "2,000,000 ± 1.4e+06"),
        ("val_loss", [math.inf, 1.0], "inf"),
        ("val_r2", [0.05, 0.0501], "0.05005 ± 0.00007"),
    ],
)
def test_a_figure_has_the_digits_that_count(name: str, values: list[float], words: str) -> None:
    assert figure(name, Spread.of(values)) == words


def test_the_table_at_120_columns(grid: Path) -> None:
    rows = {
        words[0]: words for line in shown(compared(grid)).splitlines() if (words := line.split())
    }
    accuracy = ["81.00", "±", "1.41", "0.190", "±", "0.014"]
    assert rows["none"] == ["none", *accuracy, "2", "10.0", "s", "13.0", "s", "61,706", "pass"]
    assert rows["layer"][-3:] == ["stopped", "at", "sanity"]
    assert rows["instance"][-1] == "refused"
    assert "*  batch" in shown(compared(grid))


def test_the_table_names_each_reason_once(grid: Path) -> None:
    text = " ".join(shown(compared(grid)).split())
    assert text.count("norm=layer: stopped at sanity: most likely zero init") == 1
    assert text.count("norm=instance: refused: norm.kind: no pixels") == 1
    assert "* best test accuracy" in text
    assert "n runs with different seeds" in text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_table_fits_the_terminal_and_loses_nothing(tmp_path: Path, width: int) -> None:
    for number, (norm, lr) in enumerate([("none", 0.1), ("batch", 0.01), ("layer", 0.001)]):
        for seed in (0, 1, 2):
            given = config(seed=seed, norm=NORMS[norm], optimizer={"kind": "sgd", "lr": lr})
            level = accuracies(0.5 + 0.1 * number + 0.013 * seed)
            outcome = stopped() if number == 2 else report(level, seconds=2000.0)
            write_run(tmp_path / f"{number}-{seed}", given, outcome)
    text = shown(compared(tmp_path), width=width)
    assert max(map(len, text.splitlines())) <= width
    joined = "".join(text.split())
    for word in ("norm", "batch", "optimizer.lr", "0.01", "33m20s", "61,706", "pass", "stopped"):
        assert word in joined
    assert "51.30±1.30" in joined


def test_one_config_is_a_table_too(tmp_path: Path) -> None:
    for seed in range(3):
        level = accuracies(0.5 + 0.01 * seed)
        write_run(tmp_path / f"run-{seed}", config(seed=seed), report(level))
    text = shown(compared(tmp_path))
    assert "51.00 ± 1.00" in text
    assert "best" not in text


def test_what_the_user_wrote_steers_no_terminal(tmp_path: Path) -> None:
    for name in ("[red]a\x1b[31m", "b"):
        write_run(tmp_path / str(len(name)), config(name=name), report(accuracies(0.5)))
    text = shown(compared(tmp_path))
    assert "[red]a [31m" in text
    assert "\x1b" not in text


# The picture


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_picture_is_written_in_the_format_of_its_name(grid: Path, suffix: str) -> None:
    file = grid / "new" / f"picture{suffix}"
    assert draw_comparison(compared(grid), file)
    head = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert file.read_bytes().startswith(head)


def test_the_picture_grows_with_its_rows_and_colours_them_apart(tmp_path: Path) -> None:
    sizes = []
    for count in (2, 24):
        base = tmp_path / str(count)
        for number in range(count):
            write_run(base / f"{number:02}", config(name=f"r{number:02}"), report(accuracies(0.5)))
        assert draw_comparison(compared(base), base / "c.svg")
        text = (base / "c.svg").read_text()
        assert all(f">r{number:02}<" in text for number in range(count))
        assert draw_comparison(compared(base), base / "c.png")
        with Image.open(base / "c.png") as image:
            sizes.append(image.size)
            assert len(image.convert("RGB").getcolors(10**6) or ()) > 50
    (width, height), (same, taller) = sizes
    assert width == same
    assert taller > height


@pytest.mark.parametrize(
    "metrics", [{"val_loss": 0.5}, {"test_r2": 0.4}, {"train_loss": math.nan}, {"val_loss": 1e300}]
)
@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_anything_measured_can_be_drawn(
    tmp_path: Path, metrics: dict[str, float], epochs: int
) -> None:
    write_run(tmp_path / "run", config(), report(metrics, epochs=epochs))
    assert draw_comparison(compared(tmp_path), tmp_path / "c.png")


def test_nothing_measured_is_not_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "run", config(), stopped())
    assert not draw_comparison(compared(tmp_path), tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


def test_history_comes_from_the_logbook_if_training_has_no_result(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", config(), stopped("train"))
    lines = [{"step": 1, "batch_loss": 2.0}, {"step": 9, "epoch": 1, "val_loss": 1.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (attempt,) = read_attempts([folder])
    assert attempt.history == (lines[1],)


def test_the_picture_lies_beside_the_runs(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(grid.parent)
    show_comparison([grid])
    assert (grid / "comparison.png").is_file()
    assert f"picture  {grid}/comparison.png" in capsys.readouterr().out.replace("\n", "")
    show_comparison([grid / "norm=none", grid / "norm=batch"])
    assert Path("comparison.png").is_file()
    show_comparison([grid], picture=Path("own.svg"))
    assert Path("own.svg").is_file()


@pytest.mark.parametrize("name", ["picture.txt", "picture", "file/picture.png"])
def test_a_picture_that_cannot_be_written_is_an_error(grid: Path, name: str) -> None:
    (grid / "file").write_text("")
    with pytest.raises(UserError, match=f"--output .*{name}"):
        show_comparison([grid], picture=grid / name)


# What is odd in a folder


def test_what_a_varied_value_implies_has_no_column(tmp_path: Path) -> None:
    inits = {"zeros": 1.0, "normal": 1.0, "xavier_normal": 0.1}
    cells = []
    for kind, gain in inits.items():
        given = config(init={"kind": kind, "output_gain": gain})
        write_run(tmp_path / "g" / kind, given, report(accuracies(0.9)))
        runs = (PlannedRun(folder=kind),)
        cells.append(GridCell(name=kind, overrides=(f"init={kind}",), runs=runs))
    write_grid(Grid(cells=tuple(cells)), tmp_path / "g")
    assert compared(tmp_path / "g").keys == ("init",)
    by_hand = compared(*(tmp_path / "g" / kind for kind in inits))
    assert by_hand.keys == ("init", "init.output_gain")


def test_what_tells_a_grids_rows_apart_keeps_its_column(tmp_path: Path) -> None:
    cells = []
    for std in (0.01, 1.0):
        folder = f"std={std}"
        given = config(init={"kind": "normal", "std": std, "mean": 0.0})
        write_run(tmp_path / folder, given, report(accuracies(0.9)))
        override = f"init={{kind: normal, std: {std}}}"
        runs = (PlannedRun(folder=folder),)
        cells.append(GridCell(name=folder, overrides=(override,), runs=runs))
    write_grid(Grid(cells=tuple(cells)), tmp_path)
    assert compared(tmp_path).keys == ("init.std",)


@pytest.mark.parametrize(
    "line", [{"epoch": "x"}, {"epoch": None}, {"epoch": 1, "val_accuracy": "good"}]
)
def test_what_is_no_figure_is_left_out_of_the_picture(tmp_path: Path, line: dict[str, Any]) -> None:
    outcome = report(accuracies(0.9))
    for stage in outcome.stages:
        stage.facts["history"] = [line, {"epoch": 2, "val_accuracy": 0.5}]
    folder = write_run(tmp_path / "run", config(), outcome)
    assert draw_comparison(compared(folder), tmp_path / "picture.png")


def test_a_refused_value_may_look_like_a_date(tmp_path: Path) -> None:
    write_run(tmp_path / "a", config(), report(accuracies(0.9)))
    cells = (
        GridCell(name="a", overrides=("name=a",), runs=(PlannedRun(folder="a"),)),
        GridCell(name="b", overrides=("name=2026-99-99",), refusal="no"),
    )
    write_grid(Grid(cells=cells), tmp_path)
    assert [row.settings for row in compared(tmp_path).rows][1] == ("2026-99-99",)
