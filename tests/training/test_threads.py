from __future__ import annotations

import time

import pytest
import torch

from nnrecipe.training.threads import fastest, using_threads


@pytest.fixture
def four_threads(monkeypatch):
    """As on a machine of four cores, whose user has set nothing."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    count = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda wanted: count.__setitem__(0, wanted))
    return count


def _takes(seconds, count, monkeypatch):
    """A clock that goes by what a step takes with so many threads."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return lambda: now.__setitem__(0, now[0] + seconds[count[0]])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({4: 0.010, 2: 0.009, 1: 0.011}, 4),  # hardly a difference
        ({4: 0.010, 2: 0.015, 1: 0.020}, 4),
        ({4: 0.040, 2: 0.020, 1: 0.012}, 1),  # threads that wait for each other
        ({4: 0.040, 2: 0.010, 1: 0.012}, 2),
        ({4: 1.0, 2: 0.1, 1: 0.1}, 4),  # too long to try
    ],
)
def test_fewer_threads_are_taken_where_they_are_clearly_faster(
    four_threads, monkeypatch, seconds, expected
):
    assert fastest(_takes(seconds, four_threads, monkeypatch)) == expected
    assert four_threads == [4]


def test_what_the_user_has_set_stays(four_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    step = _takes({4: 0.04, 2: 0.02, 1: 0.01}, four_threads, monkeypatch)
    assert fastest(step) == 4


def test_the_number_is_put_back_after_an_error(four_threads):
    def broken():
        with using_threads(2):
            assert four_threads == [2]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert four_threads == [4]
