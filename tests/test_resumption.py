"""Runs that are cut off, and go on as if they had not been."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nnrecipe.cli import main
from nnrecipe.core.errors import UserError
from nnrecipe.core.progress import Silence
from nnrecipe.recipe import load
from nnrecipe.resumption import LOCK_FILE, locked
from nnrecipe.runner import resume_run, run_recipe
from nnrecipe.stages.walk import walk

ROOT = Path(__file__).parents[1]
KILL_TEST = str(ROOT / "scripts" / "kill_test")
STAGES = ["data", "lr_probe", "train", "evaluate"]
SMALL = """
name: small
data: {kind: digits, limit: 200}
architecture: {kind: mlp, widths: [16]}
norm: batch
optimizer: {kind: adam, lr: auto}
regularization: {dropout: 0.2}
scheduler: {kind: plateau, patience: 0, monitor: train_loss, threshold: 0.3}
training: {epochs: 4, batch_size: 32, monitor_every: 3, average: ema, threads: 1}
stages: [data, {kind: lr_probe, steps: 4}, train, evaluate]
"""

Differences = Callable[[Path, Path], Iterator[str]]


class CutOff(KeyboardInterrupt):
    """Ctrl-C, at a moment that the test chooses."""


class Stopwatch(Silence):
    """A progress that cuts the run off after so many units of a stage's work."""

    def __init__(self, stage: str, units: int) -> None:
        self.stage, self.units = stage, units
        self.now, self.said = "", list[str]()

    def say(self, line: str) -> None:
        self.said.append(line)

    def begin(self, stage: str, *, total: int | None = None) -> None:
        self.now = stage
        self.advance(0)

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        if self.now == self.stage:
            self.units -= amount
            if self.units <= 0:
                raise CutOff


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody stopped, beside its config."""
    base = tmp_path_factory.mktemp("reference")
    (base / "small.yaml").write_text(SMALL)
    loaded = load(base / "small.yaml")
    run_recipe(loaded.recipe, output=base / "run", source=loaded.record)
    return base / "run"


@pytest.fixture(scope="module")
def differences() -> Differences:
    found: Differences = runpy.run_path(KILL_TEST)["differences"]
    return found


def cut_off(config: Path, folder: Path, stage: str, units: int) -> None:
    loaded = load(config)
    with pytest.raises(CutOff):
        run_recipe(
            loaded.recipe, output=folder, source=loaded.record, progress=Stopwatch(stage, units)
        )


@pytest.mark.parametrize(
    ("stage", "units"),
    [
        pytest.param("data", 0, marks=pytest.mark.slow),
        ("lr_probe", 2),
        pytest.param("train", 0, marks=pytest.mark.slow),
        ("train", 20),
        ("evaluate", 0),
    ],
)
def test_ends_as_if_nothing_had_happened(
    stage: str, units: int, reference: Path, tmp_path: Path, differences: Differences
) -> None:
    cut_off(reference.parent / "small.yaml", tmp_path / "run", stage, units)
    progress = Stopwatch("", 0)
    resume_run(tmp_path / "run", progress=progress)
    assert list(differences(reference, tmp_path / "run")) == []
    after = STAGES[: STAGES.index(stage)]
    epochs = f"; train goes on after epoch {units // 7}" if units >= 7 else ""
    assert f"going on after {', '.join(after) or 'the start'}{epochs}" in progress.said


@pytest.mark.slow
def test_cut_off_again_and_again(reference: Path, tmp_path: Path, differences: Differences) -> None:
    folder = tmp_path / "run"
    cut_off(reference.parent / "small.yaml", folder, "train", 9)
    for _ in range(2):
        with pytest.raises(CutOff):
            # what is done already counts: the first of these gets one epoch further
            resume_run(folder, progress=Stopwatch("train", 16))
    resume_run(folder)
    assert list(differences(reference, folder)) == []


def test_a_complete_run_stays_as_it_is(reference: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(reference, tmp_path / "run"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outcome = resume_run(folder)
    assert outcome.report.exit_code == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "damage",
    ["torn", *(pytest.param(each, marks=pytest.mark.slow) for each in ("altered", "gone"))],
)
def test_a_damaged_last_checkpoint_is_named_and_the_one_before_taken(
    damage: str, reference: Path, tmp_path: Path, differences: Differences
) -> None:
    folder = tmp_path / "run"
    cut_off(reference.parent / "small.yaml", folder, "train", 22)
    last = folder / "checkpoints" / "last.pt"
    content = last.read_bytes()
    if damage == "gone":
        last.unlink()
    else:
        half = len(content) // 2
        changed = bytes(byte ^ 0xFF for byte in content[half : half + 600])
        last.write_bytes(
            content[:half] + (b"" if damage == "torn" else changed + content[half + 600 :])
        )
    progress = Stopwatch("", 0)
    resume_run(folder, progress=progress)
    told = [line for line in progress.said if "last.pt" in line]
    assert bool(told) is (damage != "gone")
    assert any("train goes on after epoch 2" in line for line in progress.said)
    assert list(differences(reference, folder)) == []


@pytest.mark.parametrize(
    ("stage", "units"), [pytest.param("train", 22, marks=pytest.mark.slow), ("evaluate", 0)]
)
def test_without_the_best_model_training_begins_anew(
    stage: str, units: int, reference: Path, tmp_path: Path, differences: Differences
) -> None:
    folder = tmp_path / "run"
    cut_off(reference.parent / "small.yaml", folder, stage, units)
    best = folder / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:-100])
    progress = Stopwatch("", 0)
    resume_run(folder, progress=progress)
    assert [line for line in progress.said if "best.pt" in line and "training anew" in line]
    assert list(differences(reference, folder)) == []


def test_a_random_dataset_of_the_users_own(tmp_path: Path, differences: Differences) -> None:
    (tmp_path / "noisy.py").write_text(
        "import torch\n"
        "class Noisy(torch.utils.data.Dataset):\n"
        "    def __len__(self):\n"
        "        return 96\n"
        "    def __getitem__(self, place):\n"
        "        return torch.randn(1, 4, 4) + place % 3, place % 3\n"
        "def make():\n"
        "    return Noisy(), Noisy(), Noisy()\n"
    )
    config = tmp_path / "small.yaml"
    config.write_text(
        SMALL.replace("{kind: digits, limit: 200}", "{kind: custom, target: noisy:make}")
    )
    loaded = load(config, overrides=["data.classes=3"])
    given: dict[str, Any] = {"source": loaded.record, "keep_going": True}
    run_recipe(loaded.recipe, output=tmp_path / "whole", **given)
    watch = Stopwatch("train", 7)
    with pytest.raises(CutOff):
        run_recipe(loaded.recipe, output=tmp_path / "cut", progress=watch, **given)
    resume_run(tmp_path / "cut")
    assert list(differences(tmp_path / "whole", tmp_path / "cut")) == []


def test_what_can_not_be_resumed_is_refused(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(tmp_path)]) == 2
    assert "no resume.json" in capsys.readouterr().err
    folder = Path(shutil.copytree(reference, tmp_path / "run"))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(" drop: 0.2", " drop: 0.3"))
    assert main(["resume", str(folder)]) == 2
    assert "config.yaml: changed since the run began" in capsys.readouterr().err
    (folder / "resume.json").write_text("{}")
    assert main(["resume", str(folder)]) == 2
    assert "resume.json: damaged" in capsys.readouterr().err
    (tmp_path / "grid.json").write_text("{}")
    assert main(["resume", str(tmp_path)]) == 2
    assert "grid.json: cells: Field required" in capsys.readouterr().err


def test_two_runs_never_share_a_folder(reference: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(reference, tmp_path / "run"))
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom nnrecipe.resumption import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="another run is at work in it"):
            resume_run(folder)
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        (folder / LOCK_FILE).rename(fresh / LOCK_FILE)
        loaded = load(reference.parent / "small.yaml")
        with pytest.raises(UserError, match="another run is at work in it"):
            run_recipe(loaded.recipe, output=fresh)
        assert [path.name for path in fresh.glob("*.yaml")] == []
        holder.kill()
    with locked(fresh):  # the system has released it
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_ends_the_command_and_resume_goes_on(
    number: signal.Signals, code: int, reference: Path, tmp_path: Path, differences: Differences
) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "nnrecipe"]
    config = str(reference.parent / "small.yaml")
    with subprocess.Popen(
        [*command, "run", config, "--output", str(folder)], stderr=subprocess.PIPE, text=True
    ) as process:
        while not (folder / "config.yaml").exists():
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert "interrupted" in told
    assert f"go on with: nnrecipe resume {folder}" in told
    subprocess.run([*command, "resume", str(folder)], check=True, capture_output=True, timeout=60)
    assert list(differences(reference, folder)) == []


@pytest.mark.slow
def test_a_second_signal_stops_at_once() -> None:
    code = (
        "import os, signal, sys, time\nfrom nnrecipe.exits import stoppable\n"
        "with stoppable():\n    try:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally:\n        os.kill(os.getpid(), signal.SIGINT)\n        print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 130
    assert done.stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_told_in_a_line_and_the_checkpoint_is_whole(
    reference: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    differences: Differences,
) -> None:
    folder = tmp_path / "run"
    cut_off(reference.parent / "small.yaml", folder, "train", 15)
    part = folder / "checkpoints" / "last.pt.part"
    os.symlink("/dev/full", part)
    assert main(["resume", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "nnrecipe resume" in told
    part.unlink()
    assert main(["resume", str(folder)]) == 0
    assert list(differences(reference, folder)) == []


@pytest.mark.slow
def test_killed_at_random_moments() -> None:
    done = subprocess.run(
        [sys.executable, KILL_TEST, "--kills", "20"],
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split() == ["together", "20", "20"]


SEARCHED = """
name: searched
data: {kind: digits, limit: 200}
architecture: {kind: mlp, widths: [8]}
training: {epochs: 2, batch_size: 32, threads: 1}
search:
  kind: random
  space: {optimizer.lr: {kind: log_uniform, low: 1e-3, high: 1}}
  rounds: [{trials: 6, epochs: 2}]
  retrain: 2
ensemble: {kind: search, size: 2}
stages: [data, search, train, ensemble, evaluate]
"""
SEARCHES = {
    "halving": ["search.halving={factor: 2}", "search.seeds=2"],
    "tpe": ["search.kind=tpe", "search.batch=3"],
    "grid": ["search.kind=grid", "ensemble={kind: members, size: 3}"],
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_search_cut_off_after_any_write_ends_as_if_nothing_had_happened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, differences: Differences
) -> None:
    (tmp_path / "searched.yaml").write_text(SEARCHED)
    loaded = load(tmp_path / "searched.yaml", overrides=SEARCHES[kind])
    writes, limit, flush = 0, 0, os.fsync

    def fsync(file: int) -> None:
        nonlocal writes
        flush(file)
        writes += 1
        if writes == limit:
            raise CutOff

    monkeypatch.setattr(os, "fsync", fsync)
    run_recipe(loaded.recipe, output=tmp_path / "whole", source=loaded.record)
    every = writes
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        folder = tmp_path / f"cut-{share}"
        writes, limit = 0, int(share * every)
        with pytest.raises(CutOff):
            run_recipe(loaded.recipe, output=folder, source=loaded.record)
        writes, limit = 0, 6
        with pytest.raises(CutOff):  # and again, a little further on
            resume_run(folder)
        limit = 0
        resume_run(folder)
        assert list(differences(tmp_path / "whole", folder)) == []


def test_a_grid_that_was_cut_off_goes_on_and_repeats_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    differences: Differences,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    line = ["run", "small.yaml", "--stages", "data,lr_probe,train", "--keep-going"]
    line += ["training.epochs=2", "--vary", "norm=none,batch,instance", "--seeds", "0,1"]
    line += ["--output"]
    assert main([*line, "whole"]) in (0, 1)
    walked = 0

    def cut(*given: Any, **named: Any) -> Any:
        nonlocal walked
        for result in walk(*given, **named):
            walked += 1
            if walked == 5:  # the second run, after its lr_probe
                raise CutOff
            yield result

    with monkeypatch.context() as patch:
        patch.setattr("nnrecipe.runner.walk", cut)
        assert main([*line, "cut"]) == 130
    assert "go on with all of them: nnrecipe resume cut" in capsys.readouterr().out
    first = Path("cut/norm=none/seed-0/resume.json")
    before = first.stat().st_mtime_ns
    assert main(["resume", "cut"]) in (0, 1)
    told = capsys.readouterr().out
    assert "norm=none/seed-0: complete, nothing is left to do" in told
    assert "going on after data" in told
    assert "picture  cut/comparison.png" in told
    assert first.stat().st_mtime_ns == before
    for norm in ("none", "batch"):
        for seed in (0, 1):
            name = f"norm={norm}/seed-{seed}"
            assert list(differences(Path("whole", name), Path("cut", name))) == []
    with locked(Path("cut")):
        assert main(["resume", "cut"]) == 2
    assert "another run is at work in it" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_workers_end_with_the_run_that_started_them(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "searched.yaml").write_text(SEARCHED)
    (tmp_path / "endless.py").write_text(
        "import os, pathlib, time, torch\n"
        "def make(inputs, num_classes):\n"
        "    if os.environ.get('PARENT') != str(os.getppid()):\n"
        "        pathlib.Path(f'worker-{os.getpid()}').touch()\n"
        "        time.sleep(600)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))\n"
    )
    words = ["architecture={kind: custom, target: endless:make}", "ensemble=none"]
    words += ["search.engine={kind: process, workers: 2}", "stages=[data,search]"]
    command = [sys.executable, "-m", "nnrecipe", "run", "searched.yaml", *words]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PARENT": str(os.getpid())},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        while len(list(tmp_path.glob("worker-*"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)  # also waits for the workers' end of the pipe
    assert process.returncode == (-9 if number == signal.SIGKILL else 143)
    assert "Traceback" not in told
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    assert all(_gone(worker) for worker in workers)


def _gone(process: int) -> bool:
    for _ in range(200):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_the_state_of_a_run_is_plain_json(reference: Path) -> None:
    saved: dict[str, Any] = json.loads((reference / "resume.json").read_text())
    assert saved["complete"]
    assert [done["result"]["stage"] for done in saved["walked"]] == STAGES
