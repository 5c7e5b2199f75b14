"""A recipe with overrides applied, without the files that it was made from."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from nnrecipe.core.errors import RecipeError
from nnrecipe.recipe.model import Recipe
from nnrecipe.recipe.nodes import DEFAULT, to_nodes, to_plain
from nnrecipe.recipe.overrides import apply_override
from nnrecipe.recipe.problems import problems_of
from nnrecipe.recipe.slots import Slot

_ROOT = Slot(spec=Recipe)


def changed(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe that its resolved config with these overrides is.

    Raises `RecipeError` if an override has no place in it, or the parts don't fit any more.
    """
    root = to_nodes(recipe.model_dump(mode="json"), DEFAULT)
    for override in overrides:
        root = apply_override(root, override, _ROOT)
    try:
        return Recipe.model_validate(to_plain(root))
    except ValidationError as error:
        raise RecipeError(problems_of(error, root, _ROOT)) from error
