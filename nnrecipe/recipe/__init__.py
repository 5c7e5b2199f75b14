"""From a YAML file to a `Recipe`. Loaded lazily: presets can be listed without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnrecipe.recipe.loading import LoadedRecipe, load, load_kept, load_recipe
    from nnrecipe.recipe.model import Recipe

__all__ = ["LoadedRecipe", "Recipe", "load", "load_kept", "load_recipe"]


def __getattr__(name: str) -> Any:
    if name == "Recipe":
        from nnrecipe.recipe.model import Recipe

        return Recipe
    if name in __all__:
        from nnrecipe.recipe import loading

        return vars(loading)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
