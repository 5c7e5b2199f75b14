"""Training: the visible loop, its evaluation, and what is kept of it."""

from nnrecipe.training.spec import TrainingSpec

__all__ = ["TrainingSpec"]
