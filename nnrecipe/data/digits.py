"""scikit-learn's handwritten digits: real images that are there without a download."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nnrecipe.core.errors import conflict
from nnrecipe.core.shapes import InputShape, OutputSpec, SingleTask
from nnrecipe.data.bundle import DataBundle
from nnrecipe.data.partition import hold_out
from nnrecipe.data.source import Images, SourceSpec, chosen_names
from nnrecipe.data.spec import Splits

TEST_FRACTION, TEST_SEED = 0.2, 0  # the test images are the same in every run, whatever its seed
DIGITS = tuple("0123456789")
TRAITS = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "above 4": (5, 6, 7, 8, 9),
    "loop": (0, 6, 8, 9),
}
"""The digits that have each trait."""

Predict = Literal["digit", "traits", "ink"]

_NAMES: dict[Predict, tuple[str, ...]] = {
    "digit": DIGITS,
    "traits": tuple(TRAITS),
    "ink": ("ink",),
}
_TASKS: dict[Predict, SingleTask] = {
    "digit": "single_label",
    "traits": "multi_label",
    "ink": "regression",
}


class Digits(SourceSpec):
    """1797 gray images of 8x8 pixels in 10 classes, a fifth of them for testing.

    They come with scikit-learn: nothing is read from `root`. What is to be predicted changes the
    targets alone: the splits stay the same, with the digits in proportion.
    """

    source = "Alpaydin and Kaynak 1998; sklearn.datasets.load_digits"

    kind: Literal["digits"] = "digits"
    predict: Predict = Field(
        "digit",
        description="digit: its class; traits: which of even, prime, above 4 and having a loop it "
        "is (several labels); ink: the mean intensity of its image, 0-1 (a regression)",
    )

    @property
    def task(self) -> SingleTask:
        """As `predict` says."""
        return _TASKS[self.predict]

    def input_shape(self) -> InputShape:
        """`(1, 8, 8)`, or as `image_size` says."""
        return 1, self.image_size or 8, self.image_size or 8

    def own_outputs(self) -> OutputSpec:
        """10 classes or those that are chosen, 4 traits, or 1 number."""
        return OutputSpec(len(self._names()), task=self.task)

    def _names(self) -> tuple[str, ...]:
        return chosen_names(self.classes, DIGITS) if self.classes else _NAMES[self.predict]

    @model_validator(mode="after")
    def _chooses_among_classes(self) -> Self:
        if self.classes and self.predict != "digit":
            message = f"{', '.join(self.classes)}: data.predict: {self.predict} has no classes"
            raise conflict("data.classes", message, "leave it out")
        unknown = set(self.classes or ()) - set(DIGITS)
        if unknown:
            message = f"no class {', '.join(map(repr, sorted(unknown)))}"
            raise conflict("data.classes", message, "name some of '0', '1', ..., '9'")
        return self

    def build(self, *, device: torch.device, seed: int, workers: int = 0) -> DataBundle:  # noqa: ARG002
        """See `DataSpec.build`; the indices are places in `sklearn.datasets.load_digits()`."""
        from sklearn.datasets import load_digits

        source = load_digits()
        digits = torch.from_numpy(source.target).long()
        pixels = torch.from_numpy(source.images).mul(255 / 16).round().byte().unsqueeze(1)
        targets = targets_of(digits, pixels, predict=self.predict)
        chosen = self.renumbered(digits, DIGITS)
        if self.classes:
            targets = chosen
        images = Images(pixels, targets).resized(self.image_size)

        rest, test = hold_out(
            digits, TEST_FRACTION, seed=TEST_SEED, path="data.kind", classes=DIGITS
        )
        rest, test = rest[chosen[rest] >= 0], test[chosen[test] >= 0]
        names = self._names() if self.classes else DIGITS
        train, val = self.divide(chosen[rest], names, seed=seed)
        places = {"train": rest[train], "val": rest[val], "test": test}
        splits = Splits(
            train=images.split(places["train"], device=device),
            val=images.split(places["val"], device=device),
            test=images.split(places["test"], device=device),
            classes=self._names(),
            indices={name: indices.tolist() for name, indices in places.items()},
            task=self.task,
        )
        return self.bundle(splits, device=device)


def targets_of(digits: Tensor, pixels: Tensor, *, predict: Predict) -> Tensor:
    """What is to be predicted of `digits: [N]` and their images (uint8): `[N]`, `[N, 4]`, `[N, 1]`.

    The classes as int64, else float32.
    """
    match predict:
        case "digit":
            return digits
        case "traits":
            having = [torch.isin(digits, torch.tensor(members)) for members in TRAITS.values()]
            return torch.stack(having, dim=1).float()
        case "ink":
            return (pixels.double().flatten(1).mean(1, keepdim=True) / 255).float()
