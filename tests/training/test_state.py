"""A training that is cut off after any epoch goes on to the same bits, whatever it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from samples import CLASSES, make_bench
from torch import Tensor, nn
from torch.nn import functional as F

from nnrecipe.checks import Bench
from nnrecipe.core.parameters import ParamGroup
from nnrecipe.core.progress import Silence
from nnrecipe.core.spec import kind_of, members
from nnrecipe.optimizers import OptimizerSpec
from nnrecipe.schedulers.plateau import Plateau
from nnrecipe.training import TrainingSpec
from nnrecipe.training.averaging import Averaging
from nnrecipe.training.checkpoint import load_checkpoint, save_checkpoint
from nnrecipe.training.fit import EpochRecord, fit
from nnrecipe.training.state import restore, training_state

CPU = torch.device("cpu")
EPOCHS = 5


class Drifting(nn.Module):
    """A loss with a past: each batch weighs by how many there were."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.requires_grad:
            self.seen += 1
        return F.cross_entropy(outputs, targets) * (1 + 1 / (1 + self.seen))


def normed() -> nn.Module:
    """With running statistics and dropout."""
    first = [nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.Tanh()]
    return nn.Sequential(*first, nn.Dropout(0.3), nn.Linear(16, CLASSES))


class Training:
    """A model, its optimizer and its average, which train on the blobs."""

    def __init__(self, bench: Bench, *, average: str = "none", plateau: bool = False) -> None:
        self.bench = bench
        self.spec = TrainingSpec.model_validate(
            {"epochs": EPOCHS, "batch_size": 32, "average": {"kind": average}}
        )
        schedule = Plateau(monitor="train_loss", patience=0, threshold=0.5)
        settings = {"schedule": schedule.build(100, steps_per_epoch=7)} if plateau else {}
        self.setup = bench.setup(bench.make_model(), lr=0.05, **settings)
        self.average = self.spec.average.build(self.setup.model, epochs=EPOCHS)
        self.records: list[EpochRecord] = []

    def train(self, *, until: int = EPOCHS) -> None:
        after = self.records[-1] if self.records else None
        epochs = fit(
            self.setup,
            self.bench.data,
            self.spec,
            average=self.average,
            seed=0,
            progress=Silence(),
            after=after,
        )
        for record in epochs:
            self.records.append(record)
            if record.epoch == until:
                return

    def save(self, path: Path) -> None:
        state = {"model": self.average.model.state_dict()}
        save_checkpoint(path, state | training_state(self.setup, self.average))

    def end(self) -> list[Any]:
        """All that may differ at the end."""
        losses = [loss for record in self.records for loss in record.losses]
        figures = [record.figures() for record in self.records]
        models = [self.setup.model.state_dict(), self.average.model.state_dict()]
        return [losses, figures, *(value for model in models for value in model.values())]


def goes_on_alike(folder: Path, bench: Bench, *, at: int, **settings: Any) -> bool:
    """Whether a training that is cut off after an epoch ends as one that isn't."""
    whole, first, second = (Training(bench, **settings) for _ in range(3))
    whole.train()
    first.train(until=at)
    first.save(folder / "last.pt")
    state = load_checkpoint(folder / "last.pt", device=CPU, part="optimizer")
    second.records = list(first.records)
    restore(second.setup, second.average, state, second.records)
    second.train()
    pairs = zip(whole.end(), second.end(), strict=True)
    return all(
        torch.equal(one, other) if isinstance(one, Tensor) else one == other for one, other in pairs
    )


@pytest.mark.parametrize(
    "member", [m for m in members(OptimizerSpec) if kind_of(m) != "custom"], ids=kind_of
)
def test_with_every_optimizer(member: type[Any], tmp_path: Path) -> None:
    spec = member()

    def optimizer(model: nn.Module, *, lr: float, decay: bool = True) -> torch.optim.Optimizer:
        parameters = list(model.parameters())
        groups: list[ParamGroup] = [{"params": parameters, "lr": lr, "weight_decay": 0.0}]
        built: torch.optim.Optimizer = spec.build(groups, lr=lr)
        return built

    bench = make_bench(model=normed, make_optimizer=optimizer, reevaluates=spec.calls_objective)
    assert goes_on_alike(tmp_path, bench, at=2)


@pytest.mark.parametrize("average", [kind_of(member) for member in members(Averaging)])
@pytest.mark.parametrize("at", [1, 4])  # before SWA has begun, and after
def test_with_every_average(average: str, at: int, tmp_path: Path) -> None:
    assert goes_on_alike(tmp_path, make_bench(model=normed), at=at, average=average)


def test_with_a_schedule_that_watches_and_a_loss_with_a_past(tmp_path: Path) -> None:
    bench = make_bench(model=normed)
    assert goes_on_alike(tmp_path, bench, at=3, plateau=True)
    drifting = make_bench(model=normed, make_loss=Drifting)
    assert goes_on_alike(tmp_path, drifting, at=3)


def test_after_a_loss_that_ceased_to_be_finite_nothing_follows() -> None:
    training = Training(make_bench(model=normed, make_loss=lambda: _broken))
    training.train()
    assert [record.epoch for record in training.records] == [1]
    training.train()
    assert len(training.records) == 1


def _broken(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets) * torch.nan
