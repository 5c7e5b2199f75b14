"""The lecture's examples, to be explained by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """An expression and values for its names."""

    expression: str
    values: tuple[str, ...]


EXAMPLES = {
    "gates": Example("(x+y)*z", ("x=-2", "y=5", "z=-4")),
    "sigmoid-neuron": Example(
        "1/(1+exp(-(w0*x0+w1*x1+w2)))", ("w0=2", "x0=-1", "w1=-3", "x1=-2", "w2=-3")
    ),
    # h = sigmoid(x w1), loss = sum (h w2 - y)^2: the slide's twenty lines of numpy, but for sizes.
    "two-layer-net": Example(
        "sum(square(dot(sigmoid(dot(x, w1)), w2) - y))",
        (
            "x=[[1, -2], [0.5, 3]]",
            "w1=[[0.1, -0.4, 0.6], [0.3, 0.2, -0.5]]",
            "w2=[[1, -1], [0.5, 0.25], [-0.75, 2]]",
            "y=[[1, 0], [0, 1]]",
        ),
    ),
}
