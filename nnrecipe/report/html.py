"""`report.html`: one self-contained file, made from the run folder alone."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnrecipe.core.findings import Finding, StageResult
from nnrecipe.core.report import Report
from nnrecipe.report.drawing import Plot, inline
from nnrecipe.report.facts import FactSheet, lay_out
from nnrecipe.report.plots import DRAWN_FACTS, PLOTS_FOLDER, draw_plots, save_plots
from nnrecipe.report.store import CONFIG_FILE, read_metrics, read_report, replace_file
from nnrecipe.report.wording import (
    GRAVEST_FIRST,
    advice_on,
    clean,
    duration,
    headline,
    metric,
    percent,
    spoken,
)

if TYPE_CHECKING:
    from jinja2 import Template

HTML_FILE = "report.html"
ENVIRONMENT_FILE = "environment.json"
COARSE_PIXELS = 400
PICTURE_STAGES = {"inputs": "data"}
"""Which stage a picture of `plots/` belongs to; the others come last."""


@dataclass(frozen=True)
class Picture:
    """An image for the page, as markup that is safe or as a data URI, with its caption.

    One that is `coarse` has so few pixels that it is shown enlarged; one that is `broad` takes the
    whole width.
    """

    caption: str
    svg: str = ""
    uri: str = ""
    coarse: bool = False
    broad: bool = False


@dataclass(frozen=True)
class Section:
    """One stage as the page shows it."""

    result: StageResult
    findings: tuple[Finding, ...]
    sheet: FactSheet
    pictures: tuple[Picture, ...]


def write_html(folder: Path) -> Path:
    """Render `report.html` and the charts in `plots/` from what lies in the run folder.

    Needs `report.json`; metrics, config, environment and pictures are shown where they exist.
    Raises `UserError` if the report can't be read.
    """
    report = read_report(folder)
    plots = draw_plots(report, read_metrics(folder))
    save_plots(plots, folder)
    path = folder / HTML_FILE
    replace_file(path, render(report, folder, plots))
    return path


def render(report: Report, folder: Path, plots: list[Plot]) -> str:
    """The page's text."""
    drawn = [
        (plot.stage, Picture(plot.caption, svg=inline(plot), broad=plot.broad)) for plot in plots
    ]
    pictures = [*_photographs(folder), *drawn]
    stages = {stage.stage for stage in report.stages}
    return _template().render(
        report=report,
        headline=headline(report),
        causes=[(diagnosis, advice_on(diagnosis, report)) for diagnosis in report.diagnosis],
        metrics=[(spoken(name), metric(name, value)) for name, value in report.metrics.items()],
        sections=[_section(stage, pictures) for stage in report.stages],
        leftover=[picture for stage, picture in pictures if stage not in stages],
        config=_config(folder),
        environment=_environment(folder),
    )


def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "clean": clean,
        "spoken": spoken,
        "duration": duration,
        "percent": percent,
    }
    source = files("nnrecipe.report").joinpath("template.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _section(result: StageResult, pictures: list[tuple[str, Picture]]) -> Section:
    own = tuple(picture for stage, picture in pictures if stage == result.stage)
    drawn = DRAWN_FACTS if any(picture.svg for picture in own) else ()
    findings = sorted(result.findings, key=lambda f: GRAVEST_FIRST.index(f.verdict))
    return Section(result, tuple(findings), lay_out(result.facts, drawn=drawn), own)


def _photographs(folder: Path) -> list[tuple[str, Picture]]:
    """The PNG files of `plots/`, each with its stage ("" for none)."""
    found = []
    for path in sorted((folder / PLOTS_FOLDER).glob("*.png")):
        content = path.read_bytes()
        width = int.from_bytes(content[16:20], "big")  # the header chunk of PNG begins with it
        uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        picture = Picture(spoken(path.stem), uri=uri, coarse=width < COARSE_PIXELS)
        found.append((PICTURE_STAGES.get(path.stem, ""), picture))
    return found


def _config(folder: Path) -> str:
    """The config as the run keeps it; empty if there is none."""
    path = folder / CONFIG_FILE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _environment(folder: Path) -> FactSheet | None:
    """None if there is no such file, or one that is broken: a report does without."""
    try:
        content: Any = json.loads((folder / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return lay_out(content if isinstance(content, dict) else {"environment": content})
