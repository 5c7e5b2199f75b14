"""The plain loops: the best one can write by hand, and the tutorials'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from bench.networks import make_network
from bench.subject import MOMENTUM, Clock, Trained, Work

WORKERS = 2


def bare(case: str, work: Work, *, fused: bool = False) -> Callable[[], Trained]:
    """Pictures in memory, augmented by the batch; fp32 on a CPU, autocast to bf16 on CUDA."""
    batches = Batches(work)

    def train() -> Trained:
        network = make_network(case).to(work.device)
        optimizer = make_optimizer(network, work, fused=fused)
        with Clock(work.device) as clock:
            for inputs, targets in batches:
                with precision(work.device):
                    loss = F.cross_entropy(network(inputs), targets)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        return Trained(clock.wall, clock.process, network, work.normalized)

    return train


def tutorial(case: str, work: Work) -> Callable[[], Trained]:
    """PIL pictures, transforms and a DataLoader, and the running loss by `.item()`."""
    loader = usual_loader(work)

    def train() -> Trained:
        network = make_network(case).to(work.device)
        optimizer = make_optimizer(network, work)
        running_loss = 0.0
        with Clock(work.device) as clock:
            for inputs, targets in loader:
                inputs, targets = inputs.to(work.device), targets.to(work.device)
                optimizer.zero_grad()
                with precision(work.device):
                    loss = F.cross_entropy(network(inputs), targets)
                loss.backward()
                optimizer.step()
                running_loss += loss.item()
        return Trained(clock.wall, clock.process, network, work.normalized, own=False)

    return train


def make_optimizer(network: nn.Module, work: Work, *, fused: bool = False) -> torch.optim.Optimizer:
    """SGD with momentum; torch chooses how it is computed unless it has to be `fused`."""
    return torch.optim.SGD(
        network.parameters(),
        lr=work.subject.lr,
        momentum=MOMENTUM,
        weight_decay=work.subject.weight_decay,
        fused=fused or None,
    )


def precision(device: torch.device) -> AbstractContextManager[object]:
    """What forward passes of the peers run in."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


class Batches:
    """An epoch of batches at each iteration: shuffled, cropped, mirrored and normalized.

    The pictures are padded once. Crop and mirror are one indexed read out of all of them.
    """

    def __init__(self, work: Work) -> None:
        self.work, pad = work, work.subject.padding
        self.pixels = F.pad(work.pixels, (pad,) * 4).to(work.device)
        self.labels = work.labels.to(work.device)
        channels, height, width = work.subject.shape
        self.planes = torch.arange(channels, device=work.device).view(1, -1, 1, 1)
        self.rows = torch.arange(height, device=work.device).view(1, 1, -1, 1)
        self.columns = torch.arange(width, device=work.device).view(1, 1, 1, -1)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        work = self.work
        order = torch.randperm(len(self.labels), device=work.device)
        for indices in order.split(work.subject.batch_size):
            yield work.normalized(self._pictures(indices)), self.labels.index_select(0, indices)

    def _pictures(self, indices: Tensor) -> Tensor:
        """The pictures at `indices: [M]`, augmented: `[M, C, H, W]` uint8."""
        pad = self.work.subject.padding
        if not pad:
            return self.pixels.index_select(0, indices)  # several times as fast as [indices]
        count, device = len(indices), indices.device
        top, left = torch.randint(2 * pad + 1, (2, count, 1, 1, 1), device=device)
        mirrored = torch.rand(count, 1, 1, 1, device=device) < 0.5
        columns = left + torch.where(mirrored, self.columns.flip(3), self.columns)
        _, channels, height, width = self.pixels.shape
        planes = indices.view(-1, 1, 1, 1) * channels + self.planes
        return self.pixels.take((planes * height + top + self.rows) * width + columns)


class Pictures(Dataset[tuple[Tensor, int]]):
    """As torchvision's own sets are: each picture from its array to PIL and through transforms."""

    def __init__(self, work: Work) -> None:
        from torchvision import transforms  # slow to import, and only needed here

        subject = work.subject
        augment = [
            transforms.RandomCrop(subject.shape[1:], padding=subject.padding),
            transforms.RandomHorizontalFlip(),
        ]
        mean, std = [subject.mean] * subject.shape[0], [subject.std] * subject.shape[0]
        self.transform = transforms.Compose([
            *(augment if subject.padding else []),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ])  # fmt: skip
        arrays = work.pixels.permute(0, 2, 3, 1).contiguous()
        self.arrays = (arrays.squeeze(3) if subject.shape[0] == 1 else arrays).numpy()
        self.labels = work.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def usual_loader(work: Work) -> DataLoader[tuple[Tensor, int]]:
    """The usual data path: PIL, transforms, and a DataLoader with two workers."""
    return DataLoader(
        Pictures(work),
        batch_size=work.subject.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        pin_memory=work.device.type == "cuda",
    )
