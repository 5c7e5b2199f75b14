"""Charts as SVG that reads on light and dark pages alike: the style, and nothing of the content."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Middle tones keep a contrast of 3 or more on white and on near-black.
INK = "#737b87"
TRAIN = "#3b7dd8"
VAL = "#e07b39"
GOOD = "#2f9e62"
BAD = "#d64545"

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
LARGEST = 1e30
"""Figures beyond this are drawn as missing: an axis that holds them shows nothing else."""

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nnrecipe",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.18,
    "grid.linewidth": 0.7,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Plot:
    """A chart: its file's stem, the stage it belongs to, a sentence on what it says, the SVG.

    One that is `broad` takes the whole width of a page.
    """

    name: str
    stage: str
    caption: str
    svg: str
    broad: bool = False


def sketch(paint: Callable[[Axes], None], *, size: tuple[float, float] = (4.6, 2.7)) -> str:
    """The SVG of one pair of axes that `paint` draws on; `size` is width and height in inches."""
    return compose(lambda figure: paint(figure.add_subplot()), size=size)


def compose(paint: Callable[[Figure], None], *, size: tuple[float, float]) -> str:
    """The SVG of a whole figure, of several pairs of axes say, that `paint` lays out."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context(STYLE):
        warnings.simplefilter("ignore")  # a glyph that a font lacks is no reason to fail a run
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def inline(plot: Plot) -> str:
    """The SVG as an element for an HTML page: its ink is the page's, its ids are its own."""
    root = ElementTree.fromstring(plot.svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, _at_home(name, value, plot.name))
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", plot.caption)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(root, encoding="unicode")


def _at_home(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == LINK and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    return re.sub(r"url\(#", f"url(#{prefix}-", value).replace(INK, "currentColor")


def drawable(values: Sequence[Any]) -> list[float]:
    """Figures for an axis: numbers and the words `nan` and `inf`; what can't be drawn is NaN."""
    return [figure if abs(figure) <= LARGEST else math.nan for figure in map(_figure, values)]


def _figure(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def legend_above(axes: Axes) -> None:
    """The legend in one row over the axes, where it hides nothing."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, handlelength=1.2, borderpad=0.2
    )


def log_axis(axes: Axes, *, of: str) -> None:
    """Make the axis `of` ("x" or "y") logarithmic, its ticks in YAML's spelling: 1e-3.

    What is drawn already decides how close the ticks stand: there are some within a decade too.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axes.set(**{f"{of}scale": "log"})
    axis = axes.xaxis if of == "x" else axes.yaxis
    low, high = axis.get_data_interval()
    span = high / low if math.isfinite(low) and low > 0 else math.inf
    between = (1.0,) if span > 30 else (1.0, 2.0, 5.0)
    decades = LogLocator(subs=between, numticks=7)
    axis.set_major_locator(decades if span > 4 else MaxNLocator(nbins=5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axis.set_minor_formatter(NullFormatter())


def power(value: float) -> str:
    """`1e-3`, and plain figures from 0.01 to 1000."""
    if 0.01 <= abs(value) <= 1000:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def wide(values: Sequence[float], *, ratio: float) -> bool:
    """Whether a log axis suits: the figures are all positive and span more than `ratio`."""
    known = [value for value in values if not math.isnan(value)]
    return bool(known) and min(known) > 0 and max(known) / min(known) > ratio
