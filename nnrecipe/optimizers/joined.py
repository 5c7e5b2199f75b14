"""Several optimizers that step as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


class Joined(torch.optim.Optimizer):
    """Optimizers over different parameters in one: their groups in a row, their states in one.

    `param_groups` and `state` are the parts' own, so a learning rate that is set here holds there,
    and `state_dict` is laid out as any optimizer's.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts, self._whole = tuple(parts), False
        super().__init__([group for part in parts for group in part.param_groups], {})
        for part in parts:
            self.state.update(part.state)
        self._share()
        self._whole = True

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Further parameters are the last part's."""
        if self._whole:
            self._parts[-1].add_param_group(param_group)
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Evaluate the closure, if there is one, and let each part take its step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What `load_state_dict` ends with: new groups and a new state, for the parts too."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        first = 0
        for part in self._parts:
            last = first + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[first:last], self.state
            first = last
