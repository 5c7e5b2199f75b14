"""The search over hyper-parameters that a recipe declares."""

from __future__ import annotations

from typing import Literal

from nnrecipe.core.spec import Spec


class NoSearch(Spec):
    """Train what the recipe says, and search for nothing."""

    kind: Literal["none"] = "none"
