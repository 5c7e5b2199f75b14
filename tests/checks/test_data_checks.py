"""Each check of the data: silent on healthy data, and right about a seeded fault."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from samples import blobs, make_bench
from torch import Tensor

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
