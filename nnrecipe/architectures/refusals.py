"""What an architecture can't take of a recipe, told with the reason before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Protocol

from nnrecipe.core.errors import UserError
from nnrecipe.layers.hidden import Hidden

NO_BRANCH = (
    "this network has no residual branch to leave out: use dropout, or architecture.kind: resnet "
    "or vit"
)
"""Why `regularization.stochastic_depth` is refused by a network without shortcuts."""


class Refusing(Protocol):
    """Every architecture: `refuses` maps a YAML path to the reason, which ends in a remedy.

    The paths are those of `asked_for`. The reason against `regularization.dropout` holds unless the
    dropout has `force`; an architecture that can't be forced has one for
    `regularization.dropout.force` too.
    """

    refuses: ClassVar[Mapping[str, str]]


def everything(reason: str) -> dict[str, str]:
    """The `refuses` of a network that nothing can be put into."""
    parts = ("dropout", "dropout.force", "dropblock", "stochastic_depth")
    return dict.fromkeys(("norm", *(f"regularization.{part}" for part in parts)), reason)


def obstacles(architecture: Refusing, hidden: Hidden) -> list[tuple[str, str]]:
    """YAML path and reason of everything that is asked for and can't be had."""
    refuses = architecture.refuses
    return [(path, refuses[path]) for path in asked_for(hidden) if path in refuses]


def refuse(architecture: Refusing, hidden: Hidden) -> None:
    """Raise `UserError` with the first of the obstacles."""
    for path, reason in obstacles(architecture, hidden):
        raise UserError(f"{path}: {reason}")


def asked_for(hidden: Hidden) -> Iterator[str]:
    """The YAML paths of what is switched on; a rate of 0 asks for nothing."""
    if hidden.norm.normalizes:
        yield "norm"
        if hidden.norm.position == "after":
            yield "norm.position"
    if hidden.dropout is not None and hidden.dropout.active:
        yield "regularization.dropout.force" if hidden.dropout.force else "regularization.dropout"
    if hidden.dropblock is not None and hidden.dropblock.active:
        yield "regularization.dropblock"
    if hidden.stochastic_depth > 0:
        yield "regularization.stochastic_depth"
