"""The recipe for training neural networks, as software: every stage ends in a verdict."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnrecipe.checkup.examine import diagnose
    from nnrecipe.core.findings import Finding
    from nnrecipe.core.report import Report
    from nnrecipe.recipe import load_recipe
    from nnrecipe.runner import run

__all__ = ["Finding", "Report", "diagnose", "load_recipe", "run"]

_HOMES = {
    "Finding": "nnrecipe.core.findings",
    "Report": "nnrecipe.core.report",
    "diagnose": "nnrecipe.checkup.examine",
    "load_recipe": "nnrecipe.recipe.loading",
    "run": "nnrecipe.runner",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562), so that `--help` waits for no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vars(import_module(_HOMES[name]))[name]


def __dir__() -> list[str]:
    return __all__
