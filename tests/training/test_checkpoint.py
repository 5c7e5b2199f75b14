"""Checkpoints come back as they were, or the user is told."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from nnrecipe.core.errors import UserError
from nnrecipe.training.checkpoint import load_checkpoint, previous_path, save_checkpoint

CPU = torch.device("cpu")


def test_comes_back_without_running_code(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    state = {"model": {"weight": torch.randn(3)}, "epoch": 4, "classes": ["a", "b"]}
    save_checkpoint(path, state)
    found = load_checkpoint(path, device=CPU)
    assert torch.equal(found["model"]["weight"], state["model"]["weight"])  # type: ignore[index]
    assert found["epoch"] == 4
    assert torch.load(path, weights_only=True)["classes"] == ["a", "b"]
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"model": {}, "epoch": 1})

    class Unwritable:
        def __reduce__(self) -> str:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"model": {}, "epoch": 2, "bad": Unwritable()})
    assert load_checkpoint(path, device=CPU)["epoch"] == 1


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    missing, garbage, foreign, bomb = (tmp_path / name for name in ("m.pt", "g.pt", "f.pt", "b.pt"))
    garbage.write_bytes(b"not a checkpoint" * 10)
    torch.save([1, 2], foreign)
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.mkdir, (str(ran),)

    bomb.write_bytes(pickle.dumps(Bomb()))
    for path in (missing, garbage, foreign, bomb):
        with pytest.raises(UserError, match=path.name):
            load_checkpoint(path, device=CPU)
    assert not ran.exists()


def test_the_one_before_is_kept_on_request(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    for epoch in (1, 2, 3):
        save_checkpoint(path, {"model": {}, "epoch": epoch}, keep_previous=True)
    assert load_checkpoint(path, device=CPU)["epoch"] == 3
    assert load_checkpoint(previous_path(path), device=CPU)["epoch"] == 2
    assert {file.name for file in tmp_path.iterdir()} == {"last.pt", "last.previous.pt"}


def test_a_file_cut_off_anywhere_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"model": {"weight": torch.randn(2000)}})
    whole = path.read_bytes()
    for size in range(0, len(whole), 512):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"last\.pt: not a readable checkpoint"):
            load_checkpoint(path, device=CPU)


def test_a_changed_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    weight = torch.randn(500)
    save_checkpoint(path, {"model": {"weight": weight}})
    whole = path.read_bytes()
    named = 0
    for place in range(7, len(whole), 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = load_checkpoint(path, device=CPU)["model"]["weight"]
        except UserError:
            named += 1
        else:
            assert torch.equal(found, weight)
    assert named > 0.9 * weight.nbytes / 13
