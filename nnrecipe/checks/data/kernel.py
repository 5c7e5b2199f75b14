"""How alike two examples are, and ridge regression with that: a classifier without training.

The kernel is the mean of two Gaussians: one of the pixels, one of how random patches of the
training images respond in each ninth of the image. The predictions for training examples are those
of the regression without them, which is known in closed form: no folds, and no draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nnrecipe.core.seeding import generator

SMALLEST_IMAGE, LARGEST_IMAGE, LARGEST_PIXELS = 5, 32, 16
"""Sides in pixels: smaller images are taken as rows of numbers; larger ones are shrunken, and once
more where they are compared pixel by pixel."""
FILTERS, GRID = 64, 3
FLOOR, CONTRAST = 0.1, 0.3
"""Responses below the floor count as none; patches of less contrast than that are hardly raised."""
FARTHEST = 5.0
"""Spreads from the mean at which the outliers of a table are cut off."""
RIDGE = 0.05
MEDIAN_OF = 300


@dataclass(frozen=True)
class View:
    """Examples as the kernel compares them: `[N, F]` pixels, and `[N, G]` responses of patches."""

    pixels: Tensor
    patches: Tensor | None


class Kernel:
    """Fitted on training inputs: it takes patches from them, and the typical distance."""

    def __init__(self, inputs: Tensor, *, seed: int) -> None:
        """`inputs: [N, ...]` float32."""
        self._filters = _filters(inputs, seed=seed) if is_image(inputs) else None
        view = self.view(inputs)
        self._distances = [_typical(view.pixels)]
        if view.patches is not None:
            center, spread = view.patches.mean(0), view.patches.std(0)
            self._center, self._spread = center, spread + 0.01 * spread.mean() + 1e-12
            self._distances.append(_typical(self._leveled(view.patches)))

    def view(self, inputs: Tensor) -> View:
        """Inputs `[N, ...]`, standardized by moments of their own.

        So what is told of them doesn't depend on how a split is normalized.
        """
        if self._filters is None:
            return View(standardized(inputs).flatten(1).clamp(-FARTHEST, FARTHEST), None)
        images = standardized(shrunken(inputs))
        pixels = shrunken(images, largest=LARGEST_PIXELS).flatten(1)
        return View(pixels, _responses(images, self._filters))

    def __call__(self, first: View, second: View) -> Tensor:
        """`[N, M]`, 1 for the same and near 0 for the unlike."""
        return self.combined(self.of_pixels(first, second), first, second)

    def of_pixels(self, first: View, second: View) -> Tensor:
        """`[N, M]`, as above, but of the pixels alone."""
        return _gaussian(first.pixels, second.pixels, self._distances[0])

    def combined(self, pixels: Tensor, first: View, second: View) -> Tensor:
        """`[N, M]`: the whole kernel where that `of_pixels` is known."""
        if first.patches is None or second.patches is None:
            return pixels
        one, other = self._leveled(first.patches), self._leveled(second.patches)
        return _gaussian(one, other, self._distances[1]).add_(pixels).div_(2)

    def _leveled(self, patches: Tensor) -> Tensor:
        return (patches - self._center) / self._spread


class Ridge:
    """Kernel ridge regression `alpha = (K + ridge I)^-1 Y` on the kernel `[N, N]` of examples."""

    def __init__(self, kernel: Tensor) -> None:
        """Inverts the kernel."""
        shifted = kernel + RIDGE * torch.eye(len(kernel))
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(shifted))

    def left_out(self, targets: Tensor) -> Tensor:
        """`[N, D]`: the prediction for each example, of the regression on all the others.

        `Y - alpha / diag((K + ridge I)^-1)`, as in Rasmussen and Williams 2006, section 5.4.2.
        """
        center = targets.mean(0)
        errors = self.weights(targets - center) / self._inverse.diagonal().unsqueeze(1)
        return targets - errors

    def weights(self, targets: Tensor) -> Tensor:
        """Find alpha `[N, D]` for (centred) targets `[N, D]`: `K(new, old) @ alpha` predicts."""
        return self._inverse @ targets

    def predict(self, kernel: Tensor, targets: Tensor) -> Tensor:
        """`[M, D]` for new examples, with their kernel `[M, N]` to those that it is fitted on."""
        center = targets.mean(0)
        return center + kernel @ self.weights(targets - center)


def is_image(inputs: Tensor) -> bool:
    """Whether examples `[N, ...]` are images that are large enough to have patches."""
    return inputs.ndim == 4 and min(inputs.shape[2:]) >= SMALLEST_IMAGE


def shrunken(images: Tensor, *, largest: int = LARGEST_IMAGE) -> Tensor:
    """`[N, C, H, W]`, averaged over squares so that no side is above `largest`."""
    factors = [-(-side // largest) for side in images.shape[2:]]
    return F.avg_pool2d(images, factors) if max(factors) > 1 else images


def moments(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of each channel of images, of each number of other examples.

    They broadcast over the inputs `[N, ...]`; values that are not finite are left out, and what
    doesn't vary has spread 1.
    """
    kept = [0, 2, 3] if is_image(inputs) else [0]
    variance, mean = torch.var_mean(inputs, kept, correction=0, keepdim=True)
    if not variance.isfinite().all():
        known = torch.where(inputs.isfinite(), inputs, torch.nan)
        mean = known.nanmean(kept, keepdim=True).nan_to_num()
        variance = (known - mean).square().nanmean(kept, keepdim=True).nan_to_num()
    spread = variance.sqrt()
    return mean, torch.where(spread <= 1e-6 * mean.abs(), 1.0, spread)


def standardized(inputs: Tensor) -> Tensor:
    """Inputs with mean 0 and spread 1 by their own moments; what isn't finite becomes 0."""
    mean, spread = moments(inputs)
    return ((inputs - mean) / spread).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _filters(inputs: Tensor, *, seed: int) -> Tensor:
    """`[FILTERS, C * side * side]`: patches of the images, of mean 0 and norm 1."""
    images = standardized(shrunken(inputs))
    side = _patch_side(images)
    draws = generator(seed, "patches")
    # Every image gives one patch, so that there are enough even where many have no contrast.
    chosen = images[torch.randint(len(images), (8 * FILTERS,), generator=draws)]
    unfolded = F.unfold(chosen, side).transpose(1, 2)
    places = torch.randint(unfolded.shape[1], (len(chosen),), generator=draws)
    patches = unfolded[torch.arange(len(chosen)), places]
    patches = patches - patches.mean(1, keepdim=True)
    norms = patches.norm(dim=1)
    # The first of those with contrast, then the others: a flat patch responds to nothing.
    order = (norms < 0.1 * norms.median().clamp_min(1e-6)).float().argsort(stable=True)[:FILTERS]
    return F.normalize(patches[order], dim=1)


def _patch_side(images: Tensor) -> int:
    return 5 if min(images.shape[2:]) >= 16 else 3


def _responses(images: Tensor, filters: Tensor) -> Tensor:
    """`[N, 2 * FILTERS * GRID ** 2]`: how strongly patches look like each filter or its negative.

    As in Coates and Ng 2012: patches are brought to the same contrast, weak responses cut off, and
    the rest averaged over each cell of the grid.
    """
    side = _patch_side(images)
    stride = 3 if side == 5 else 1
    height, width = ((length - side) // stride + 1 for length in images.shape[2:])
    pooled = []
    for chunk in images.split(100):
        means, squares = (
            F.avg_pool2d(values, side, stride).mean(1).flatten(1)
            for values in (chunk, chunk.square())
        )
        contrast = (squares - means.square()).clamp_min_(0).sqrt_() + CONTRAST
        scale = (contrast * filters.shape[1] ** 0.5).unsqueeze(1)
        response = filters @ F.unfold(chunk, side, stride=stride) / scale
        both = torch.cat([response - FLOOR, -response - FLOOR], dim=1).relu_()
        cells = F.adaptive_avg_pool2d(both.unflatten(2, (height, width)), GRID)
        pooled.append(cells.flatten(1))
    return torch.cat(pooled)


def _typical(points: Tensor) -> float:
    """The median squared distance of two different points among the first."""
    some = points[:MEDIAN_OF]
    distances = torch.cdist(some, some).square()
    apart = distances[distances > 1e-9 * points.shape[1]]
    return float(apart.median()) if len(apart) else 1.0


def _gaussian(first: Tensor, second: Tensor, scale: float) -> Tensor:
    """exp(-|x - y|^2 / scale), `[N, M]`."""
    squares = first.square().sum(1).unsqueeze(1) + second.square().sum(1)
    return squares.sub_(2 * first @ second.T).clamp_min_(0).div_(-scale).exp_()
