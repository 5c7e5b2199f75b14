"""Each check of the data: silent on healthy data, and right about a seeded fault."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from samples import blobs, make_bench, perceptron
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks import DataCheck
from nnrecipe.checks.data.classes import ClassesCheck
from nnrecipe.checks.data.shift import ShiftCheck
from nnrecipe.checks.data.stable import StableCheck
from nnrecipe.checks.data.values import ConstantCheck, FiniteCheck, ScaleCheck
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.spec import members
from nnrecipe.data.batch import Batch
from nnrecipe.data.normalization import Center
from nnrecipe.data.split import ResidentSplit


def _worst(findings: list[Finding]) -> Finding:
    return max(findings, key=lambda finding: list(Verdict).index(finding.verdict))


@pytest.mark.parametrize("check", members(DataCheck))
def test_healthy_data_pass(check: Any) -> None:
    findings = list(check().check(make_bench()))
    assert findings
    assert {finding.verdict for finding in findings} == {Verdict.PASS}
    assert {finding.cause for finding in findings} == {None}


def _with_nan(inputs: Tensor) -> Tensor:
    inputs = inputs.clone()
    inputs[3, 0, 2, 2] = torch.nan
    return inputs


def test_one_nan_fails() -> None:
    inputs, labels = blobs(200, seed=1)
    finding = _worst(list(FiniteCheck().check(make_bench(train=(_with_nan(inputs), labels)))))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.NAN_INPUT
    assert finding.measured.startswith("1 of ")


@pytest.mark.parametrize(
    ("factor", "cause"), [(100.0, Cause.INPUT_UNSCALED), (1 / 255, Cause.DOUBLE_SCALING)]
)
def test_odd_scales_are_reported(factor: float, cause: Cause) -> None:
    inputs, labels = blobs(200, seed=1)
    (finding,) = ScaleCheck().check(make_bench(train=(inputs * factor, labels)))
    assert finding.verdict is Verdict.WARN
    assert finding.cause is cause


def test_centring_alone_is_a_remark_if_declared() -> None:
    inputs, labels = blobs(200, seed=1)
    bench = make_bench(train=(inputs * 100, labels), data={"normalization": Center()})
    (finding,) = ScaleCheck().check(bench)
    assert finding.verdict is Verdict.PASS
    assert "as declared" in finding.advice


def test_equal_images_fail() -> None:
    inputs, labels = blobs(200, seed=1)
    bench = make_bench(train=(inputs[:1].repeat(200, 1, 1, 1), labels))
    finding, in_val = ConstantCheck().check(bench)
    assert in_val.verdict is Verdict.PASS
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.CONSTANT_INPUT


def test_a_class_without_examples_fails() -> None:
    inputs, labels = blobs(200, seed=1)
    (finding,) = ClassesCheck().check(make_bench(train=(inputs[labels != 2], labels[labels != 2])))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.MISSING_CLASS
    assert finding.measured.startswith("no training example of c")


def test_a_rare_class_warns() -> None:
    inputs, labels = blobs(200, seed=1)
    kept = (labels != 2) | (torch.arange(200) < 20)
    (finding,) = ClassesCheck().check(make_bench(train=(inputs[kept], labels[kept])))
    assert finding.verdict is Verdict.WARN
    assert finding.cause is Cause.CLASS_IMBALANCE


def test_an_affine_shift_is_a_preprocessing_mismatch() -> None:
    inputs, labels = blobs(80, seed=2)
    (finding,) = ShiftCheck().check(make_bench(val=(inputs * 0.5 + 1, labels)))
    assert finding.verdict is Verdict.WARN
    assert finding.cause is Cause.PREPROCESSING_MISMATCH


def test_other_values_are_a_distribution_shift() -> None:
    inputs, labels = blobs(80, seed=2)
    (finding,) = ShiftCheck().check(make_bench(val=(inputs.abs().exp(), labels)))
    assert finding.verdict is Verdict.WARN
    assert finding.cause is Cause.DISTRIBUTION_SHIFT


class _Restless(ResidentSplit):
    def examples(self, indices: Tensor) -> Batch:
        batch = super().examples(indices)
        return batch._replace(inputs=batch.inputs + 0.1 * torch.randn_like(batch.inputs))


def test_a_validation_split_that_changes_fails() -> None:
    restless = _Restless(*blobs(80, seed=2), device=torch.device("cpu"))
    (finding,) = StableCheck().check(make_bench(data={"val": restless}))
    assert finding.verdict is Verdict.FAIL
    assert finding.cause is Cause.VAL_AUGMENTED


class _Scaled(nn.Module):
    """Brings its inputs to a size of its own before its first weights."""

    def __init__(self, scale: Any) -> None:
        super().__init__()
        self.scale, self.last = scale, perceptron()

    def forward(self, x: Tensor) -> Any:
        return self.last(self.scale(x))


@pytest.mark.parametrize("scale", [lambda x: x / 100, nn.BatchNorm2d(1), nn.InstanceNorm2d(1)])
def test_a_model_may_scale_its_inputs_itself(scale: Any) -> None:
    inputs, labels = blobs(200, seed=1)
    raw = make_bench(train=(100 * inputs, labels), model=lambda: _Scaled(scale))
    (finding,) = ScaleCheck().check(raw)
    assert finding.verdict is Verdict.PASS, finding
    later = make_bench(
        train=(100 * inputs, labels),
        model=lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()),
    )
    (finding,) = ScaleCheck().check(later)
    assert finding.cause is Cause.INPUT_UNSCALED


def test_rows_of_norm_one_are_no_small_inputs() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    inputs = F.normalize(torch.randn(400, 4096, generator=draw), dim=1)
    for factor, cause in ((1.0, None), (1 / 255, Cause.DOUBLE_SCALING)):
        bench = make_bench(
            train=(factor * inputs, labels), model=lambda: nn.Sequential(nn.Linear(4096, 4))
        )
        (finding,) = ScaleCheck().check(bench)
        assert finding.cause is cause, finding


@pytest.mark.parametrize(("factor", "cause"), [(1.0, None), (8.0, Cause.PREPROCESSING_MISMATCH)])
def test_numbers_that_are_rarely_other_than_zero(factor: float, cause: Cause | None) -> None:
    draw = torch.Generator().manual_seed(0)
    present = torch.rand(1500, 600, generator=draw) < 0.3 * torch.rand(600, generator=draw)
    inputs = present * torch.rand(1500, 600, generator=draw)
    labels = torch.arange(1500) % 4
    bench = make_bench(
        train=(inputs[:1000], labels[:1000]), val=(factor * inputs[1000:], labels[1000:])
    )
    (finding,) = ShiftCheck().check(bench)
    assert finding.cause is cause, finding
