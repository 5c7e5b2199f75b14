"""What is trained: the network, its data, and the settings that all contenders share."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM = 0.9
JUDGED = 1000
"""Training examples on which the trained networks are compared."""
VALIDATED = 256
"""Examples in the validation split of whoever insists on one; validation is never timed."""


@dataclass(frozen=True)
class Subject:
    """A network, its pictures and its training; by SGD with momentum at a constant rate.

    `preset` is nnrecipe's, and `overrides` what makes it the same training. Pictures are shifted
    by up to `padding` pixels and mirrored; 0 leaves them as they are. `mean` and `std` are those
    of the pixels between 0 and 1.
    """

    name: str
    preset: str
    shape: tuple[int, int, int]
    batch_size: int
    steps: int
    lr: float
    padding: int
    weight_decay: float = 0.0
    mean: float = 0.48
    std: float = 0.24
    overrides: tuple[str, ...] = ()


SUBJECTS = {
    "lenet5": Subject(
        name="LeNet-5, Fashion-MNIST",
        preset="lenet5-fashion-mnist",
        shape=(1, 28, 28),
        batch_size=128,
        steps=400,
        lr=0.02,
        padding=2,
        mean=0.286,
        std=0.353,
    ),
    "mlp": Subject(
        name="MLP 3072-50-10, CIFAR-10's shape",
        preset="mlp-cifar10",
        shape=(3, 32, 32),
        batch_size=100,
        steps=500,
        lr=0.005,
        padding=0,
        overrides=("data.augment=[]", "~regularization"),
    ),
    "resnet20": Subject(
        name="ResNet-20, CIFAR-10's shape",
        preset="resnet20-cifar10",
        shape=(3, 32, 32),
        batch_size=128,
        steps=20,
        lr=0.05,
        padding=4,
        weight_decay=1e-4,
    ),
    "resnet18": Subject(
        name="ResNet-18, 224 pixels",
        preset="resnet20-cifar10",
        shape=(3, 224, 224),
        batch_size=64,
        steps=40,
        lr=0.02,
        padding=4,
        weight_decay=1e-4,
        overrides=("architecture={kind: resnet, depth: 18}",),
    ),
}


@dataclass(frozen=True)
class Work:
    """A subject with its data, `pixels: [N, C, H, W]` uint8 on the CPU, for one epoch of steps.

    `real` says that they are Fashion-MNIST, from the folder that nnrecipe looks in too.
    """

    subject: Subject
    pixels: Tensor
    labels: Tensor
    device: torch.device
    real: bool

    @property
    def steps(self) -> int:
        """Optimizer steps in the one epoch."""
        return math.ceil(len(self.labels) / self.subject.batch_size)

    def shortened(self, steps: int) -> Work:
        """The same with fewer steps."""
        count = steps * self.subject.batch_size
        return replace(self, pixels=self.pixels[:count], labels=self.labels[:count])

    def normalized(self, pixels: Tensor) -> Tensor:
        """Pixels as the plain loops' networks see them: uint8 -> float32, on the same device."""
        subject = self.subject
        return (pixels.float() - 255 * subject.mean).div_(255 * subject.std)


@dataclass(frozen=True)
class Trained:
    """A finished training: seconds on the clock and of the process, and what came out.

    `prepare` turns uint8 pictures into what the model was trained on. `own` is false where other
    processes did part of the work, which the process's time leaves out.
    """

    wall: float
    process: float
    model: nn.Module
    prepare: Callable[[Tensor], Tensor]
    own: bool = True

    @torch.no_grad()
    def loss(self, work: Work) -> float:
        """The loss on the same training pictures for all, with the batch's own statistics."""
        pixels, labels = work.pixels[:JUDGED].to(work.device), work.labels[:JUDGED].to(work.device)
        logits = self.model.train()(self.prepare(pixels))
        return F.cross_entropy(logits.float(), labels).item()


class Clock:
    """Measures a block, in seconds on the clock and of the process; waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.wall = self.process = 0.0

    def read(self) -> tuple[float, float]:
        """Both clocks, once the device has done its work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter(), time.process_time()

    def __enter__(self) -> Clock:
        self._started = self.read()
        return self

    def __exit__(self, *_error: object) -> None:
        wall, process = self.read()
        self.wall += wall - self._started[0]
        self.process += process - self._started[1]


def make_work(subject: Subject, *, steps: int, device: torch.device, made_up: bool) -> Work:
    """The subject's data for so many steps: Fashion-MNIST where it lies, else noise.

    Raises `ValueError` if there are too few pictures for one epoch of so many steps.
    """
    count = steps * subject.batch_size
    folder = Path(os.environ.get("NNRECIPE_DATA", "data")) / "FashionMNIST" / "raw"
    real = not made_up and "fashion" in subject.preset and folder.is_dir()
    pixels, labels = _fashion_mnist(folder) if real else _noise(subject.shape, count)
    most = len(labels) * 9 // 10 if real else count  # nnrecipe holds a tenth out for validation
    if count > most:
        raise ValueError(f"--steps: there are {most // subject.batch_size} in an epoch")
    return Work(subject, pixels[:count].clone(), labels[:count].clone(), device, real)


def _fashion_mnist(folder: Path) -> tuple[Tensor, Tensor]:
    images = bytearray((folder / "train-images-idx3-ubyte").read_bytes())
    labels = bytearray((folder / "train-labels-idx1-ubyte").read_bytes())
    pixels = torch.frombuffer(images, dtype=torch.uint8)[16:].view(-1, 1, 28, 28)
    return pixels, torch.frombuffer(labels, dtype=torch.uint8)[8:].long()


def _noise(shape: tuple[int, int, int], count: int) -> tuple[Tensor, Tensor]:
    """Pictures of noise that show their class by their brightness, so that it can be learned."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (count,), generator=draw)
    noise = torch.randint(156, (count, *shape), generator=draw, dtype=torch.uint8)
    return noise.add_(labels.to(torch.uint8).mul_(10).view(-1, 1, 1, 1)), labels
