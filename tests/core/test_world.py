"""How work is dealt out to processes, without any."""

from __future__ import annotations

import pytest
import torch

from nnrecipe.core.torchrun import place, restarts
from nnrecipe.core.world import ALONE, World, in_turn


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [8, 9, 31])
def test_every_example_of_a_batch_goes_to_one_process(count: int, size: int) -> None:
    batch = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    parts = [World(rank, size).part(batch) for rank in range(size)]
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_too_few_examples_go_to_all() -> None:
    batch = torch.tensor([4, 2])
    assert all(torch.equal(World(rank, 3).part(batch), batch) for rank in range(3))


def test_what_was_dealt_out_comes_back_in_turn() -> None:
    cards = list(range(10))
    assert list(in_turn([cards[rank::4] for rank in range(4)])) == cards
    assert list(in_turn([[], []])) == []


def test_alone_nothing_is_sent() -> None:
    value = torch.tensor(2.0)
    assert ALONE.from_first(3) == 3
    assert ALONE.gather("a") == ["a"]
    assert ALONE.sum(value) is value


def test_only_torchrun_makes_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert place() == (0, 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert place() == (1, 4)
    assert restarts() == (2, 3)
