from __future__ import annotations

import pytest
import torch

from nnrecipe.core.device import autocast, pick_device, pick_precision
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
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_autocast_computes_in_the_precision_asked_for(precision, dtype):
    layer = torch.nn.Linear(3, 2)
    with autocast(torch.device("cpu"), precision):
        assert layer(torch.ones(1, 3)).dtype == dtype


@pytest.mark.parametrize(
    ("hardware", "convolves", "expected"),
    [(True, True, "bf16"), (True, False, "fp32"), (False, True, "fp32"), (False, False, "fp32")],
)
def test_auto_takes_bf16_where_a_cpu_multiplies_it_and_there_is_enough_to_multiply(
    monkeypatch, hardware, convolves, expected
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert pick_precision("auto", torch.device("cpu"), convolves=convolves) == expected


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_precision_that_is_asked_for_is_taken(name):
    assert pick_precision(name, torch.device("cpu"), convolves=False) == name
