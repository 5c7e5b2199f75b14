"""What goes into a model and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

InputShape = tuple[int, ...]
"""One example without the batch: `(C, H, W)` for images, `(F,)` for tables."""

Task = Literal["single_label", "multi_label", "regression"]
"""What a target is.

- `single_label`: one class out of C; targets `[N]` int64, outputs are logits `[N, C]`;
- `multi_label`: any of L labels; targets `[N, L]` float32, 0 or 1, outputs are logits `[N, L]`;
- `regression`: D numbers; targets `[N, D]` float32, outputs are their estimates `[N, D]`.
"""


@dataclass(frozen=True)
class OutputSpec:
    """What a model puts out, and what the training split's targets are like.

    `size` counts the outputs of one example: C, L or D. `class_counts` has the training examples of
    each class, or of each label. `examples` counts the training examples; it is 0, and the counts
    are empty, where the data have not been read. `target_mean` and `target_std` (length D) describe
    the targets of a regression.
    """

    size: int
    class_counts: tuple[int, ...] = ()
    task: Task = "single_label"
    examples: int = 0
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
