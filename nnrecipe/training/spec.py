"""How long and in what portions to train."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nnrecipe.core.spec import Count, Flag, NonNegativeInt, PositiveFloat, Spec


class TrainingSpec(Spec):
    """The settings of the training loop."""

    epochs: Count = Field(10, description="passes over the training split")
    batch_size: Count = Field(128, description="examples per optimizer step")
    shuffle: Flag = Field(True, description="draw a new order of the training examples each epoch")
    clip_norm: PositiveFloat | None = Field(
        None, description="scale the gradient down to this norm where it is larger"
    )
    select_by: Literal["val_accuracy", "val_loss"] = Field(
        "val_accuracy", description="the figure by which the best epoch is chosen"
    )
    workers: NonNegativeInt = Field(
        0, le=256, description="processes that read data which streams; 0 reads in the main process"
    )
    monitor_every: Count = Field(
        50, description="steps between two samples of update ratios and gradient norms"
    )
