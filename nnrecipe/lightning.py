"""The diagnosis for pytorch-lightning, when `fit` starts: `pip install "nnrecipe[lightning]"`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info

from nnrecipe.checkup.examine import diagnose
from nnrecipe.core.errors import UserError
from nnrecipe.core.report import Report
from nnrecipe.losses import LossCallable
from nnrecipe.report.wording import headline


class DiagnoseCallback(Callback):
    """Checks the module before its first step, on copies: training is the same without it.

    `trainer.fit(module, loader)` then diagnoses the module's `forward`, the trainer's loaders and
    the optimizer, with `loss_fn(outputs, targets)`, which must be given as Lightning keeps none.
    `report` has what was found. A training that is resumed is left alone.
    """

    def __init__(
        self,
        loss_fn: LossCallable,
        *,
        stop_on_fail: bool = False,
        seconds: float = 180.0,
        output: str | Path | None = None,
        show: bool = True,
    ) -> None:
        """With `stop_on_fail`, a failed check ends `fit` by a `UserError`; see `diagnose`."""
        super().__init__()
        self.report: Report | None = None
        self._loss_fn = loss_fn
        self._stop_on_fail = stop_on_fail
        self._seconds, self._output, self._show = seconds, output, show

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Diagnose on the first process, and let the others wait."""
        if trainer.global_step > 0:
            return
        if trainer.is_global_zero:
            self.report = self._diagnose(trainer, pl_module)
        trainer.strategy.barrier("nnrecipe")
        failed = self.report is not None and self.report.exit_code != 0
        if self._stop_on_fail and trainer.strategy.broadcast(failed):
            told = "see the first process" if self.report is None else headline(self.report)
            raise UserError(f"the diagnosis stops the training: {told}")

    def _diagnose(self, trainer: Trainer, module: LightningModule) -> Report:
        train: Any = trainer.train_dataloader
        val: Any = trainer.val_dataloaders
        if isinstance(val, list | tuple):  # several: the first is the one that is monitored
            val = val[0] if val else None
        optimizers = trainer.optimizers
        if len(optimizers) > 1:
            rank_zero_info(f"nnrecipe: {len(optimizers)} optimizers: none of them is judged")
        with _detached(module):
            return diagnose(
                module,
                train,
                self._loss_fn,
                val,
                optimizers[0] if len(optimizers) == 1 else None,
                seconds=self._seconds,
                output=self._output,
                show=self._show,
            )


@contextmanager
def _detached(module: LightningModule) -> Iterator[None]:
    """The module without its trainer, which a copy would take along with all that it holds."""
    held: dict[str, Any] = {key: vars(module).get(key) for key in ("_trainer", "_fabric")}
    vars(module).update(dict.fromkeys(held))
    try:
        yield
    finally:
        vars(module).update(held)
