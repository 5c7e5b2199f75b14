"""Each suspect: removed, a sick training gets well; where it isn't there, nothing is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import CLASSES, blobs, make_bench, perceptron
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks.experiments import (
    SUSPECTS,
    Experiment,
    Removal,
    Scene,
    Suspect,
    judge_experiments,
)
from nnrecipe.checks.experiments.verdicts import HELPS
from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Verdict
from nnrecipe.data.augmentation import Augmentation
from nnrecipe.data.augmentation.corruption import Cutout
from nnrecipe.init import Init
from nnrecipe.layers import Activation
from nnrecipe.regularization import Regularization
from nnrecipe.schedulers import Constant, Step
from nnrecipe.training.setup import Limits
from nnrecipe.training.trial import try_out

STEPS = 60
MakeModel = Callable[[], nn.Module]


def _digits(*, factor: float = 1.0, by_class: bool = False) -> tuple[Tensor, Tensor]:
    """The handwritten digits 0 to 3 [N, 1, 6, 6], of size about 1 times a factor."""
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)[:, :, 1:7, 1:7]
    targets = torch.tensor(labels)
    kept = targets < CLASSES
    inputs, targets = (inputs[kept] - 6) / 6 * factor, targets[kept]
    order = targets.argsort(stable=True) if by_class else torch.arange(len(targets))
    return inputs[order], targets[order]


def _scene(
    *,
    model: MakeModel = perceptron,
    rate: float = 0.1,
    suggested: float | None = None,
    schedule: Any = None,
    **changes: Any,
) -> Scene:
    def variant(*, init: Init | None, activation: Activation | None = None) -> nn.Module:
        made = model()
        if init is not None:
            torch.manual_seed(0)
            init.apply(made, activation=activation)
        return made

    schedule = schedule or Constant()
    changes = {"train": _digits()} | changes
    return Scene(
        bench=make_bench(model=model, make_variant=variant, **changes),
        rate=rate,
        suggested=suggested,
        schedule=schedule.build(STEPS, steps_per_epoch=10),
        steps=STEPS,
    )


def _sgd(**settings: Any) -> Callable[..., torch.optim.Optimizer]:
    def build(model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        own = settings if decay else settings | {"weight_decay": 0.0}
        return torch.optim.SGD(model.parameters(), lr=lr, **own)

    return build


def _adam(**settings: Any) -> Callable[..., torch.optim.Optimizer]:
    return lambda model, *, lr, decay=True: torch.optim.Adam(model.parameters(), lr=lr, **settings)


def _deep(activation: type[nn.Module], *, depth: int = 8) -> MakeModel:
    def build() -> nn.Module:
        torch.manual_seed(0)
        hidden = [layer for _ in range(depth) for layer in (nn.Linear(32, 32), activation())]
        return nn.Sequential(
            nn.Flatten(), nn.Linear(36, 32), activation(), *hidden, nn.Linear(32, CLASSES)
        )

    return build


def _filled(value: float) -> MakeModel:
    def build() -> nn.Module:
        model = _deep(nn.ReLU, depth=1)()
        for parameter in model.parameters():
            nn.init.constant_(parameter, value)
        return model

    return build


def _scaled_weights(factor: float) -> MakeModel:
    def build() -> nn.Module:
        model = _deep(nn.ReLU, depth=3)()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(factor)
        return model

    return build


class _Dropping(nn.Module):
    """Dropout that `forward` asks for by itself."""

    def __init__(self, share: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.share = share
        self.first, self.last = nn.Linear(36, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x.flatten(1)).relu()
        return self.last(F.dropout(hidden, self.share, self.training))


def _normalized() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, CLASSES)
    )


def _frozen() -> nn.Module:
    model = perceptron()
    with torch.no_grad():
        model[1].weight.mul_(1e-3)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model[3].bias.requires_grad_(True)
    return model


def _squashed(last: nn.Module) -> MakeModel:
    return lambda: nn.Sequential(perceptron(), last)


def _blank(side: int) -> Augmentation:
    return Augmentation((Cutout(size=side),), white=None)


def _to_one_hot(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.01 * F.mse_loss(outputs, F.one_hot(targets, CLASSES).float())


def _summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="sum")


SICK: dict[str, list[tuple[dict[str, Any], Cause]]] = {
    "inputs scaled to mean 0, spread 1": [
        ({"train": _digits(factor=3000.0), "rate": 0.1}, Cause.INPUT_UNSCALED),
        ({"train": _digits(factor=0.003), "rate": 0.05}, Cause.DOUBLE_SCALING),
    ],
    "outputs turned back into logits": [
        ({"model": _squashed(nn.Softmax(1)), "rate": 0.01}, Cause.DOUBLE_SOFTMAX),
    ],
    "mean of the loss over the batch": [({"loss": _summed, "rate": 0.5}, Cause.SUM_REDUCTION)],
    "cross-entropy as the loss": [({"loss": _to_one_hot, "rate": 0.1}, Cause.LOSS_MISMATCH)],
    "kaiming weights": [
        ({"model": _filled(0.0)}, Cause.ZERO_INIT),
        ({"model": _filled(0.01)}, Cause.CONSTANT_INIT),
        ({"model": _scaled_weights(30.0)}, Cause.INIT_TOO_LARGE),
        ({"model": _scaled_weights(0.05)}, Cause.INIT_TOO_SMALL),
    ],
    "relu for sigmoid and tanh": [({"model": _deep(nn.Sigmoid)}, Cause.SATURATING_DEPTH)],
    "without dropout": [({"model": lambda: _Dropping(0.98)}, Cause.DROPOUT_TOO_HIGH)],
    "without weight decay and penalties": [
        ({"make_optimizer": _sgd(weight_decay=5.0)}, Cause.OVER_REGULARIZED),
        ({"penalty": Regularization(l2=3.0).penalty()}, Cause.OVER_REGULARIZED),
    ],
    "gradients not clipped": [({"limits": Limits(gradient_norm=1e-4)}, Cause.CLIP_TOO_SMALL)],
    "eps 1e-08 in the optimizer": [
        ({"make_optimizer": _adam(eps=1.0), "rate": 0.003}, Cause.ADAM_EPS)
    ],
    "momentum 0.9": [
        (
            {
                "model": _deep(nn.ReLU, depth=2),
                "make_optimizer": _sgd(momentum=0.999),
                "rate": 0.2,
            },
            Cause.MOMENTUM_TOO_HIGH,
        )
    ],
    "constant learning rate": [
        ({"schedule": Step(step_size=1, gamma=0.1), "rate": 0.05}, Cause.SCHEDULE_TOO_FAST)
    ],
    "all parameters trained": [({"model": _frozen}, Cause.ACCIDENTAL_FREEZE)],
    "examples in random order": [
        ({"train": _digits(by_class=True), "shuffle": False, "rate": 2.0}, Cause.UNSHUFFLED)
    ],
    "the probe's learning rate": [
        ({"rate": 100.0, "suggested": 0.1}, Cause.LR_TOO_HIGH),
        ({"rate": 1e-5, "suggested": 0.1}, Cause.LR_TOO_LOW),
    ],
    "a tenth of the learning rate": [({"rate": 20.0}, Cause.LR_TOO_HIGH)],
    "ten times the learning rate": [({"rate": 1e-3}, Cause.LR_TOO_LOW)],
}
UNTRAINED = {"without augmentation", "batches 16 times as large"}
"""Suspects whose removal is tested without a sick training of the blobs, which are too easy."""
CASES = [(label, *case) for label, cases in SICK.items() for case in cases]


def _suspect(label: str) -> Suspect:
    return {suspect.label: suspect for suspect in SUSPECTS}[label]


def test_every_suspect_has_a_sick_training() -> None:
    assert SICK.keys() | UNTRAINED == {suspect.label for suspect in SUSPECTS}


@pytest.mark.parametrize(("label", "changes", "cause"), CASES)
def test_without_the_suspect_the_training_gets_well(
    label: str, changes: dict[str, Any], cause: Cause
) -> None:
    scene = _scene(**changes)
    outputs = scene.bench.outputs
    before = try_out(scene.conditions(), scene.held, outputs=outputs)
    removal = _suspect(label).remove(scene)
    assert removal is not None
    after = try_out(removal.conditions, scene.held, outputs=outputs)
    assert after - before >= HELPS, (before, after)
    done = Experiment(_suspect(label), removal, after, 0.1)
    (finding,) = judge_experiments([done], before=before, failed=True, steps=STEPS)
    assert (finding.verdict, finding.cause) == (Verdict.FAIL, cause)
    assert cause in _suspect(label).causes
    (hint,) = judge_experiments([done], before=before, failed=False, steps=STEPS)
    assert hint.verdict is Verdict.WARN
    assert hint.confidence < finding.confidence


def test_a_healthy_training_leaves_nothing_to_remove() -> None:
    scene = _scene(suggested=0.1, chance=1.386)
    tried = {suspect.label for suspect in SUSPECTS if suspect.remove(scene) is not None}
    assert tried == set()


def test_a_gain_by_chance_is_no_finding() -> None:
    scene = _scene()
    done = Experiment(SUSPECTS[0], Removal(scene.conditions()), 0.5 + HELPS / 2, 0.1)
    assert list(judge_experiments([done], before=0.5, failed=True, steps=STEPS)) == []


def test_small_batches_are_suspect_only_with_batch_norm() -> None:
    suspect = _suspect("batches 16 times as large")
    assert suspect.remove(_scene(batch_size=2)) is None
    removal = suspect.remove(_scene(model=_normalized, batch_size=2))
    assert removal is not None
    assert len(removal.conditions.batches[0].targets) == 32
    assert suspect.remove(_scene(model=_normalized, batch_size=32)) is None


def test_augmentation_is_left_out() -> None:
    suspect = _suspect("without augmentation")
    scene = _scene(train=blobs(200, seed=1), data={"augmentation": _blank(3)})
    removal = suspect.remove(scene)
    assert removal is not None
    assert removal.change == ("data.augment=[]",)
    blank = [bool((batch.inputs == 0).any()) for batch in scene.batches]
    plain = [bool((batch.inputs == 0).any()) for batch in removal.conditions.batches]
    assert all(blank)
    assert not any(plain)


def test_a_trial_that_explodes_has_no_skill() -> None:
    scene = _scene(rate=1e30)
    assert try_out(scene.conditions(), scene.held, outputs=scene.bench.outputs) == 0.0


def test_a_trial_of_a_healthy_network_has_skill() -> None:
    scene = _scene()
    assert try_out(scene.conditions(), scene.held, outputs=scene.bench.outputs) > 0.9
