"""A trained network in a file of its own, for those who use it without nnrecipe."""
