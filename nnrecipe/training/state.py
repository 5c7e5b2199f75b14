"""All that changes in a training, as a checkpoint keeps it: what it takes to go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnrecipe.losses import module_of
from nnrecipe.training.averaging import Average
from nnrecipe.training.fit import EpochRecord
from nnrecipe.training.setup import TrainSetup


def training_state(setup: TrainSetup, average: Average) -> dict[str, Any]:
    """What a checkpoint holds beside the `model` that was evaluated.

    Where that is an average, `trained_model` has the weights as the optimizer left them. No random
    generator is among it: every epoch has seeds of its own.
    """
    state: dict[str, Any] = {
        "optimizer": setup.optimizer.state_dict(),
        "scaler": setup.scaler.state_dict(),
        "average_updates": average.updates,
    }
    if (module := module_of(setup.loss)) is not None:
        state["loss"] = module.state_dict()
    if average.model is not setup.model:
        state["trained_model"] = setup.model.state_dict()
    return state


def restore(
    setup: TrainSetup, average: Average, state: dict[str, Any], records: Sequence[EpochRecord]
) -> None:
    """Bring a new setup and a new average to where `training_state` was taken.

    `state` also holds the `model`; `records` are the epochs up to then, which a schedule that
    watches a figure is told of again.
    """
    setup.model.load_state_dict(state.get("trained_model", state["model"]))
    average.restore(state["model"], updates=state["average_updates"])
    setup.optimizer.load_state_dict(state["optimizer"])
    if state["scaler"]:
        setup.scaler.load_state_dict(state["scaler"])
    if (module := module_of(setup.loss)) is not None:
        module.load_state_dict(state["loss"])
    for record in records:
        setup.schedule.observe(record.step, record.figures())
