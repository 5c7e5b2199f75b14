"""A recipe with other values at some of its paths, as the trials of a search need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from nnrecipe.core.errors import Problem, RecipeError
from nnrecipe.recipe.model import Recipe
from nnrecipe.recipe.nodes import DEFAULT, Node, find, shown, to_nodes, to_plain
from nnrecipe.recipe.overrides import with_value
from nnrecipe.recipe.problems import problems_of
from nnrecipe.recipe.slots import Slot
from nnrecipe.training.search.distributions import AnyDistribution, Choice
from nnrecipe.training.search.kinds import NoSearch

_ROOT = Slot(spec=Recipe)
NO_TRIALS = ("search", "ensemble")
"""What a trial has none of."""


def substituted(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe of a trial, with plain values at dotted paths, a section's before those within.

    What follows from another part in a file (the norm that an architecture usually has) stays as
    the recipe has it. Raises `RecipeError` where the config doesn't take them.
    """
    given = recipe.model_dump(mode="json", exclude_unset=True)
    changed, problems = _validated(to_nodes(given, DEFAULT), values)
    if changed is None:
        raise RecipeError(problems)
    return changed


def misfits(recipe: Recipe, root: Node) -> Iterator[Problem]:
    """What the config doesn't take of its own search: paths, ends of ranges, choices, epochs.

    `root` is the config's tree, spelled out, which says where each of them is written.
    """
    search = recipe.search
    if isinstance(search, NoSearch):
        return
    for path, distribution in search.space.items():
        place = find(root, ("search", "space", path))[0].place
        for value in _extremes(distribution):
            problems = _validated(root, {path: value})[1]
            if problems:
                where, text = f"search.space.{path}", problems[0].message
                yield Problem(str(place), where, f"{shown(value)}: {text}", problems[0].remedy)
                break
    for number, part in enumerate(search.rounds):
        keys = ("search", "rounds", str(number), "epochs")
        problems = _validated(root, {"training.epochs": part.epochs})[1]
        if problems:
            where, text = ".".join(keys), problems[0].message
            yield Problem(str(find(root, keys)[0].place), where, text, problems[0].remedy)


def _extremes(distribution: AnyDistribution) -> list[Any]:
    if isinstance(distribution, Choice):
        return list(distribution.values)
    return [distribution.setting(end) for end in distribution.ends]


def _validated(root: Node, values: Mapping[str, Any]) -> tuple[Recipe | None, list[Problem]]:
    """The recipe of a trial with the values, or else what is wrong with that."""
    entries = {key: node for key, node in root.entries.items() if key not in NO_TRIALS}
    changed = Node(entries, root.origin, root.key)
    try:
        for path in sorted(values, key=lambda path: path.count(".")):
            changed = with_value(changed, path, values[path], _ROOT)
        return Recipe.model_validate(to_plain(changed)), []
    except RecipeError as error:
        return None, error.problems
    except ValidationError as error:
        return None, problems_of(error, changed, _ROOT)
