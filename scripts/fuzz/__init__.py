"""Configs that nobody would write, and the judgement of what a command makes of them."""
