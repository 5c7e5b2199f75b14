"""The classic image sets, read by torchvision and held in memory."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Flag
from nnrecipe.core.targets import describe
from nnrecipe.data.bundle import DataBundle
from nnrecipe.data.source import Images, SourceSpec, chosen_names
from nnrecipe.data.spec import Splits


class TorchvisionSpec(SourceSpec):
    """A set that torchvision has in a training and a test part."""

    shape: ClassVar[InputShape]
    class_count: ClassVar[int] = 10
    folder: ClassVar[str]  # below root, for messages

    download: Flag = Field(True, description="fetch the files if they aren't under root yet")

    @abstractmethod
    def reader(self) -> type[Any]:
        """Torchvision's class for the set."""

    def input_shape(self) -> InputShape:
        """The set's own, or as `image_size` says."""
        channels, height, width = self.shape
        return channels, self.image_size or height, self.image_size or width

    def own_outputs(self) -> OutputSpec:
        """The set's own classes, or those that are chosen."""
        return OutputSpec(len(self.classes or range(self.class_count)))

    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:  # noqa: ARG002
        """See `DataSpec.build`; the indices are places in torchvision's training part.

        Raises `UserError` if the files are neither there nor to be had.
        """
        source, test = self._read(train=True), self._read(train=False)
        classes = chosen_names(self.classes, source.classes)
        images, places = self._chosen(source)
        train, val = self.divide(images.targets, classes, seed=seed)
        splits = Splits(
            train=images.split(train, device=device),
            val=images.split(val, device=device),
            test=self._chosen(test)[0].whole(device=device),
            classes=classes,
            indices={"train": places[train].tolist(), "val": places[val].tolist()},
        )
        return self.bundle(splits, device=device)

    def _chosen(self, source: Any) -> tuple[Images, Tensor]:
        """The images of the chosen classes, and their places among all, ascending."""
        images = _images(source)
        targets = self.renumbered(images.targets, source.classes)
        return images.labelled(targets).resized(self.image_size), torch.where(targets >= 0)[0]

    def _read(self, *, train: bool) -> Any:
        root, reader = self.root.expanduser(), self.reader()
        where = f"data.root: {root}: looked for {(root / self.folder).absolute()}"
        remedy = "put the files there, or point data.root or NNRECIPE_DATA to their folder"
        with warnings.catch_warnings():  # CIFAR's pickles are older than today's NumPy
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            try:
                return reader(root, train=train, download=False)
            except Exception as error:
                if not self.download:
                    absent = isinstance(error, RuntimeError)  # what torchvision raises then
                    problem = "not found" if absent else describe(error)
                    raise UserError(
                        f"{where}: {problem}: {remedy}, or allow data.download"
                    ) from error
            try:
                return reader(root, train=train, download=True)
            except Exception as error:
                problem = f"not there, and downloading failed: {describe(error)}"
                raise UserError(f"{where}: {problem}: {remedy}") from error


class Mnist(TorchvisionSpec):
    """MNIST: 70,000 handwritten digits, gray, 28x28."""

    source = "LeCun et al. 1998, section III.A"

    kind: Literal["mnist"] = "mnist"
    shape = (1, 28, 28)
    folder = "MNIST/raw"

    def reader(self) -> type[Any]:
        """See `TorchvisionSpec.reader`."""
        from torchvision.datasets import MNIST

        return MNIST  # type: ignore[no-any-return]


class FashionMnist(TorchvisionSpec):
    """Fashion-MNIST: 70,000 pictures of clothes, gray, 28x28."""

    source = "Xiao et al. 2017"

    kind: Literal["fashion_mnist"] = "fashion_mnist"
    shape = (1, 28, 28)
    folder = "FashionMNIST/raw"

    def reader(self) -> type[Any]:
        """See `TorchvisionSpec.reader`."""
        from torchvision.datasets import FashionMNIST

        return FashionMNIST  # type: ignore[no-any-return]


class Cifar10(TorchvisionSpec):
    """CIFAR-10: 60,000 photographs in 10 classes, RGB, 32x32."""

    source = "Krizhevsky 2009, chapter 3"

    kind: Literal["cifar10"] = "cifar10"
    shape = (3, 32, 32)
    folder = "cifar-10-batches-py"

    def reader(self) -> type[Any]:
        """See `TorchvisionSpec.reader`."""
        from torchvision.datasets import CIFAR10

        return CIFAR10  # type: ignore[no-any-return]


class Cifar100(TorchvisionSpec):
    """CIFAR-100: 60,000 photographs in 100 classes, RGB, 32x32."""

    source = "Krizhevsky 2009, chapter 3"

    kind: Literal["cifar100"] = "cifar100"
    shape = (3, 32, 32)
    class_count = 100
    folder = "cifar-100-python"

    def reader(self) -> type[Any]:
        """See `TorchvisionSpec.reader`."""
        from torchvision.datasets import CIFAR100

        return CIFAR100  # type: ignore[no-any-return]


def _images(source: Any) -> Images:
    """Torchvision's own arrays: `[N, H, W]` (MNIST's) or `[N, H, W, C]` (CIFAR's), uint8."""
    pixels = torch.as_tensor(source.data)
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return Images(pixels, torch.as_tensor(source.targets).long())
