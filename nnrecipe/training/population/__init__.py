"""Populations: many trainings of alike models at once, each with its own settings."""

from nnrecipe.training.population.plan import Engine, Plan
from nnrecipe.training.population.train import PopulationRecord, train_population

__all__ = ["Engine", "Plan", "PopulationRecord", "train_population"]
