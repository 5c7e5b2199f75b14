"""scikit-learn's handwritten digits: real images that are there without a download."""

from __future__ import annotations

from typing import Literal

import torch

from nnrecipe.core.shapes import InputShape
from nnrecipe.data.bundle import DataBundle
from nnrecipe.data.partition import hold_out
from nnrecipe.data.source import Images, SourceSpec
from nnrecipe.data.spec import Splits

TEST_FRACTION, TEST_SEED = 0.2, 0  # the test images are the same in every run, whatever its seed


class Digits(SourceSpec):
    """1797 gray images of 8x8 pixels in 10 classes, a fifth of them for testing.

    They come with scikit-learn: nothing is read from `root`.
    """

    kind: Literal["digits"] = "digits"

    def input_shape(self) -> InputShape:
        """`(1, 8, 8)`, or as `image_size` says."""
        return 1, self.image_size or 8, self.image_size or 8

    def num_classes(self) -> int:
        """10."""
        return 10

    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:  # noqa: ARG002
        """See `DataSpec.build`; the indices are places in `sklearn.datasets.load_digits()`."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        classes = tuple(str(name) for name in digits.target_names)
        targets = torch.from_numpy(digits.target).long()
        pixels = torch.from_numpy(digits.images).mul(255 / 16).round().byte().unsqueeze(1)
        images = Images(pixels, targets).resized(self.image_size)

        rest, test = hold_out(
            targets, TEST_FRACTION, seed=TEST_SEED, path="data.kind", classes=classes
        )
        train, val = self.divide(targets[rest], classes, seed=seed)
        places = {"train": rest[train], "val": rest[val], "test": test}
        splits = Splits(
            train=images.split(places["train"], device=device),
            val=images.split(places["val"], device=device),
            test=images.split(places["test"], device=device),
            classes=classes,
            indices={name: indices.tolist() for name, indices in places.items()},
        )
        return self.bundle(splits, device=device)
