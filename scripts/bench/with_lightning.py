"""The same training by pytorch-lightning's Trainer, with everything that costs switched off."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from bench.networks import make_network
from bench.plain import Batches, make_optimizer, usual_loader
from bench.subject import Clock, Trained, Work


class _Module(pl.LightningModule):
    def __init__(self, case: str, work: Work) -> None:
        super().__init__()
        self.network, self.work = make_network(case), work

    def training_step(self, batch: tuple[Tensor, Tensor], _number: int) -> Tensor:
        inputs, targets = batch
        return F.cross_entropy(self.network(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.network, self.work)


class _Timed(pl.Callback):
    """The training without what Lightning prepares before."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_start(self, *_given: Any) -> None:
        self.clock.__enter__()

    def on_train_end(self, *_given: Any) -> None:
        self.clock.__exit__()


class _InMemory(IterableDataset[tuple[Tensor, Tensor]]):
    """The bare loop's batches."""

    def __init__(self, work: Work) -> None:
        self.batches = Batches(work)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


def lightning(case: str, work: Work, *, in_memory: bool = False) -> Callable[[], Trained]:
    """On the usual data path, or on the bare loop's batches."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    loader: DataLoader[Any] = usual_loader(work)
    if in_memory:
        loader = DataLoader(_InMemory(work), batch_size=None)
    cuda = work.device.type == "cuda"

    def train() -> Trained:
        module, clock = _Module(case, work), Clock(work.device)
        with warnings.catch_warnings():  # it has advice on workers and loggers
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                max_epochs=1,
                accelerator="gpu" if cuda else "cpu",
                devices=1,
                precision="bf16-mixed" if cuda else "32-true",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[_Timed(clock)],
            )
            trainer.fit(module, loader)
        network = module.network.to(work.device)
        return Trained(clock.wall, clock.process, network, work.normalized, own=in_memory)

    return train
