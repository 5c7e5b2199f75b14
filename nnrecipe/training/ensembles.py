"""Several models as one: how a recipe declares it, and the network that they make together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Annotated, ClassVar, Literal, assert_never

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import Task
from nnrecipe.core.spec import ByKind, Spec
from nnrecipe.schedulers import Multiplier

AverageOf = Literal["probabilities", "logits"]
Size = Annotated[int, Field(strict=True, ge=2, le=100)]
SIZE = "how many models"
AVERAGE = "what is averaged: probabilities, or logits; of a regression, the outputs either way"


class EnsembleKind(Spec):
    """What all kinds have: they can ask the training for states besides the best and the last."""

    kind: str

    def snapshot_steps(
        self,
        schedule: Multiplier,  # noqa: ARG002
        *,
        steps_per_epoch: int,  # noqa: ARG002
    ) -> tuple[int, ...]:
        """The optimizer steps after which training keeps its state, each at an epoch's end."""
        return ()


class NoEnsemble(EnsembleKind):
    """One model."""

    source: ClassVar[str] = "lecture: model ensembles"

    kind: Literal["none"] = "none"


class Members(EnsembleKind):
    """Models trained one by one, each from initial weights and with a data order of its own."""

    source: ClassVar[str] = "lecture: model ensembles; Lakshminarayanan et al. 2017"

    kind: Literal["members"] = "members"
    size: Size = Field(5, description=SIZE)
    average: AverageOf = Field("probabilities", description=AVERAGE)


class Snapshots(EnsembleKind):
    """States of one training, at the ends of the last cycles of its schedule."""

    source: ClassVar[str] = "lecture: model ensembles; Huang et al. 2017, section 3"

    kind: Literal["snapshots"] = "snapshots"
    size: Size = Field(5, description=SIZE)
    average: AverageOf = Field("probabilities", description=AVERAGE)

    def snapshot_steps(self, schedule: Multiplier, *, steps_per_epoch: int) -> tuple[int, ...]:
        """The ends of the last `size` cycles.

        Raises `UserError` where the schedule has too few, or one of them ends within an epoch.
        """
        ends, kind = schedule.cycle_ends(), schedule.schedule.kind
        if ends is None:
            raise UserError(
                f"ensemble.kind: snapshots are taken where a cycle ends, and {kind} has none: "
                "use scheduler: cosine_restarts or cyclic"
            )
        if len(ends) < self.size:
            raise UserError(
                f"ensemble.size: {self.size} snapshots of {len(ends)} whole cycles of {kind}: "
                "train longer, shorten the cycles, or lower it"
            )
        kept = ends[-self.size :]
        within = [end for end in kept if end % steps_per_epoch]
        if within:
            raise UserError(
                f"scheduler.kind: a cycle of {kind} ends within epoch "
                f"{within[0] // steps_per_epoch + 1}, and snapshots are taken after epochs: "
                "give the warm-up and the cycles whole epochs"
            )
        return tuple(kept)


class TopTrials(EnsembleKind):
    """The best trials of the search, as they were trained there."""

    source: ClassVar[str] = "lecture: model ensembles, the top models found by cross-validation"

    kind: Literal["search"] = "search"
    size: Size = Field(10, description=SIZE)
    average: AverageOf = Field("probabilities", description=AVERAGE)


Several = Members | Snapshots | TopTrials
EnsembleSpec = Annotated[NoEnsemble | Members | Snapshots | TopTrials, ByKind(default="none")]


class Ensemble(nn.Module):
    """Maps inputs to the average of its members' outputs, in eval mode and in train mode alike.

    Single label: log-probabilities `[N, C]`; multi-label: logits `[N, L]`; regression: `[N, D]`.
    """

    def __init__(self, members: Iterable[nn.Module], *, task: Task, average: AverageOf) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.task, self.average = task, average

    @classmethod
    def of_states(
        cls,
        model: nn.Module,
        states: Iterable[Mapping[str, Tensor]],
        *,
        task: Task,
        average: AverageOf,
    ) -> Ensemble:
        """Copies of `model`, each with one of the state dicts."""
        members = []
        for state in states:
            member = deepcopy(model)
            member.load_state_dict(state)
            members.append(member)
        return cls(members, task=task, average=average)

    def forward(self, inputs: Tensor) -> Tensor:
        """The average."""
        return averaged(self.outputs(inputs), task=self.task, average=self.average)

    def outputs(self, inputs: Tensor) -> Tensor:
        """[M, N, C] What each member says, in float32."""
        return torch.stack([member(inputs).float() for member in self.members])


def averaged(outputs: Tensor, *, task: Task, average: AverageOf) -> Tensor:
    """The average of members' outputs `[M, N, C]`, which may be logits or log-probabilities.

    The probabilities' mean comes as its logarithm (single label) or its logit (multi-label), so
    that it is scored as one model's outputs are.
    """
    match task:
        case "regression":
            return outputs.mean(0)
        case "single_label":
            if average == "logits":
                return outputs.mean(0).log_softmax(1)
            return outputs.log_softmax(2).logsumexp(0) - math.log(len(outputs))
        case "multi_label":
            if average == "logits":
                return outputs.mean(0)
            yes, no = logsigmoid(outputs).logsumexp(0), logsigmoid(-outputs).logsumexp(0)
            return yes - no
        case "several":
            raise AssertionError("the recipe's rules refuse ensembles of several tasks")
        case unknown:
            assert_never(unknown)
