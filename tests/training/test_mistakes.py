"""The worst mistakes, kept batch by batch, against all of them sorted at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.training.mistakes import Mistake, Mistakes

COUNT = 157


def _kept(
    outputs: Tensor, targets: Tensor, spec: OutputSpec, *, batch: int = 32, most: int = 10
) -> list[Mistake]:
    mistakes = Mistakes(spec, most=most)
    for made, true in zip(outputs.split(batch), targets.split(batch), strict=True):
        mistakes.add(made, true)
    return mistakes.worst_first()


def _draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("batch", [1, 7, 157, 500])
def test_the_surest_wrong_classes_are_kept(batch: int) -> None:
    logits, targets = 3 * _draw(COUNT, 5), torch.arange(COUNT) % 5
    probability, said = logits.double().softmax(1).max(1)
    wrong = [n for n in range(COUNT) if said[n] != targets[n]]
    wrong.sort(key=lambda n: -float(probability[n]))
    found = _kept(logits, targets, OutputSpec(5), batch=batch)
    assert [mistake.example for mistake in found] == wrong[:10]
    for mistake in found:
        n = mistake.example
        assert (mistake.said, mistake.true) == (int(said[n]), int(targets[n]))
        assert mistake.probability == pytest.approx(float(probability[n]))


@pytest.mark.parametrize("batch", [1, 32])
def test_the_surest_wrong_labels_are_kept(batch: int) -> None:
    logits, targets = _draw(COUNT, 3), (_draw(COUNT, 3) > 0.3).float()
    margins = logits.double().abs().where((logits > 0) != (targets > 0.5), -1)
    order = sorted(range(COUNT), key=lambda n: -float(margins[n].max()))
    found = _kept(logits, targets, OutputSpec(3, task="multi_label"), batch=batch)
    assert [mistake.example for mistake in found] == order[:10]
    for mistake in found:
        n, label = mistake.example, mistake.output
        assert label == int(margins[n].argmax())
        assert mistake.said == float(logits[n, label] > 0) == 1 - mistake.true
        expected = 1 / (1 + math.exp(-abs(float(logits[n, label]))))
        assert mistake.probability == pytest.approx(expected)


@pytest.mark.parametrize("batch", [1, 32])
def test_the_largest_errors_are_kept_in_spreads_of_their_target(batch: int) -> None:
    values, targets = _draw(COUNT, 2), torch.zeros(COUNT, 2)
    values[:, 1] *= 100
    spec = OutputSpec(2, task="regression", target_std=(1.0, 1000.0))
    errors = values.abs() / torch.tensor([1.0, 1000.0])
    order = sorted(range(COUNT), key=lambda n: -float(errors[n].max()))
    found = _kept(values, targets, spec, batch=batch)
    assert [mistake.example for mistake in found] == order[:10]
    assert {mistake.output for mistake in found} == {0}
    assert found[0].said == pytest.approx(float(values[order[0], 0]))
    assert math.isnan(found[0].probability)


@pytest.mark.parametrize("std", [(), (0.0,)])
def test_targets_of_unknown_or_no_spread_count_as_they_are(std: tuple[float, ...]) -> None:
    spec = OutputSpec(1, task="regression", target_std=std)
    (found,) = _kept(torch.tensor([[1.0], [3.0]]), torch.ones(2, 1), spec)
    assert (found.example, found.said, found.true) == (1, 3.0, 1.0)


@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_what_is_right_is_no_mistake(task: str) -> None:
    right = {
        "single_label": (torch.eye(3), torch.arange(3)),
        "multi_label": (torch.eye(3) - 0.5, torch.eye(3)),
        "regression": (torch.eye(3), torch.eye(3)),
    }
    assert _kept(*right[task], OutputSpec(3, task=task)) == []  # type: ignore[arg-type]
    assert Mistakes(OutputSpec(3, task=task)).worst_first() == []  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_an_output_that_is_not_a_number_pushes_no_other_out(task: str) -> None:
    outputs = torch.full((9, 3), math.nan)
    outputs[4] = torch.tensor([5.0, -5.0, -5.0])
    classes = torch.ones(9, dtype=torch.int64)
    targets = classes if task == "single_label" else torch.zeros(9, 3)
    found = _kept(outputs, targets, OutputSpec(3, task=task), most=1)  # type: ignore[arg-type]
    assert [mistake.example for mistake in found] == [4]


def test_a_model_with_more_outputs_than_classes_may_say_one_of_these() -> None:
    (found,) = _kept(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([1]), OutputSpec(2))
    assert found.said == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="waits can only be seen on a GPU")
@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_nothing_waits_for_the_device(task: str) -> None:
    device = torch.device("cuda")
    outputs = _draw(64, 3).to(device)
    classes = torch.zeros(64, dtype=torch.int64, device=device)
    targets = classes if task == "single_label" else torch.zeros(64, 3, device=device)
    mistakes = Mistakes(OutputSpec(3, task=task))  # type: ignore[arg-type]
    mistakes.add(outputs, targets)
    torch.cuda.set_sync_debug_mode("error")
    try:
        mistakes.add(outputs, targets)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(mistakes.worst_first()) == 24
