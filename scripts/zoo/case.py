"""What one case of the zoo is: a recipe, and what is wrong with it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

Config = dict[str, Any]
Kind = Literal["fault", "extra", "healthy", "control"]


@dataclass(frozen=True)
class Case:
    """A recipe as a user would write it, and the truth about it, fixed before any run.

    `entry` is the row of the zoo's table, `variant` tells its cases apart. `causes` are the right
    answers, none for what is healthy. `control` names the case that a fault is seeded into.
    `must_hurt` says whether the fault counts only where the control's accuracy is better.
    """

    entry: str
    variant: str
    config: Config
    kind: Kind
    causes: tuple[str, ...] = ()
    control: str | None = None
    must_hurt: bool = True

    @property
    def name(self) -> str:
        """What the case is called in files and on the command line."""
        return f"{self.entry}-{self.variant}"


def merged(base: Config, changes: Config) -> Config:
    """The config with changes; a section of another kind replaces the one that it had."""
    result = deepcopy(base)
    for key, value in changes.items():
        old = result.get(key)
        same = isinstance(value, dict) and isinstance(old, dict)
        if same and value.get("kind", old.get("kind")) == old.get("kind"):  # type: ignore[union-attr]
            result[key] = merged(old, value)  # type: ignore[arg-type]
        else:
            result[key] = deepcopy(value)
    return result


def for_seed(config: Config, seed: int, source: str) -> Config:
    """The config of one run: its seed, and that seed's own part of the pictures of `source`."""
    args = {"source": source, "part": seed, **config["data"].get("args", {})}
    if source == "digits":
        args.pop("part")
    return merged(config, {"seed": seed, "data": {"args": args}})
