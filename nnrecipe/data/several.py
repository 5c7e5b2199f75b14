"""The targets of several tasks, side by side in one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnrecipe.core.shapes import Head, OutputSpec, SingleTask
from nnrecipe.data.batch import Batch
from nnrecipe.data.outputs import output_names, outputs_of, side_by_side, together
from nnrecipe.data.split import Split

if TYPE_CHECKING:
    from nnrecipe.data.tasks import TaskTarget


class RetargetedSplit(Split):
    """The examples of another split with `targets` of their own, `[N]` or `[N, K]` on the CPU."""

    def __init__(self, split: Split, targets: Tensor) -> None:
        assert len(split) == len(targets), "each example has a target"
        self.targets = targets
        self.origin = split.origin
        self._split = split

    def batches(
        self, batch_size: int, *, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[Batch]:
        """See `Split.batches`."""
        places = torch.arange(len(self)) if order is None else order.cpu()
        batches = self._split.batches(batch_size, order=order, seed=seed)
        for chunk, batch in zip(places.split(batch_size), batches, strict=True):
            yield self._labelled(batch, chunk)

    def examples(self, indices: Tensor) -> Batch:
        """See `Split.examples`."""
        return self._labelled(self._split.examples(indices), indices.cpu())

    def restart(self, seed: int) -> None:
        """See `Split.restart`."""
        self._split.restart(seed)

    def _labelled(self, batch: Batch, places: Tensor) -> Batch:
        targets = self.targets[places].to(batch.inputs.device, non_blocking=True)
        return Batch(batch.inputs, targets)


def combine(
    tasks: Mapping[str, TaskTarget],
    splits: Mapping[str, Split],
    *,
    names: tuple[str, ...],
    task: SingleTask,
) -> tuple[dict[str, Split], OutputSpec]:
    """The splits with the targets of all tasks, and what a model of them puts out.

    `names` and `task` are those of the splits' own targets. Raises `UserError` for a task that
    can't be made of them.
    """
    columns: dict[str, list[Tensor]] = {name: [] for name in splits}
    heads: list[Head] = []
    for name, target in tasks.items():
        path = f"data.tasks.{name}"
        found = {
            split: target.of(examples, names=names, task=task, path=path)
            for split, examples in splits.items()
        }
        heads.append(_head(name, target, found, names=names, task=task, path=path))
        for split, targets in found.items():
            columns[split].append(_as_rows(targets))
    retargeted: dict[str, Split] = {
        name: RetargetedSplit(split, torch.cat(columns[name], dim=1))
        for name, split in splits.items()
    }
    return retargeted, together(side_by_side(heads), examples=len(splits["train"]))


def _head(
    name: str,
    target: TaskTarget,
    targets: Mapping[str, Tensor],
    *,
    names: tuple[str, ...],
    task: SingleTask,
    path: str,
) -> Head:
    known = target.outputs(OutputSpec(len(names), task=task))
    declared = None if known is None else known.size
    own = output_names(target.names(names), targets, declared=declared, where=path)
    kind = "single_label" if known is None else known.task
    assert kind != "several", "a task is one"
    return Head(name, outputs_of(targets["train"], size=len(own), task=kind), own)


def _as_rows(targets: Tensor) -> Tensor:
    """Targets as float32 `[N, columns]`, which holds the numbers of up to 2^24 classes exactly."""
    return targets.float().reshape(len(targets), -1)


def alone(split: Split, head: Head) -> Split:
    """A split of several tasks with the targets of one."""
    return RetargetedSplit(split, head.of_targets(split.targets))


def heads_known(tasks: Mapping[str, TaskTarget], own: OutputSpec | None) -> OutputSpec | None:
    """What a model of all tasks puts out as far as the data needn't be read; None if they do."""
    found = {name: target.outputs(own) for name, target in tasks.items()}
    known = [Head(name, outputs) for name, outputs in found.items() if outputs is not None]
    return together(side_by_side(known)) if len(known) == len(found) else None


def names_of(heads: tuple[Head, ...]) -> tuple[str, ...]:
    """The names of all outputs, each with its task's: `class: shirt`."""
    return tuple(f"{head.name}: {name}" for head in heads for name in head.names)
