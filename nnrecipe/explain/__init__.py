"""Backpropagation, drawn: an expression as a graph, value and gradient on each edge."""
