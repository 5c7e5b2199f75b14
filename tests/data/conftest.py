from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from nnrecipe.data import Data, DataBundle

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, which is empty at the start of each test."""
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def load() -> Callable[..., DataBundle]:
    """Builds a bundle on the CPU from what YAML would hold under `data`."""

    def build(config: Any, *, seed: int = 0, workers: int = 0) -> DataBundle:
        spec = TypeAdapter(Data).validate_python(config)
        return spec.build(device=torch.device("cpu"), seed=seed, workers=workers)

    return build


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a user's file; gives its module's name, which is new each time."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(body: str) -> str:
        name = f"user_data_{next(_numbers)}"
        head = "import numpy as np, torch, random\nfrom torch.utils.data import *\n"
        (tmp_path / f"{name}.py").write_text(head + body)
        return name

    return write


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes small random images: `{"train/cat": 4}` is four of them in train/cat."""
    random = np.random.default_rng(0)

    def write(
        folders: dict[str, int], *, mode: str = "RGB", size: tuple[int, int] = (8, 6)
    ) -> Path:
        for folder, count in folders.items():
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
                pixels = random.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / f"{number:02}.png")
        return tmp_path

    return write
