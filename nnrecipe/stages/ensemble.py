"""The ensemble that a recipe declares."""

from __future__ import annotations

from typing import Literal

from nnrecipe.core.spec import Spec


class NoEnsemble(Spec):
    """One model."""

    kind: Literal["none"] = "none"
