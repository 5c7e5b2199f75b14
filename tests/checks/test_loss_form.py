"""What the form of a loss is: silent about sound ones, right about what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import make_bench
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.loss.form import LossFormCheck
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.shapes import OutputSpec, Task
from nnrecipe.core.spec import members
from nnrecipe.losses import CustomLoss, Loss

LossOf = Callable[[Tensor, Tensor], Tensor]


def one_hot(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, outputs.shape[1]).float()


def of_right(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]


def hardest(outputs: Tensor, labels: Tensor) -> Tensor:
    losses = F.cross_entropy(outputs, labels, reduction="none")
    return losses.topk(len(losses) // 2).values.mean()


def focal(outputs: Tensor, labels: Tensor) -> Tensor:
    log = of_right(outputs.log_softmax(1), labels)
    return (-((1 - log.exp()) ** 2) * log).mean()


def one_vs_all(outputs: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, one_hot(outputs, labels), **settings)


def _targets(task: Task, size: int, *, mean: float = 1.0) -> tuple[Tensor, OutputSpec]:
    draw = torch.Generator().manual_seed(3)
    if task == "single_label":
        labels = torch.arange(120) % size
        return labels, OutputSpec(size, tuple(labels.bincount().tolist()), examples=120)
    if task == "multi_label":
        present = (torch.rand(120, size, generator=draw) < 0.3).float()
        return present, OutputSpec(size, tuple(present.sum(0).int().tolist()), task, 120)
    values = mean + 3 * torch.randn(120, size, generator=draw)
    means, spreads = tuple(values.mean(0).tolist()), tuple(values.std(0).tolist())
    return values, OutputSpec(size, (), task, 120, means, spreads)


def bench(
    loss: LossOf,
    *,
    task: Task = "single_label",
    size: int = 5,
    end: nn.Module | None = None,
    mean: float = 1.0,
) -> Bench:
    """A perceptron that ends in `end`, and data that nothing can be learned from."""
    targets, outputs = _targets(task, size, mean=mean)
    inputs = torch.randn(120, 20, generator=torch.Generator().manual_seed(1))

    def model() -> nn.Module:
        layers = [nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, size)]
        return nn.Sequential(*layers, *([end] if end is not None else []))

    data = {"outputs": outputs, "classes": tuple(map(str, range(size))), "input_shape": (20,)}
    both = (inputs, targets)
    return make_bench(model=model, loss=loss, train=both, val=both, data=data, chance=None)


def judged(loss: LossOf, **changes: Any) -> Finding:
    (finding,) = LossFormCheck().check(bench(loss, **changes))
    return finding


SOUND: dict[str, LossOf] = {
    "cross_entropy": F.cross_entropy,
    "smoothed": lambda z, y: F.cross_entropy(z, y, label_smoothing=0.3),
    "focal": focal,
    "margin": F.multi_margin_loss,
    "squared margin": lambda z, y: F.multi_margin_loss(z, y, p=2),
    "one_vs_all": one_vs_all,
    "one_vs_all smoothed": lambda z, y: F.binary_cross_entropy_with_logits(
        z, 0.9 * one_hot(z, y) + 0.02
    ),
    "divergence": lambda z, y: F.kl_div(z.log_softmax(1), one_hot(z, y), reduction="batchmean"),
    "with eps": lambda z, y: -(of_right(z.softmax(1), y) + 1e-7).log().mean(),
    "sharp": lambda z, y: F.cross_entropy(z / 0.1, y),
    "scaled": lambda z, y: 100 * F.cross_entropy(z, y),
    "hardest": hardest,
    "divided by the batch size": lambda z, y: F.cross_entropy(z, y, reduction="sum") / 32,
    "confidence penalty": lambda z, y: (
        F.cross_entropy(z, y) + 0.1 * (z.softmax(1) * z.log_softmax(1)).sum(1).mean()
    ),
}


@pytest.mark.parametrize("size", [2, 10])
@pytest.mark.parametrize("name", SOUND)
def test_sound_losses_pass(name: str, size: int) -> None:
    finding = judged(SOUND[name], size=size)
    assert finding.verdict is Verdict.PASS, finding
    assert "not measured" not in finding.measured


@pytest.mark.parametrize("member", [m for m in members(Loss) if m is not CustomLoss])
def test_the_losses_that_yaml_can_name_pass(member: Any) -> None:
    for task in sorted(member.tasks):
        loss = member().build(_targets(task, 5)[1])
        end = nn.LogSoftmax(1) if member.expects_log_probabilities else None
        assert judged(loss, task=task, end=end).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("loss", "end"),
    [
        (lambda p, y: F.nll_loss(p.log(), y), nn.Softmax(1)),
        (lambda p, y: F.nll_loss((p + 1e-8).log(), y), nn.Softmax(1)),
        (F.nll_loss, nn.LogSoftmax(1)),
        (F.cross_entropy, nn.LogSoftmax(1)),  # which changes nothing
        (lambda p, y: F.binary_cross_entropy(p, one_hot(p, y)), nn.Sigmoid()),
        (lambda p, y: F.binary_cross_entropy(p, one_hot(p, y)), nn.Softmax(1)),
    ],
)
def test_a_loss_is_judged_behind_what_the_model_gives(loss: LossOf, end: nn.Module) -> None:
    finding = judged(loss, end=end)
    assert finding.verdict is Verdict.PASS, finding
    assert "not measured" not in finding.measured


W, F_ = Verdict.WARN, Verdict.FAIL
WRONG: dict[str, tuple[LossOf, Verdict, Cause]] = {
    "flipped": (lambda z, y: -F.cross_entropy(z, y), F_, Cause.SIGN_FLIPPED),
    "a reward": (lambda z, y: of_right(z.log_softmax(1), y).mean(), F_, Cause.SIGN_FLIPPED),
    "flipped margin": (lambda z, y: -F.multi_margin_loss(z, y), F_, Cause.SIGN_FLIPPED),
    "flipped sum": (
        lambda z, y: -F.cross_entropy(z, y, reduction="sum"),
        F_,
        Cause.SIGN_FLIPPED,
    ),
    "logits as log-probabilities": (F.nll_loss, F_, Cause.MISSING_LOG_SOFTMAX),
    "by hand": (lambda z, y: -of_right(z, y).mean(), F_, Cause.MISSING_LOG_SOFTMAX),
    "no logarithm": (lambda z, y: F.nll_loss(z.softmax(1), y), F_, Cause.MISSING_LOG_SOFTMAX),
    "sum": (lambda z, y: F.cross_entropy(z, y, reduction="sum"), W, Cause.SUM_REDUCTION),
    "sum by hand": (lambda z, y: -of_right(z.log_softmax(1), y).sum(), W, Cause.SUM_REDUCTION),
    "squares": (lambda z, y: F.mse_loss(z, one_hot(z, y)), W, Cause.LOSS_MISMATCH),
    "absolutes": (lambda z, y: F.l1_loss(z, one_hot(z, y)), W, Cause.LOSS_MISMATCH),
    "squares of probabilities": (
        lambda z, y: F.mse_loss(z.softmax(1), one_hot(z, y)),
        W,
        Cause.LOSS_MISMATCH,
    ),
    "softmax inside": (lambda z, y: F.cross_entropy(z.softmax(1), y), F_, Cause.DOUBLE_SOFTMAX),
    "sigmoid inside": (lambda z, y: F.cross_entropy(z.sigmoid(), y), F_, Cause.SIGMOID_LOGITS),
    "logarithm of logits": (lambda z, y: F.nll_loss(z.log(), y), F_, Cause.LOSS_MISMATCH),
    "softmax over the batch": (
        lambda z, y: F.nll_loss(z.log_softmax(0), y),
        F_,
        Cause.LOSS_MISMATCH,
    ),
    "no targets": (lambda z, _: z.square().mean(), F_, Cause.LOSS_MISMATCH),
    "no outputs": (lambda z, _: (0 * z).sum() + 1, F_, Cause.LOSS_MISMATCH),
    "detached": (lambda z, y: F.cross_entropy(z.detach(), y), F_, Cause.DETACHED_GRAPH),
    "errors counted": (lambda z, y: (z.argmax(1) != y).float().mean(), F_, Cause.DETACHED_GRAPH),
    "one a row": (lambda z, y: F.cross_entropy(z, y, reduction="none"), F_, Cause.LOSS_MISMATCH),
    "NaN": (lambda z, y: (F.cross_entropy(z, y) - 100).sqrt(), F_, Cause.NON_FINITE),
    "shifted": (
        lambda z, y: F.cross_entropy(z, (y + 1) % z.shape[1]),
        F_,
        Cause.LABEL_MAP_MISMATCH,
    ),
    "reversed": (lambda z, y: F.cross_entropy(z, z.shape[1] - 1 - y), F_, Cause.LABEL_MAP_MISMATCH),
    "two swapped": (
        lambda z, y: F.cross_entropy(z, torch.where(y < 2, 1 - y, y)),
        F_,
        Cause.LABEL_MAP_MISMATCH,
    ),
    "rolled": (lambda z, y: F.cross_entropy(z, y.roll(1)), F_, Cause.MISALIGNED_LABELS),
    "sorted": (lambda z, y: F.cross_entropy(z, y.sort().values), F_, Cause.MISALIGNED_LABELS),
    "broadcast": (lambda z, y: -z.log_softmax(1)[:, y].mean(), F_, Cause.MISALIGNED_LABELS),
}


@pytest.mark.parametrize("size", [2, 10])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str, size: int) -> None:
    loss, verdict, cause = WRONG[name]
    finding = judged(loss, size=size)
    assert (finding.verdict, finding.cause) == (verdict, cause), finding
    assert finding.advice
    assert finding.confidence >= 0.6


@pytest.mark.parametrize(
    ("loss", "end", "cause"),
    [
        (F.cross_entropy, nn.Softmax(1), Cause.DOUBLE_SOFTMAX),
        (F.nll_loss, nn.Softmax(1), Cause.MISSING_LOG_SOFTMAX),
        (F.cross_entropy, nn.Sigmoid(), Cause.SIGMOID_LOGITS),
        (one_vs_all, nn.Sigmoid(), Cause.SIGMOID_LOGITS),
        (lambda p, y: F.mse_loss(p, one_hot(p, y)), nn.Softmax(1), Cause.LOSS_MISMATCH),
        (lambda p, y: F.nll_loss(p.log(), y), nn.Sigmoid(), Cause.LOSS_MISMATCH),
    ],
)
def test_a_model_and_a_loss_that_do_not_fit(loss: LossOf, end: nn.Module, cause: Cause) -> None:
    finding = judged(loss, end=end)
    assert finding.verdict is not Verdict.PASS
    assert finding.cause is cause


bce = F.binary_cross_entropy_with_logits
LABELS: dict[str, tuple[LossOf, Cause | None]] = {
    "bce": (bce, None),
    "weighted": (lambda z, t: bce(z, t, pos_weight=torch.tensor([1.0, 5.0, 2.0])), None),
    "smoothed": (lambda z, t: bce(z, 0.9 * t + 0.05), None),
    "sum over labels": (lambda z, t: bce(z, t, reduction="none").sum(1).mean(), None),
    "flipped": (lambda z, t: -bce(z, t), Cause.SIGN_FLIPPED),
    "sum": (lambda z, t: bce(z, t, reduction="sum"), Cause.SUM_REDUCTION),
    "squares": (F.mse_loss, Cause.LOSS_MISMATCH),
    "softmax": (F.cross_entropy, Cause.LOSS_MISMATCH),
    "sigmoid inside": (lambda z, t: bce(z.sigmoid(), t), Cause.SIGMOID_LOGITS),
    "permuted": (lambda z, t: bce(z, t.roll(1, 1)), Cause.LABEL_MAP_MISMATCH),
    "one inverted": (
        lambda z, t: bce(z, torch.cat([1 - t[:, :1], t[:, 1:]], 1)),
        Cause.LABEL_MAP_MISMATCH,
    ),
    "rolled": (lambda z, t: bce(z, t.roll(1, 0)), Cause.MISALIGNED_LABELS),
}


@pytest.mark.parametrize("name", LABELS)
def test_losses_of_labels(name: str) -> None:
    loss, cause = LABELS[name]
    finding = judged(loss, task="multi_label", size=3)
    assert finding.cause is cause, finding
    assert (finding.verdict is Verdict.PASS) is (cause is None)


VALUES: dict[str, tuple[LossOf, Cause | None]] = {
    "mse": (F.mse_loss, None),
    "quantile": (lambda z, t: torch.maximum(0.9 * (t - z), 0.1 * (z - t)).mean(), None),
    "share of the variance": (
        lambda z, t: (z - t).square().sum() / (t - t.mean(0)).square().sum(),
        None,
    ),
    "flipped": (lambda z, t: -F.mse_loss(z, t), Cause.SIGN_FLIPPED),
    "sum": (lambda z, t: F.mse_loss(z, t, reduction="sum"), Cause.SUM_REDUCTION),
    "broadcast": (
        lambda z, t: (z[:, 0][None] - t[:, 0][:, None]).square().mean(),
        Cause.MISALIGNED_LABELS,
    ),
    "rolled": (lambda z, t: F.mse_loss(z, t.roll(1, 0)), Cause.MISALIGNED_LABELS),
    "no targets": (lambda z, _: z.abs().mean(), Cause.LOSS_MISMATCH),
}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", VALUES)
def test_losses_of_values(name: str, size: int) -> None:
    loss, cause = VALUES[name]
    finding = judged(loss, task="regression", size=size)
    assert finding.cause is cause, finding
    assert (finding.verdict is Verdict.PASS) is (cause is None)


def test_values_that_are_permuted() -> None:
    finding = judged(lambda z, t: F.mse_loss(z, t.flip(1)), task="regression", size=3)
    assert finding.cause is Cause.LABEL_MAP_MISMATCH


FAR: dict[str, tuple[LossOf, Cause | None]] = {
    "absolute": (F.l1_loss, None),
    "smooth": (F.smooth_l1_loss, None),
    "huber": (F.huber_loss, None),
    "quantile": (VALUES["quantile"][0], None),
    "no targets": (lambda z, _: z.abs().mean(), Cause.LOSS_MISMATCH),
    "rolled": (lambda z, t: F.l1_loss(z, t.roll(1, 0)), Cause.MISALIGNED_LABELS),
    "flipped": (lambda z, t: -F.l1_loss(z, t), Cause.SIGN_FLIPPED),
}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", FAR)
def test_losses_that_pull_alike_from_afar(name: str, size: int) -> None:
    loss, cause = FAR[name]
    for mean in (300.0, -300.0):
        finding = judged(loss, task="regression", size=size, mean=mean)
        assert finding.cause is cause, finding
        assert (finding.verdict is Verdict.PASS) is (cause is None)


def test_values_far_away_that_are_permuted() -> None:
    finding = judged(lambda z, t: F.l1_loss(z, t.flip(1)), task="regression", size=3, mean=300.0)
    assert finding.cause is Cause.LABEL_MAP_MISMATCH


def test_more_outputs_than_classes_do_not_disturb() -> None:
    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(20, 9))

    for loss, cause in ((F.cross_entropy, None), (WRONG["squares"][0], Cause.LOSS_MISMATCH)):
        narrow = bench(loss, size=4)
        (finding,) = LossFormCheck().check(
            make_bench(model=wide, loss=loss, data={**vars(narrow.data)})
        )
        assert finding.cause is cause


def test_a_loss_that_takes_no_made_up_outputs_is_left_alone() -> None:
    def picky(outputs: Tensor, labels: Tensor) -> Tensor:
        if len(outputs) != 128:
            raise ValueError("batches of 128, please")
        return F.cross_entropy(outputs, labels)

    finding = judged(picky)
    assert finding.verdict is Verdict.PASS
    assert "128" in finding.measured
