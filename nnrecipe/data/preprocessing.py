"""From raw examples to what the network sees: pixel units, then normalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn


class Preprocessing(nn.Module):
    """Computes `(pixels(raw) - mean) / std`, times the whitening matrix if there is one.

    `pixels` divides uint8 by `unit` (255, or 1 to keep them) and takes floats as they are. All is
    float32. The four are buffers, so they are saved with a model and read back by `from_state`.
    """

    unit: Tensor
    mean: Tensor
    std: Tensor
    whitening: Tensor
    """`[F, F]`, acting on flattened examples; `[0]` where nothing is whitened."""

    def __init__(
        self, *, unit: Tensor, mean: Tensor, std: Tensor, whitening: Tensor | None = None
    ) -> None:
        """`mean` and `std` are in pixel units and broadcast over `[N, ...]`; `unit` is a scalar."""
        super().__init__()
        matrix = torch.empty(0) if whitening is None else whitening
        self.register_buffer("unit", unit.float())
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())
        self.register_buffer("whitening", matrix.float())

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The preprocessing whose `state_dict()` this is; without `whitening` it doesn't whiten."""
        return cls(
            unit=state["unit"],
            mean=state["mean"],
            std=state["std"],
            whitening=state.get("whitening"),
        )

    def pixels(self, raw: Tensor) -> Tensor:
        """Raw examples in pixel units: `[N, ...]` uint8 or float -> float32, not yet normalized."""
        return raw / self.unit if raw.dtype == torch.uint8 else raw.float()

    def normalize(self, pixels: Tensor) -> Tensor:
        """Examples in pixel units, normalized: `[N, ...]` -> the same shape, in new memory."""
        return self._whitened((pixels - self.mean).div_(self.std))

    def forward(self, raw: Tensor) -> Tensor:
        """Raw examples `[N, ...]`, uint8 or float, normalized; always in new memory."""
        if raw.dtype != torch.uint8:
            return self.normalize(raw.float())
        # One subtraction and one division, in place: the division by `unit` is folded into both,
        # and memory for one batch more would cost as much as they do.
        scaled = raw.float().sub_(self.mean * self.unit).div_(self.std * self.unit)
        return self._whitened(scaled)

    def _whitened(self, scaled: Tensor) -> Tensor:
        if not self.whitening.numel():
            return scaled
        return (scaled.flatten(1) @ self.whitening).view_as(scaled)
