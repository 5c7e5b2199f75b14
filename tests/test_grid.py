"""Grids and seeds, with a runner that answers at once and writes what a run would leave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nnrecipe.grid
from nnrecipe.cli import main
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import StageResult, Verdict
from nnrecipe.core.report import Report
from nnrecipe.recipe import Recipe, load_recipe
from nnrecipe.report import read_report, write_report
from nnrecipe.runner import Outcome

TINY = "data: {kind: digits, limit: 100}\narchitecture: {kind: mlp, widths: [4]}\nname: tiny\n"

End = Callable[[Recipe], Verdict]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts in an empty folder with one config, `tiny.yaml`."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    return tmp_path


class Runs:
    """Stands in for the runner; `end` says how a recipe's run ends, or raises."""

    def __init__(self) -> None:
        self.recipes: list[Recipe] = []
        self.options: list[dict[str, Any]] = []
        self.end: End = lambda _: Verdict.PASS

    @property
    def folders(self) -> list[str]:
        return [str(options["output"]) for options in self.options]

    def __call__(self, recipe: Recipe, *, source: str, output: Path, **options: Any) -> Outcome:
        self.recipes.append(recipe)
        self.options.append({**options, "output": output})
        output.mkdir(parents=True)
        (output / "config.yaml").write_text(source)
        verdict = self.end(recipe)
        last = "evaluate" if verdict is not Verdict.FAIL else "sanity"
        stage = StageResult(stage=last, verdict=verdict, seconds=0.1, facts={}, findings=())
        metrics = {"test_accuracy": 0.9 + 0.01 * recipe.seed} if last == "evaluate" else {}
        report = Report.of(recipe.name, [stage], metrics)
        write_report(report, output)
        return Outcome(report=report, folder=output)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    stand_in = Runs()
    monkeypatch.setattr(nnrecipe.grid, "run_recipe", stand_in)
    return stand_in


def rows(out: str) -> dict[str, list[str]]:
    """The table's rows by their first word."""
    lines = [line.removeprefix("*").split() for line in out.splitlines()]
    return {words[0]: words[1:] for words in lines if words}


def test_a_grid_runs_every_combination_for_every_seed(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    vary = ["--vary", "norm=none,batch", "--vary", "optimizer.lr=0.1,0.01"]
    assert main(["run", "tiny.yaml", *vary, "--seeds", "0,1", "--output", "g"]) == 0
    made = [(r.norm.kind, r.optimizer.lr, r.seed) for r in runs.recipes]
    assert made == [(n, lr, s) for n in ("none", "batch") for lr in (0.1, 0.01) for s in (0, 1)]
    assert runs.folders[:3] == [
        "g/norm=none,lr=0.1/seed-0", "g/norm=none,lr=0.1/seed-1", "g/norm=none,lr=0.01/seed-0",
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "run 3 of 8: norm=none,lr=0.01/seed-0" in out
    assert "90.50 ± 0.71" in out
    assert Path("g/comparison.png").is_file()
    assert load_recipe("g/norm=batch,lr=0.1/seed-1/config.yaml") == runs.recipes[5]


def test_without_seeds_each_cell_has_its_own(runs: Runs) -> None:
    assert main(["run", "tiny.yaml", "seed=7", "--vary", "norm=none,batch"]) == 0
    assert [recipe.seed for recipe in runs.recipes] == [7, 7]
    first, second = map(Path, runs.folders)
    assert first.parts[-2:] == ("norm=none", "seed-7")
    assert first.parents[1] == second.parents[1]
    assert first.parents[2] == Path("runs/tiny")


def test_seeds_alone_are_one_row(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny.yaml", "--seeds", "0,1,2", "--output", "out"]) == 0
    assert [recipe.seed for recipe in runs.recipes] == [0, 1, 2]
    assert runs.folders == ["out/seed-0", "out/seed-1", "out/seed-2"]
    assert rows(capsys.readouterr().out)["91.00"][:3] == ["±", "1.00", "3"]


def test_what_is_varied_wins_over_the_rest_of_the_line(runs: Runs) -> None:
    line = ["run", "tiny.yaml", "--fast", "norm=layer", "--vary", "training.epochs=3,4"]
    assert main([*line, "--vary", "norm=none", "--device", "cpu", "--output", "g"]) == 0
    assert [(r.training.epochs, r.norm.kind, r.device) for r in runs.recipes] == [
        (3, "none", "cpu"), (4, "none", "cpu"),
    ]  # fmt: skip


def test_flags_reach_every_run(runs: Runs) -> None:
    line = ["run", "tiny.yaml", "--vary", "norm=none,batch", "--output", "g"]
    assert main([*line, "--stages", "data,sanity", "--keep-going"]) == 0
    assert all(o["stages"] == ("data", "sanity") and o["keep_going"] for o in runs.options)


def test_a_refused_cell_stays_in_the_table_and_stops_no_other(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "tiny.yaml", "--vary", "norm=none,instance,batch", "--output", "g"]) == 0
    assert [recipe.norm.kind for recipe in runs.recipes] == ["none", "batch"]
    out = capsys.readouterr().out
    assert out.startswith("refused: norm=instance: norm.kind: instance")
    assert out.index("refused: norm=instance") < out.index("run 1 of 2")
    assert rows(out)["instance"][-1] == "refused"
    assert main(["compare", "g"]) == 0
    again = " ".join(capsys.readouterr().out.split())
    assert "norm=instance: refused: norm.kind: instance" in again


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (["norm=instance"], "norm=instance: norm.kind: instance"),
        (["norm=instance", "data=custom,digits"], "data.target: is required"),
        (["norm=instance,foo"], "norm=foo: norm.kind: unknown kind 'foo'"),
        (["norm=batch,bacth"], "did you mean 'batch'?"),
        (["optimizer.lr=0.1,0"], "optimizer.lr=0: optimizer.lr: must be a number above 0"),
        (["optimizer=sgd,{kind: adam, momentum: 0.9}"], "optimizer.momentum: unknown key"),
        (["nrm=batch,layer"], "did you mean 'norm'?"),
        (["optimizer.lr=fast,slow"], "optimizer.lr"),
        (["norm"], "names no values"),
        (["norm=batch,{kind: batch}"], "are the same config"),
        (["norm=[batch"], "brackets don't match"),
        (["seed=1,2"], "use --seeds"),
    ],
)
def test_a_mistake_on_the_line_is_told_before_anything_is_run(
    runs: Runs, capsys: pytest.CaptureFixture[str], vary: list[str], words: str
) -> None:
    options = [word for text in vary for word in ("--vary", text)]
    assert main(["run", "tiny.yaml", *options, "--output", "g"]) == 2
    assert words in capsys.readouterr().err
    assert runs.recipes == []
    assert not Path("g").exists()


def test_a_mistake_in_the_file_is_told_once(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tiny.yaml").write_text(TINY + "sed: 1\n")
    assert main(["run", "tiny.yaml", "--vary", "norm=none,batch,layer"]) == 2
    assert capsys.readouterr().err.startswith("tiny.yaml:4:1: sed: unknown key")


def test_the_exit_code_is_1_if_any_run_fails(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.end = lambda recipe: Verdict.FAIL if recipe.norm.kind == "batch" else Verdict.WARN
    assert main(["run", "tiny.yaml", "--vary", "norm=none,batch,layer", "--output", "g"]) == 1
    out = rows(capsys.readouterr().out)
    assert out["none"][-1] == "warn"
    assert out["batch"][-3:] == ["stopped", "at", "sanity"]
    assert out["layer"][-1] == "warn"


def fail_on_batch(error: BaseException) -> End:
    def end(recipe: Recipe) -> Verdict:
        if recipe.norm.kind == "batch":
            raise error
        return Verdict.PASS

    return end


@pytest.mark.parametrize(
    ("error", "code", "words", "told"),
    [
        (UserError("data.root: not there"), 0, "refused: data.root: not there", "error: data.root"),
        (ZeroDivisionError("oh"), 3, "crashed: ZeroDivisionError: oh", "unexpected error: Zero"),
        (MemoryError(), 0, "crashed: MemoryError", "error: out of memory"),
    ],
)
def test_a_run_that_breaks_stops_no_other(
    runs: Runs,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    words: str,
    told: str,
) -> None:
    # Whose lines are in the traceback decides whose error it is, and here they are this file's.
    monkeypatch.setattr("nnrecipe.core.targets.is_users_fault", lambda _: False)
    runs.end = fail_on_batch(error)
    assert main(["run", "tiny.yaml", "--vary", "norm=none,batch,layer", "--output", "g"]) == code
    assert len(runs.recipes) == 3
    shown = capsys.readouterr()
    assert told in shown.err
    assert rows(shown.out)["batch"][-1] == words.partition(":")[0]
    assert words in " ".join(shown.out.split())
    assert main(["compare", "g"]) == 0
    assert words in " ".join(capsys.readouterr().out.split())


def test_a_grid_of_which_nothing_runs_ends_in_2_and_leaves_its_folder_free(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> Outcome:
        raise UserError("--stages: nope")

    line = ["run", "tiny.yaml", "--vary", "norm=none,batch", "--output", "g"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnrecipe.grid, "run_recipe", refuse)
        assert main(line) == 2
    assert capsys.readouterr().err == "error: --stages: nope\n" * 2
    assert main(line) == 0


def test_an_interrupted_grid_keeps_what_has_finished(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.end = fail_on_batch(KeyboardInterrupt())
    assert main(["run", "tiny.yaml", "--vary", "norm=none,batch,layer", "--output", "g"]) == 130
    assert "nnrecipe compare g" in capsys.readouterr().out
    assert read_report(Path("g/norm=none/seed-0")).verdict is Verdict.PASS
    assert main(["compare", "g"]) == 0
    out = rows(capsys.readouterr().out)
    assert (out["none"][-1], out["batch"][-1], out["layer"][-2:]) == (
        "pass", "unfinished", ["not", "run"],
    )  # fmt: skip


def test_a_folder_that_holds_runs_is_left_alone(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", "tiny.yaml", "--vary", "norm=none,batch", "--output", "g"]
    assert main(line) == 0
    before = {path: path.read_bytes() for path in Path("g").rglob("*") if path.is_file()}
    assert main(line) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("g").rglob("*") if path.is_file()} == before
    Path("file").write_text("")
    assert main([*line[:-1], "file/g"]) == 2
    assert "can't make the folder" in capsys.readouterr().err


def test_print_config_prints_each_config_and_what_is_refused(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", "tiny.yaml", "--vary", "norm=batch,instance", "--seeds", "4", "--print-config"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert out.startswith("# norm=batch\n\nname: tiny ")
    assert "# norm=instance: refused: norm.kind: instance" in out
    assert runs.recipes == []
    Path("printed.yaml").write_text(out)
    assert load_recipe("printed.yaml").seed == 4


def test_what_a_grid_keeps_of_itself(runs: Runs) -> None:
    assert main(["run", "tiny.yaml", "--vary", "norm=batch,instance", "--output", "g"]) == 0
    batch, instance = json.loads(Path("g/grid.json").read_text())["cells"]
    assert batch == {
        "name": "norm=batch",
        "overrides": ["norm=batch"],
        "refusal": "",
        "runs": [{"folder": "norm=batch/seed-0", "failure": ""}],
    }
    assert instance["runs"] == []
    assert instance["refusal"].startswith("norm.kind: instance")


def test_a_small_grid_for_real(capsys: pytest.CaptureFixture[str]) -> None:
    line = [
        "run",
        "tiny.yaml",
        "training.epochs=2",
        "tracking=none",
        "--vary",
        "norm=none,batch",
        "--output",
        "g",
    ]
    assert main([*line, "--stages", "data,train,evaluate", "--seeds", "0,1", "--keep-going"]) in (
        0,
        1,
    )
    out = rows(capsys.readouterr().out)
    for norm in ("none", "batch"):
        values = [
            read_report(Path(f"g/norm={norm}/seed-{seed}")).metrics["test_accuracy"]
            for seed in (0, 1)
        ]
        assert float(out[norm][0]) == pytest.approx(50 * sum(values), abs=0.006)
