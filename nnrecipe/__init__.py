"""nnrecipe."""
