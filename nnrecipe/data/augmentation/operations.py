"""The fourteen operations that RandAugment and TrivialAugment choose from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from nnrecipe.data.augmentation.affine import shear_x, shear_y, translate_x, translate_y, turn
from nnrecipe.data.augmentation.choice import Operation
from nnrecipe.data.augmentation.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
)
from nnrecipe.data.augmentation.levels import autocontrast, equalize, posterize, solarize
from nnrecipe.data.augmentation.sharpness import adjust_sharpness


@dataclass(frozen=True)
class Ranges:
    """What the operations do at full strength; at none, those that have one do nothing.

    `shear` is a slope, `across` and `down` are pixels, `degrees` an angle; `blend` is a blending
    factor's distance from 1, and `bits` counts the lowest bits that posterize drops.
    """

    shear: float
    across: float
    down: float
    degrees: float
    blend: float
    bits: int

    def operations(self, *, white: float) -> tuple[Operation, ...]:
        """All fourteen, in torchvision's order, for images whose largest value is `white`."""
        blends = (adjust_brightness, adjust_saturation, adjust_contrast, adjust_sharpness)
        return (
            Operation(lambda images, _: images),
            Operation(shear_x, span=self.shear, signed=True),
            Operation(shear_y, span=self.shear, signed=True),
            Operation(translate_x, span=self.across, signed=True),
            Operation(translate_y, span=self.down, signed=True),
            Operation(turn, span=self.degrees, signed=True),
            *(
                Operation(partial(blend, white=white), start=1, span=self.blend, signed=True)
                for blend in blends
            ),
            Operation(partial(posterize, white=white), start=8, span=-self.bits),
            Operation(partial(solarize, white=white), start=1, span=-1),
            Operation(lambda images, _: autocontrast(images, white=white)),
            Operation(lambda images, _: equalize(images, white=white)),
        )
