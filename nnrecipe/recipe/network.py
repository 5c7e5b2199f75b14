"""The network that a recipe describes: tried out without memory for its weights, and as a table."""

from __future__ import annotations

import contextlib

import torch
from torch import nn

from nnrecipe.architectures.custom import PATH
from nnrecipe.architectures.summary import blueprint, render, summarize
from nnrecipe.core.parameters import assign, render_table, standard_rules
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.targets import blaming
from nnrecipe.data import ImageFolder
from nnrecipe.recipe.model import Recipe
