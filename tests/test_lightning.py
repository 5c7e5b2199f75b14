"""The callback for pytorch-lightning: a diagnosis at the start that leaves no trace."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import blobs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from nnrecipe.core.causes import Cause
from nnrecipe.core.errors import UserError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pl = pytest.importorskip("pytorch_lightning")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Lightning's, on workers, logging and torch's age
]


def _module(*, end: nn.Module | None = None, lr: float = 3e-3) -> Any:
    class Classifier(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Flatten(),
                nn.Dropout(0.3),
                nn.Linear(8 * 36, 4),
                *([] if end is None else [end]),
            )

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layers(inputs)  # type: ignore[no-any-return]

        def training_step(self, batch: Any, _index: int) -> Tensor:
            inputs, targets = batch
            loss = F.cross_entropy(self(inputs), targets)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, _index: int) -> None:
            self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), lr=lr)
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
            return {"optimizer": optimizer, "lr_scheduler": schedule}

    return Classifier()


def _fit(folder: Path, *callbacks: Any, module: Any = None, val: bool = True) -> Any:
    torch.manual_seed(3)
    module = module or _module()
    trainer = pl.Trainer(
        max_epochs=2,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    train = DataLoader(TensorDataset(*blobs(200, seed=1)), batch_size=32, shuffle=True)
    held = DataLoader(TensorDataset(*blobs(80, seed=2)), batch_size=32)
    trainer.fit(module, train, held if val else None)
    return trainer


def _state(trainer: Any) -> list[Tensor]:
    moments = trainer.optimizers[0].state_dict()["state"].values()
    return [
        *trainer.lightning_module.state_dict().values(),
        *(value for state in moments for value in state.values()),
        torch.get_rng_state(),
    ]


def test_training_is_the_same_with_and_without_it(tmp_path: Path) -> None:
    from nnrecipe.lightning import DiagnoseCallback

    callback = DiagnoseCallback(nn.CrossEntropyLoss(), show=False)
    diagnosed, plain = _state(_fit(tmp_path, callback)), _state(_fit(tmp_path))
    assert all(torch.equal(one, other) for one, other in zip(diagnosed, plain, strict=True))
    report = callback.report
    assert report is not None
    assert report.exit_code == 0, report.diagnosis
    assert report.stage("lr_probe").facts["declared"] == 3e-3
    assert report.stage("wiring").facts["validation"] == "val_loader"


def test_a_failed_check_stops_the_training_where_that_is_asked_for(tmp_path: Path) -> None:
    from nnrecipe.lightning import DiagnoseCallback

    module = _module(end=nn.Softmax(1))
    callback = DiagnoseCallback(nn.CrossEntropyLoss(), stop_on_fail=True, show=False)
    with pytest.raises(UserError, match="the diagnosis stops the training"):
        _fit(tmp_path, callback, module=module, val=False)
    assert callback.report is not None
    assert callback.report.diagnosis[0].cause is Cause.DOUBLE_SOFTMAX
    lenient = DiagnoseCallback(nn.CrossEntropyLoss(), show=False)
    trainer = _fit(tmp_path, lenient, module=_module(end=nn.Softmax(1)))
    assert trainer.current_epoch == 2
