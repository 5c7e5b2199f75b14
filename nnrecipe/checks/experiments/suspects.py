"""All suspects. A new one is a function and an entry in the file of its family."""

from __future__ import annotations

from nnrecipe.checks.experiments.conditions import Suspect
from nnrecipe.checks.experiments.data import DATA
from nnrecipe.checks.experiments.loss import LOSSES
from nnrecipe.checks.experiments.network import NETWORK
from nnrecipe.checks.experiments.optimization import OPTIMIZATION

SUSPECTS: tuple[Suspect, ...] = (*DATA, *LOSSES, *NETWORK, *OPTIMIZATION)
"""In the order in which they are tried: what is wrong with the inputs before what that leads to."""
