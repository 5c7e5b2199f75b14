from __future__ import annotations

import pytest
import torch

from nnrecipe.core.device import autocast, pick_device
from nnrecipe.core.errors import UserError


@pytest.mark.parametrize(
    ("name", "has_cuda", "expected"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_auto_takes_cuda_where_there_is_one(monkeypatch, name, has_cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert pick_device(name) == torch.device(expected)


def test_cuda_that_is_not_there_is_the_users_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="use cpu or auto"):
        pick_device("cuda")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_computes_in_the_precision_asked_for(precision, dtype):
    layer = torch.nn.Linear(3, 2)
    with autocast(torch.device("cpu"), precision):
        assert layer(torch.ones(1, 3)).dtype == dtype
