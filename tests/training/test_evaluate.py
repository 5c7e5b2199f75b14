"""Evaluation against a computation over the whole split at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nnrecipe.core.shapes import OutputSpec
from nnrecipe.data.batch import Batch
from nnrecipe.losses import CrossEntropy
from nnrecipe.training.evaluate import Evaluation, evaluate
from nnrecipe.training.scores import ClassScore


def _classes(result: Evaluation) -> ClassScore:
    assert isinstance(result.score, ClassScore)
    return result.score


def _split(size: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    return Batch(torch.randn(size, 4, generator=draw), torch.randint(3, (size,), generator=draw))


def _in_batches(split: Batch, size: int) -> list[Batch]:
    pairs = zip(split.inputs.split(size), split.targets.split(size), strict=True)
    return [Batch(*pair) for pair in pairs]


def test_equals_the_whole_split_at_once_whatever_the_batches() -> None:
    torch.manual_seed(0)
    model, split = nn.Linear(4, 3), _split(50)
    logits = model(split.inputs)
    for size in (7, 16, 50):
        result = evaluate(model, _in_batches(split, size), F.cross_entropy, outputs=OutputSpec(3))
        assert result.loss == pytest.approx(F.cross_entropy(logits, split.targets).item(), rel=1e-6)
        right = (logits.argmax(1) == split.targets).float().mean().item()
        assert _classes(result).accuracy == pytest.approx(right)
        assert result.examples == 50
    for true in range(3):
        for predicted in range(3):
            both = (split.targets == true) & (logits.argmax(1) == predicted)
            assert _classes(result).confusion[true, predicted] == both.sum()


def test_recall_and_precision_by_hand() -> None:
    # The "model" is the identity, so inputs are logits.
    logits = torch.eye(3)[[0, 0, 1, 1, 1]]
    targets = torch.tensor([0, 1, 1, 1, 0])
    result = evaluate(
        nn.Identity(), [Batch(logits, targets)], F.cross_entropy, outputs=OutputSpec(3)
    )
    assert _classes(result).recall[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert _classes(result).precision[:2].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert _classes(result).recall[2].isnan()


def test_runs_in_eval_mode_and_restores_the_mode() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 3))
    model.train()
    split = _split(20)
    first = evaluate(model, [split], F.cross_entropy, outputs=OutputSpec(3))
    second = evaluate(model, [split], F.cross_entropy, outputs=OutputSpec(3))
    assert first.loss == second.loss
    assert model.training


def test_more_outputs_than_classes_have_their_place() -> None:
    logits = torch.eye(5)[[4, 1]]
    batch = Batch(logits, torch.tensor([0, 1]))
    result = evaluate(nn.Identity(), [batch], F.cross_entropy, outputs=OutputSpec(2))
    assert _classes(result).confusion.shape == (5, 5)
    assert _classes(result).confusion[0, 4] == 1
    assert _classes(result).accuracy == 0.5


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        evaluate(nn.Identity(), [], F.cross_entropy, outputs=OutputSpec(2))


@pytest.mark.parametrize("size", [7, 16, 50])
def test_class_weights_count_as_in_one_batch(size: int) -> None:
    torch.manual_seed(0)
    model, split = nn.Linear(4, 3), _split(50)
    loss = CrossEntropy(class_weights=(1.0, 5.0, 20.0)).build(OutputSpec(3))
    result = evaluate(model, _in_batches(split, size), loss, outputs=OutputSpec(3))
    assert result.loss == pytest.approx(loss(model(split.inputs), split.targets).item(), rel=1e-6)
