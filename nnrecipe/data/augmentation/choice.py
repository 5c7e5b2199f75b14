"""A batch in which every image goes through operations of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Operation:
    """A change of each image by an amount, which is `start + span * strength`.

    `change` maps `[N, C, H, W]` and amounts `[N]` to changed images. Strengths are from -1 to 1;
    those of an operation that isn't `signed` count without their sign.
    """

    change: Callable[[Tensor, Tensor], Tensor]
    start: float = 0.0
    span: float = 0.0
    signed: bool = False

    def __call__(self, images: Tensor, strengths: Tensor) -> Tensor:
        """Change each image of `[N, C, H, W]` with its own of the `strengths: [N]`."""
        strengths = strengths if self.signed else strengths.abs()
        return self.change(images, self.start + self.span * strengths)


def apply_chosen(
    images: Tensor, choices: Tensor, *, strengths: Tensor, operations: Sequence[Operation]
) -> Tensor:
    """Put image n of `[N, C, H, W]` through the operations numbered `choices[n]`, in their order.

    `choices` (int64) and `strengths` are `[N, R]` for R rounds. Within a round, the images that
    chose the same operation are changed together.
    """
    numbers = torch.arange(len(operations), device=images.device)
    # The one time that the device is waited for: how many images chose what, in all rounds.
    sizes_by_round = (choices.unsqueeze(2) == numbers).sum(0).tolist()
    for round_, sizes in enumerate(sizes_by_round):
        order = choices[:, round_].argsort()
        groups = zip(
            operations,
            images[order].split(sizes),
            strengths[order, round_].split(sizes),
            strict=True,
        )
        changed = [operation(*group) for operation, *group in groups if len(group[0])]
        images = torch.cat(changed)[order.argsort()]
    return images
