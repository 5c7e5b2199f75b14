"""Mistakes and malice, through the command line: one clear line, exit code 2, nothing done."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nnrecipe.cli import main

NET = "architecture: {kind: mlp, widths: [4]}\n"
DIGITS = "data: {kind: digits, limit: 100}\n"
TINY = DIGITS + NET + "name: tiny\ntracking: none\ntraining: {epochs: 2, threads: 1}\n"
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
CONFIGS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "c.yaml:1:1: YAML: the file is empty"),
    "only a comment": (b"# nothing\n", "c.yaml:1:1: YAML: the file is empty"),
    "tab": (b"seed: 1\n\tname: x\n", "c.yaml:2:1: YAML: there is a tab"),
    "twice": (TINY.encode() + b"name: other\n", "name: the key 'name' is given twice"),
    "billion laughs": (BOMB.encode(), "unfolds into more than 20,000 values"),
    "utf-16": (TINY.encode("utf-16"), "c.yaml:1:1: YAML: byte 0xff is not UTF-8"),
    "latin-1": (b"name: caf\xe9\n", "c.yaml:1:10: YAML: byte 0xe9 is not UTF-8"),
    "zeros": (b"\0" * 100, "c.yaml:1:1: YAML: the character U+0000 is not allowed"),
    "huge number": (f"{TINY}seed: 1{'0' * 400}\n".encode(), ": seed: 1000"),
    "nan": (
        f"{TINY}optimizer: {{lr: .nan}}\n".encode(),
        "optimizer.lr: .nan is not a finite",
    ),
    "inf": (
        f"{TINY}optimizer: {{lr: .inf}}\n".encode(),
        "optimizer.lr: .inf is not a finite",
    ),
    "python object": (f"{TINY}seed: !!python/object/apply:os.system [ls]\n".encode(), "the tag"),
    "escaping name": (
        (DIGITS + NET + "name: ../../x\n").encode(),
        "c.yaml:3:7: name: must be of another form, got '../../x'",
    ),
    "absolute name": (
        (DIGITS + NET + "name: /etc/x\n").encode(),
        "c.yaml:3:7: name: must be of another form, got '/etc/x'",
    ),
    "markup in a name": (
        (DIGITS + NET + "name: <script>\n").encode(),
        "c.yaml:3:7: name: must be of another form, got '<script>'",
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test starts in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that ends in 2, and without a traceback."""
    code = main(list(arguments))
    told = capsys.readouterr().err
    assert code == 2, told
    assert "Traceback" not in told
    return told


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_is_none(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, words = CONFIGS[case]
    Path("c.yaml").write_bytes(content)
    assert words in refused(capsys, "run", "c.yaml")
    assert [path.name for path in Path.cwd().iterdir()] == ["c.yaml"]


def pictures(folders: dict[str, int], root: Path = Path("images")) -> None:
    """Noise, as PNG files of 8 x 8."""
    draw = np.random.default_rng(0)
    for name, count in folders.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")


def bomb(path: Path) -> None:
    """A small PNG file that says it has 400 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:70])


def enlarge(path: Path) -> None:
    Image.new("RGB", (9, 9)).save(path)


IMAGES = "data={kind: image_folder, root: images, val_fraction: 0.2}"
READY = {"train/cat": 20, "train/dog": 20, "test/cat": 5, "test/dog": 5}


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (bomb, "exceeds limit"),
        (truncate, "can't be read as an image"),
        (enlarge, "set data.image_size"),
        (lambda path: path.write_text("no image"), "can't be read as an image"),
    ],
    ids=["bomb", "truncated", "size", "text"],
)
def test_a_harmful_image_is_named(
    harm: Callable[[Path], Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(READY)
    harm(Path("images/train/cat/7.png"))
    Path("c.yaml").write_text(TINY)
    told = refused(capsys, "run", "c.yaml", IMAGES, "--output", "out")
    assert "images/train/cat/7.png" in told
    assert words in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (None, "data.root: no folder"),
        ({"train/cat": 20}, "at least two are needed"),
        ({"train/cat": 0, "train/dog": 0}, "hold no images"),
    ],
)
def test_a_folder_that_holds_no_classes(
    folders: dict[str, int] | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(folders or {})
    Path("c.yaml").write_text(TINY)
    assert words in refused(capsys, "run", "c.yaml", IMAGES, "--output", "out")


CUSTOM = """\
import torch
from torch.utils.data import TensorDataset

def made(labels):
    draw = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(len(labels), 1, 4, 4, generator=draw), torch.tensor(labels))

def data(train, val):
    return made(train), made(val)
"""


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        ([0, 1] * 20, [], "val"),
        ([0] * 40, [0] * 10, "class"),
        ([0, 1, -1] * 10, [0, 1] * 5, "-1"),
    ],
    ids=["empty validation split", "one class", "label out of range"],
)
def test_labels_that_nothing_can_be_learned_from(
    train: list[int], val: list[int], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("hostile_data.py").write_text(CUSTOM)
    Path("c.yaml").write_text(TINY)
    given = {"kind": "custom", "target": "hostile_data:data", "args": {"train": train, "val": val}}
    told = refused(capsys, "run", "c.yaml", f"data={json.dumps(given)}", "--output", "out")
    assert words in told


def test_batch_norm_wants_more_than_one_example(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text(TINY)
    told = refused(capsys, "validate", "c.yaml", "norm=batch", "training.batch_size=1")
    assert "training.batch_size" in told


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    Path("c.yaml").write_text(TINY)
    changes = ["data.limit=40", "training.batch_size=500"]
    code = main(["run", "c.yaml", *changes, "--stages", "data,train", "--output", "out"])
    assert code in (0, 1)


class Bomb:
    """What a pickle makes a file of when it is loaded."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_weights_that_are_a_bomb_are_refused(
    form: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = folder / "victim"
    if form == "pickle":
        Path("w.pt").write_bytes(pickle.dumps(Bomb(victim)))
    else:
        torch.save({"model": Bomb(victim)}, "w.pt")
    Path("c.yaml").write_text(TINY)
    told = refused(capsys, "run", "c.yaml", "architecture.weights=w.pt", "--output", "out")
    assert "no file of weights that can be read safely" in told
    assert not victim.exists()


def interrupted(config: str, *changes: str) -> Path:
    """The folder of a run that a broken disk ended after two epochs."""
    Path("c.yaml").write_text(config)
    done = subprocess.run(
        [sys.executable, "-c", BREAKING, *changes], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    return Path("out")


BREAKING = """\
import errno, os, sys
from nnrecipe.cli import main
from nnrecipe.training import fit
real, left = os.fsync, [int(sys.argv[1])]
def fsync(handle):
    if "checkpoints" in os.readlink(f"/proc/self/fd/{handle}"):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(getattr(errno, sys.argv[2]), os.strerror(getattr(errno, sys.argv[2])))
    real(handle)
os.fsync = fsync
sys.exit(main(["run", "c.yaml", "training.epochs=4", "--stages", "train", "--output", "out"]))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
def test_a_disk_that_fails_is_told_and_the_last_checkpoint_is_whole(fault: str) -> None:
    out = interrupted(TINY, "6", fault)
    with zipfile.ZipFile(out / "checkpoints" / "last.pt") as archive:
        assert archive.testzip() is None
    assert main(["resume", "out"]) in (0, 1)


def test_a_checkpoint_that_is_a_bomb_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.yaml").write_text(TINY)
    assert main(["run", "c.yaml", "--stages", "train", "--output", "out"]) in (0, 1)
    saved = json.loads(Path("out/resume.json").read_text())
    Path("out/resume.json").write_text(json.dumps(saved | {"complete": False}))
    victim = folder / "victim"
    for path in Path("out/checkpoints").glob("*.pt"):
        torch.save({"model": Bomb(victim)}, path)
    assert main(["resume", "out"]) in (0, 1, 2)
    assert main(["report", "out"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert not victim.exists()


def test_a_file_that_may_not_be_so_large_is_told() -> None:
    Path("c.yaml").write_text(TINY)
    command = f"ulimit -f 8; {sys.executable} -m nnrecipe run c.yaml --stages data --output out"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert os.strerror(errno.EFBIG) in done.stderr
    assert "Traceback" not in done.stderr


STREAM = "data={kind: image_folder, root: images, resident: never, cache: off, val_fraction: 0.2}"


def test_a_file_that_vanishes_during_a_run_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nnrecipe.stages.train import TrainStage

    pictures(READY)
    Path("c.yaml").write_text(TINY)
    run = TrainStage.run

    def vanish(self: TrainStage, *arguments: Any) -> Any:
        shutil.rmtree("images/train/cat")
        return run(self, *arguments)

    monkeypatch.setattr(TrainStage, "run", vanish)
    told = refused(capsys, "run", "c.yaml", STREAM, "--stages", "train", "--output", "out")
    assert "images/train/cat" in told
    assert told.count("\n") == 1


def test_a_reader_that_is_killed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nnrecipe.data import image_files

    pictures(READY)
    Path("c.yaml").write_text(TINY)
    read, parent = image_files.read_image, os.getpid()

    def die(*arguments: Any) -> Any:
        if os.getpid() != parent:
            os.kill(os.getpid(), 9)
        return read(*arguments)

    monkeypatch.setattr(image_files, "read_image", die)
    changes = [STREAM, "training.workers=1"]
    told = refused(capsys, "run", "c.yaml", *changes, "--stages", "train", "--output", "out")
    assert "a process that reads examples died" in told
    assert told.count("\n") == 1


def test_a_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    Path("c.yaml").write_text(TINY)
    command = ["run", "c.yaml", "--stages", "data,train,evaluate", "--output"]
    assert main([*command, "still"]) in (0, 1)
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: (-1) ** next(jumps) * 1e9)
    assert main([*command, "jumping"]) in (0, 1)
    still, jumping = (Path(name, "metrics.jsonl").read_bytes() for name in ("still", "jumping"))
    assert still == jumping


def test_class_names_are_text_in_the_report() -> None:
    evil = "<script>alert(1)"
    pictures({f"{part}/{name}": 20 for part in ("train", "test") for name in (evil, "dog")})
    Path("c.yaml").write_text(TINY)
    command = ["run", "c.yaml", IMAGES, "--keep-going", "--output", "out"]
    assert main(command) in (0, 1)
    page = Path("out/report.html").read_text()
    assert "<script>alert" not in page
    assert "alert(1)" in page
    assert {path.name for path in Path.cwd().iterdir()} == {"c.yaml", "images", "out"}


def test_own_code_is_named_when_it_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    Path("hostile_unnamed.py").write_text("raise SystemExit('imported')\n")
    Path("hostile_data.py").write_text(CUSTOM)
    Path("c.yaml").write_text(TINY)
    assert main(["run", "c.yaml", "--stages", "data", "--output", "a"]) == 0
    assert "your code" not in capsys.readouterr().out
    given = {"kind": "custom", "target": "hostile_data:data"}
    given |= {"args": {"train": [0, 1] * 20, "val": [0, 1] * 9}}
    arguments = ["run", "c.yaml", f"data={json.dumps(given)}", "--stages", "data", "--output", "b"]
    assert main(arguments) in (0, 1)
    shown = capsys.readouterr()
    assert "your code as data: hostile_data:data" in shown.out + shown.err
    assert "hostile_unnamed" not in sys.modules
