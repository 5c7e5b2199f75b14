"""The charts of what each layer showed at the sampled steps."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import pytest

from nnrecipe.report.curves import training_plots
from nnrecipe.report.drawing import Plot
from nnrecipe.report.layer_curves import LAYER_FIGURES, layer_plots

KEYS = [figure.key for figure in LAYER_FIGURES]


def _texts(plot: Plot) -> set[str]:
    root = ElementTree.fromstring(plot.svg)
    return {"".join(item.itertext()) for item in root.iter() if item.tag.endswith("text")}


def _lines(value: Any, layers: int = 3, steps: int = 4) -> list[dict[str, Any]]:
    values = {f"layer{place}": value for place in range(layers)}
    return [{"step": 50 * step, **dict.fromkeys(KEYS, values)} for step in range(steps)]


def test_every_figure_of_the_layers_has_a_chart() -> None:
    plots = list(training_plots(_lines(0.3)))
    assert [plot.name for plot in plots] == KEYS
    for plot, figure in zip(plots, LAYER_FIGURES, strict=True):
        assert {"step", figure.label, "layer0", "layer2"} <= _texts(plot)
        assert plot.caption == figure.caption


@pytest.mark.parametrize("value", ["nan", "inf", -math.inf])
def test_what_is_not_finite_is_not_drawn(value: Any) -> None:
    assert list(training_plots(_lines(value))) == []


def test_a_share_of_zero_is_drawn_and_other_zeros_have_no_place_on_a_log_axis() -> None:
    drawn = [plot.name for figure in LAYER_FIGURES for plot in layer_plots(_lines(0.0), figure)]
    assert drawn == [figure.key for figure in LAYER_FIGURES if figure.is_share]


@pytest.mark.parametrize("value", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("steps", [1, 5])
def test_any_size_can_be_drawn(value: float, steps: int) -> None:
    for figure in LAYER_FIGURES:
        assert len(list(layer_plots(_lines(value, steps=steps), figure))) == 1
