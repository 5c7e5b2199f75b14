"""The CIFAR-10 presets walk all their stages on real images, a few of each class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nnrecipe.cli import main
from nnrecipe.recipe import load
from nnrecipe.recipe.presets import presets
from nnrecipe.recipe.rules import ORDER

SMALL = [
    "training.epochs=1",
    "training.batch_size=20",
    "scheduler.warmup=0",
    "stages.lr_probe.steps=2",
    "stages.lr_probe.per_decade=1",
    "stages.overfit.steps=20",
]
CYCLES = ["training.epochs=2", "scheduler.period=1 epoch", "ensemble.size=2"]


@pytest.fixture(scope="module")
def few_images(cifar10_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with 12 training and 4 test images of each class."""
    folder = tmp_path_factory.mktemp("cifar10")
    for split, count in (("train", 12), ("test", 4)):
        for of_class in sorted((cifar10_folder / split).iterdir()):
            target = folder / split / of_class.name
            target.mkdir(parents=True)
            for image in sorted(of_class.iterdir())[:count]:
                shutil.copy(image, target)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("preset", [name for name in presets() if name.endswith("-cifar10")])
def test_a_preset_walks_its_stages(preset: str, few_images: Path, tmp_path: Path) -> None:
    data = ["data.kind=image_folder", f"data.root={few_images}", "data.val_fraction=0.2"]
    cycles = CYCLES if load(preset).recipe.ensemble.kind == "snapshots" else []
    words = [preset, *data, *SMALL, *cycles, "--keep-going", "--output", str(tmp_path / "out")]
    assert main(["run", *words]) in (0, 1)  # so little data teaches nothing reliably
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    walked = {stage["stage"]: stage["verdict"] for stage in report["stages"]}
    alone = load(preset).recipe.ensemble.kind == "none"
    absent = {"search", "transfer"} | ({"ensemble"} if alone else set())
    assert list(walked) == [kind for kind in ORDER if kind not in absent]
    assert walked["data"] != "fail"
    assert walked["sanity"] == "pass"
    assert report["metrics"]["test_accuracy"] > 0
