"""The data that a recipe can name, and the bundle that the other parts work with."""

from __future__ import annotations

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.data.augmentation import Augment, Augmentation
from nnrecipe.data.batch import Batch
from nnrecipe.data.bundle import DataBundle
from nnrecipe.data.custom import Custom
from nnrecipe.data.digits import Digits
from nnrecipe.data.image_folder import ImageFolder
from nnrecipe.data.normalization import Normalize
from nnrecipe.data.preprocessing import Preprocessing
from nnrecipe.data.spec import DataSpec
from nnrecipe.data.split import ResidentSplit, Split
from nnrecipe.data.streamed import StreamedSplit
from nnrecipe.data.tasks import AnyTaskTarget
from nnrecipe.data.torchvision_sets import Cifar10, Cifar100, FashionMnist, Mnist

Data = Annotated[
    Digits | Mnist | FashionMnist | Cifar10 | Cifar100 | ImageFolder | Custom, ByKind()
]

__all__ = [
    "AnyTaskTarget",
    "Augment",
    "Augmentation",
    "Batch",
    "Data",
    "DataBundle",
    "DataSpec",
    "Normalize",
    "Preprocessing",
    "ResidentSplit",
    "Split",
    "StreamedSplit",
]
