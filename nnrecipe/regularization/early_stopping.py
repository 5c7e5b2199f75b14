"""When to stop training before its last epoch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nnrecipe.core.spec import Count, NonNegativeFloat, Spec

Monitor = Literal["val_loss", "val_accuracy", "val_f1", "val_r2", "val_score"]


class EarlyStopping(Spec):
    """Stop when the validation figure has not improved for a while."""

    source: ClassVar[str] = "Prechelt 1998"

    patience: Count = Field(10, description="epochs without improvement before stopping")
    min_delta: NonNegativeFloat = Field(
        0.0, description="an improvement is a change by more than this, in the monitor's unit"
    )
    monitor: Monitor = Field(
        "val_loss", description="the figure to watch: the loss, or a score, which is 1 at best"
    )
