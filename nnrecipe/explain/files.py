"""An explanation in files: `.svg`, `.png`, and `.html`, where it can be walked step by step."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

from nnrecipe.core.errors import UserError
from nnrecipe.explain.passes import Explanation
from nnrecipe.explain.picture import draw, draw_png, shown_by_step
from nnrecipe.explain.words import figure, rows
from nnrecipe.report.drawing import inline

FORMATS = (".svg", ".png", ".html")
PIXELS = 96 / 72  # in a point


def check_format(file: Path) -> None:
    """Raise `UserError` if the file's name is of no kind that can be written."""
    if file.suffix.lower() not in FORMATS:
        raise UserError(f"--output {file}: no kind of drawing: end it in {', '.join(FORMATS)}")


def write(explanation: Explanation, file: Path) -> None:
    """Write it as the name says. Raises `UserError` if the file can't be written."""
    check_format(file)
    match file.suffix.lower():
        case ".svg":
            content = draw(explanation).svg.encode()
        case ".png":
            content = draw_png(explanation)
        case _:
            content = page(explanation).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise UserError(f"--output {file}: can't be written: {error.strerror}") from error


def page(explanation: Explanation) -> str:
    """A self-contained page: the graph, buttons that walk through it, and the table."""
    from jinja2 import Environment, StrictUndefined

    plot = draw(explanation)
    width = float(ElementTree.fromstring(plot.svg).get("width", "0pt").removesuffix("pt"))
    source = files("nnrecipe.explain").joinpath("template.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(source).render(
        text=explanation.text,
        result=figure(explanation.result.value),
        svg=inline(plot),
        width=round(width * PIXELS * 0.75),
        rows=rows(explanation),
        steps=list(shown_by_step(explanation)),
    )
