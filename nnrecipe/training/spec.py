"""How long and in what portions to train."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from nnrecipe.core.spec import Count, Flag, NonNegativeInt, PositiveFloat, Spec
from nnrecipe.training.averaging import Averaging, NoAveraging
from nnrecipe.training.compilation import Compile
from nnrecipe.training.setup import Limits


class TrainingSpec(Spec):
    """The settings of the training loop."""

    epochs: Count = Field(10, description="passes over the training split")
    batch_size: Count = Field(128, description="examples in a batch")
    accumulate: Count | Literal["epoch"] = Field(
        1, description="batches whose mean gradient makes one step; epoch: all of them"
    )
    shuffle: Flag = Field(True, description="draw a new order of the training examples each epoch")
    clip_norm: PositiveFloat | None = Field(
        None, description="scale the gradient down to this norm where it is larger"
    )
    clip_value: PositiveFloat | None = Field(
        None, description="cut off the gradient's entries beyond this, either way"
    )
    average: Averaging = Field(
        NoAveraging(), description="mean of the weights over time, which is then evaluated and kept"
    )
    select_by: Literal["val_accuracy", "val_loss", "val_f1", "val_r2", "val_score"] = Field(
        "val_accuracy", description="the figure by which the best epoch is chosen"
    )
    workers: NonNegativeInt = Field(
        0, le=256, description="processes that read data which streams; 0 reads in the main process"
    )
    threads: Literal["auto"] | Annotated[Count, Field(le=1024)] = Field(
        "auto", description="CPU threads to compute with; auto tries a few steps with fewer"
    )
    compile: Compile = Field(
        "auto", description="compile the network for training; auto where it is long enough to pay"
    )
    monitor_every: Count = Field(
        50,
        description="steps between two samples of update ratios, gradients and hidden units",
    )

    def steps_per_epoch(self, batches: int) -> int:
        """Optimizer steps in an epoch of so many batches."""
        return 1 if self.accumulate == "epoch" else math.ceil(batches / self.accumulate)

    def limits(self, *, weight_norm: float | None) -> Limits:
        """The bounds on a step; that on the weights is a regularization."""
        return Limits(self.clip_norm, self.clip_value, weight_norm)
