"""Everything that YAML can name, family by family, for `nnrecipe ls FAMILY`.

Only the families' names are known at once: what is in them is read from the specs when asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnrecipe.core.errors import UserError
from nnrecipe.recipe.suggestions import did_you_mean

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from rich.console import Console

    from nnrecipe.core.spec import Spec

FAMILIES = {
    "architectures": ("architecture: {kind: resnet, depth: 20}", "architecture=resnet"),
    "activations": ("architecture: {kind: mlp, activation: tanh}", "architecture.activation=tanh"),
    "norms": ("norm: batch", "norm=batch"),
    "init": ("init: {kind: normal, std: 0.01}", "init=xavier_normal"),
    "losses": ("loss: {kind: cross_entropy, label_smoothing: 0.1}", "loss=multi_margin"),
    "optimizers": ("optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}", "optimizer=adam"),
    "schedulers": ("scheduler: {kind: cosine, warmup: 1 epoch}", "scheduler=cosine"),
    "averaging": ("training: {average: {kind: ema, decay: 0.99}}", "training.average=swa"),
    "searches": (
        "search: {kind: random, space: {data.limit: {kind: int, low: 99, high: 999}}}",
        "search={kind: tpe, space: {data.limit: {kind: int, low: 99, high: 999}}}",
    ),
    "distributions": (
        "search: {kind: random, space: {optimizer.lr: {kind: log_uniform, low: 0.1, high: 1}}}",
        "search={kind: tpe, space: {norm: {kind: choice, values: [none, batch]}}}",
    ),
    "engines": (
        "search: {kind: grid, engine: ray, space: {data.limit: {kind: int, low: 9, high: 99}}}",
        "search={kind: grid, engine: ray, space: {data.limit: {kind: int, low: 9, high: 99}}}",
    ),
    "ensembles": ("ensemble: {kind: members, size: 5}", "ensemble=members"),
    "regularization": ("regularization: {l2: 1e-4}", "regularization.l2=1e-4"),
    "data": ("data: {kind: digits, val_fraction: 0.2}", "data=fashion_mnist"),
    "preprocessing": ("data: {normalize: {kind: center}}", "data.normalize=center"),
    "augmentation": ("data: {augment: [horizontal_flip]}", "data.augment=[horizontal_flip]"),
    "stages": ("stages: [data, sanity, train]", "stages.overfit.steps=300"),
    "checks": ("stages: [{kind: sanity, checks: [gradient]}]", "stages.sanity.checks=[reach]"),
}
"""The families, and how a member is written in a file and on the command line."""


@dataclass(frozen=True)
class Entry:
    """One thing that YAML can name: its word, its meaning in a line, and where it is from."""

    word: str
    meaning: str
    source: str


def entries(family: str) -> dict[str, list[Entry]]:
    """The members of a family, by the heading that they stand under ("" where there is but one).

    Raises `UserError` for an unknown family.
    """
    if family not in FAMILIES:
        remedy = did_you_mean(family, FAMILIES, label="families")
        raise UserError(f"ls {family}: no such family: {remedy}")
    if family == "regularization":
        return {"": list(_fields())}
    return {heading: list(_members(union)) for heading, union in _unions(family).items()}


def print_family(family: str, *, console: Console | None = None) -> None:
    """Print how a member is written, and each of them; as wide as the terminal.

    Raises `UserError` for an unknown family.
    """
    found = entries(family)
    from rich.table import Table
    from rich.text import Text

    from nnrecipe.report.terminal import terminal

    console = console or terminal()
    in_file, in_command = FAMILIES[family]
    console.print(Text(f"in a file     {in_file}\nin a command  {in_command}", style="dim"))
    width = max(len(entry.word) for listed in found.values() for entry in listed)
    for heading, listed in found.items():
        console.print(f"\n{heading}".rstrip(), style="bold")
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, min_width=width, style="bold")
        table.add_column(overflow="fold")
        table.add_column(overflow="fold", style="dim")
        for entry in listed:
            table.add_row(Text(entry.word), Text(entry.meaning), Text(entry.source))
        console.print(table)


def _unions(family: str) -> dict[str, Any]:
    """The unions of specs that a family is, by heading."""
    from nnrecipe import (
        architectures,
        checks,
        data,
        init,
        layers,
        losses,
        optimizers,
        schedulers,
        stages,
    )
    from nnrecipe.training import averaging, ensembles, search
    from nnrecipe.training.search import distributions, engines

    by_stage = {"stages.data.checks": checks.DataCheck, "stages.sanity.checks": checks.SanityCheck}
    unions: dict[str, dict[str, Any]] = {
        "architectures": {"": architectures.Architecture},
        "activations": {"": layers.Activation},
        "norms": {"": layers.Norm},
        "init": {"": init.Init},
        "losses": {"": losses.Loss, "loss.weights": losses.TaskWeights},
        "optimizers": {"": optimizers.OptimizerSpec},
        "schedulers": {"": schedulers.Scheduler},
        "averaging": {"": averaging.Averaging},
        "searches": {"": search.Search},
        "distributions": {"": distributions.Distribution},
        "engines": {"": engines.Engine},
        "ensembles": {"": ensembles.EnsembleSpec},
        "data": {"": data.Data, "data.tasks": data.AnyTaskTarget},
        "preprocessing": {"": data.Normalize},
        "augmentation": {"": data.Augment},
        "stages": {"": stages.Stage},
        "checks": by_stage,
    }
    return unions[family]


def _members(union: Any) -> Iterator[Entry]:
    from nnrecipe.core.spec import kind_of, members

    for member in members(union):
        yield Entry(_spelled(kind_of(member), member), _first_line(member), member.source)


def _spelled(kind: str, member: type[Spec]) -> str:
    """`resnet`, and `torchvision:<model>` where what stands after a colon is a field."""
    return kind if member.shorthand is None else f"{kind}:<{member.shorthand}>"


def _first_line(member: type[Spec]) -> str:
    """The docstring's first line, which says what it is; empty if it has none of its own."""
    return (member.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _fields() -> Iterator[Entry]:
    """The keys of the section `regularization`, which is no union."""
    from nnrecipe.regularization import Regularization

    for name, info in Regularization.model_fields.items():
        meaning = info.description or ""
        source = _source(info) or Regularization.source
        yield Entry(name, meaning[:1].upper() + meaning[1:], source)


def _source(info: FieldInfo) -> str:
    """Where a field is from: what it says itself, else what the spec says that it holds."""
    from nnrecipe.recipe.slots import slot_of

    extra = info.json_schema_extra
    if isinstance(extra, dict) and "source" in extra:
        return str(extra["source"])
    spec = slot_of(info).spec
    return spec.source if spec is not None else ""
