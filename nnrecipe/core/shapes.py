"""What goes into a model and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

InputShape = tuple[int, ...]
"""One example without the batch: `(C, H, W)` for images, `(F,)` for tables."""

SingleTask = Literal["single_label", "multi_label", "regression"]
"""A task that stands alone, or beside others as one of several."""

Task = Literal["single_label", "multi_label", "regression", "several"]
"""What a target is.

- `single_label`: one class out of C; targets `[N]` int64, outputs are logits `[N, C]`;
- `multi_label`: any of L labels; targets `[N, L]` float32, 0 or 1, outputs are logits `[N, L]`;
- `regression`: D numbers; targets `[N, D]` float32, outputs are their estimates `[N, D]`;
- `several`: tasks side by side, each of the above: targets `[N, K]` float32 in which each `Head`
  has its columns (a class's number takes one), outputs `[N, size]` likewise.
"""


@dataclass(frozen=True)
class OutputSpec:
    """What a model puts out, and what the training split's targets are like.

    `size` counts the outputs of one example: C, L or D. `class_counts` has the training examples of
    each class, or of each label. `examples` counts the training examples; it is 0, and the counts
    are empty, where the data have not been read. `target_mean` and `target_std` (length D) describe
    the targets of a regression. `heads` are the tasks, where these are several.
    """

    size: int
    class_counts: tuple[int, ...] = ()
    task: Task = "single_label"
    examples: int = 0
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    heads: tuple[Head, ...] = ()


@dataclass(frozen=True)
class Head:
    """One task of several: what it puts out, and where its columns begin.

    `names` are those of its outputs; `first_output` and `first_target` count columns from 0.
    """

    name: str
    outputs: OutputSpec
    names: tuple[str, ...] = ()
    first_output: int = 0
    first_target: int = 0

    @property
    def columns(self) -> int:
        """How many columns its targets take."""
        return 1 if self.outputs.task == "single_label" else self.outputs.size

    def of_outputs(self, outputs: Tensor) -> Tensor:
        """Its own of all outputs `[N, size]`."""
        return outputs[:, self.first_output : self.first_output + self.outputs.size]

    def of_targets(self, targets: Tensor) -> Tensor:
        """Its own of all targets `[N, K]`, as its task has them: `[N]` int64 or `[N, D]`."""
        own = targets[:, self.first_target : self.first_target + self.columns]
        return own[:, 0].long() if self.outputs.task == "single_label" else own
