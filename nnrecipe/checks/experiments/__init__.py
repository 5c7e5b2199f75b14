"""Experiments that tell causes apart: the same short training with one suspect removed."""

from __future__ import annotations

from nnrecipe.checks.experiments.conditions import Removal, Scene, Suspect
from nnrecipe.checks.experiments.suspects import SUSPECTS
from nnrecipe.checks.experiments.verdicts import Experiment, judge_experiments

__all__ = ["SUSPECTS", "Experiment", "Removal", "Scene", "Suspect", "judge_experiments"]
