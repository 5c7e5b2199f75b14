"""`report.html`: one self-contained file, made from the run folder alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnrecipe.core.findings import Finding, StageResult, Verdict
from nnrecipe.core.report import Report
from nnrecipe.report.drawing import Plot, inline
from nnrecipe.report.explanations import Explanation, explain, explained_by, in_shell, rerun
from nnrecipe.report.facts import FactSheet, lay_out
from nnrecipe.report.meanings import STAGES
from nnrecipe.report.plots import DRAWN_FACTS, PLOTS_FOLDER, draw_plots, save_plots
from nnrecipe.report.store import CONFIG_FILE, read_metrics, read_report, replace_file
from nnrecipe.report.tiles import Tiles, stage_tiles
from nnrecipe.report.wording import (
    GRAVEST_FIRST,
    clean,
    duration,
    headline,
    metric,
    sentence,
    spoken,
)
from nnrecipe.stages.mistakes import SHEET as MISTAKES
from nnrecipe.stages.pictures import INPUTS

if TYPE_CHECKING:
    from jinja2 import Template

HTML_FILE = "report.html"
ENVIRONMENT_FILE = "environment.json"
COARSE_PIXELS = 400
PICTURE_STAGES = {INPUTS: "data", MISTAKES: "evaluate"}
"""Which stage a picture of `plots/` belongs to; the others come last."""
TILED_FACTS = frozenset({"pictured", "worst_mistakes"})
"""Facts that tiles say all of."""


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
class Remark:
    """A finding as the page shows it: where it is found, and the cause that it is evidence of."""

    anchor: str
    finding: Finding
    cause: Explanation | None

    @property
    def symptom(self) -> bool:
        """Whether that cause brings about what it found; then its own advice would mislead."""
        return self.cause is not None and self.finding.cause != self.cause.code

    @property
    def advice(self) -> str:
        """What it advises, unless the cause says the same."""
        line = clean(self.finding.advice)
        told = self.cause is not None and (self.symptom or line in self.cause.advice)
        return "" if told else line

    @property
    def changes(self) -> str:
        """The overrides that it proposes, unless the cause does."""
        changes = in_shell(self.finding.change)
        told = self.cause is not None and (self.symptom or changes == self.cause.changes)
        return "" if told else changes

    @property
    def where(self) -> str:
        """The line of code that it names, unless the cause does."""
        where = clean(self.finding.where)
        told = self.cause is not None and (self.symptom or where == self.cause.where)
        return "" if told else where


@dataclass(frozen=True)
class Section:
    """One stage as the page shows it."""

    result: StageResult
    meaning: str
    remarks: tuple[Remark, ...]
    passed: tuple[Remark, ...]
    sources: tuple[str, ...]
    sheet: FactSheet
    pictures: tuple[Picture, ...]
    tiles: Tiles | None

    @property
    def beside(self) -> bool:
        """Whether the figures fit beside the last of two columns of pictures."""
        tiles = self.tiles is not None and not self.tiles.broad
        narrow = sum(not picture.broad for picture in self.pictures) + tiles
        return narrow % 2 == 1


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
    causes = explain(report)
    sections = [
        _section(place, stage, causes, pictures, folder)
        for place, stage in enumerate(report.stages, start=1)
    ]
    return _template().render(
        report=report,
        headline=headline(report),
        causes=causes,
        anchors=_anchors(sections),
        command=rerun(folder),
        metrics=[(spoken(name), metric(name, value)) for name, value in report.metrics.items()],
        sections=sections,
        leftover=[picture for stage, picture in pictures if stage not in stages],
        config=_config(folder),
        environment=_environment(folder),
    )


def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = {"clean": clean, "spoken": spoken, "duration": duration, "sentence": sentence}
    environment.filters |= filters
    source = files("nnrecipe.report").joinpath("template.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _section(
    place: int,
    result: StageResult,
    causes: Sequence[Explanation],
    pictures: list[tuple[str, Picture]],
    folder: Path,
) -> Section:
    findings = sorted(result.findings, key=lambda f: GRAVEST_FIRST.index(f.verdict))
    remarks = [
        Remark(f"finding-{place}-{number}", finding, explained_by(result.stage, finding, causes))
        for number, finding in enumerate(findings, start=1)
    ]
    passed = [remark for remark in remarks if remark.finding.verdict is Verdict.PASS]
    sources = dict.fromkeys(clean(remark.finding.source) for remark in passed)
    own = [picture for stage, picture in pictures if stage == result.stage]
    drawn = DRAWN_FACTS if any(picture.svg for picture in own) else frozenset()
    tiles = stage_tiles(result.stage, result.facts, folder / PLOTS_FOLDER)
    if tiles is not None:
        drawn |= TILED_FACTS
        own = [picture for picture in own if not picture.uri]
    return Section(
        result=result,
        meaning=STAGES.get(result.stage, ""),
        remarks=tuple(remark for remark in remarks if remark not in passed),
        passed=tuple(passed),
        sources=tuple(source for source in sources if source),
        sheet=lay_out(result.facts, drawn=drawn),
        pictures=tuple(own),
        tiles=tiles,
    )


def _anchors(sections: Sequence[Section]) -> dict[str, str]:
    """Where the findings stand, by `stage/check`; the gravest of those that share a name."""
    return {
        f"{section.result.stage}/{remark.finding.check}": remark.anchor
        for section in sections
        for remark in reversed([*section.remarks, *section.passed])
    }


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
