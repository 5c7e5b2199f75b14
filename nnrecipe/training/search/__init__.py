"""Hyper-parameter search: what is drawn, what a trial is, and how the ranges follow the results."""

from __future__ import annotations

from nnrecipe.training.search.kinds import (
    AnySearch,
    GridSearch,
    NoSearch,
    RandomSearch,
    Search,
    TpeSearch,
)

__all__ = ["AnySearch", "GridSearch", "NoSearch", "RandomSearch", "Search", "TpeSearch"]
