"""Examples as small images with a few words under each, cut out of a contact sheet."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnrecipe.report.wording import clean, number, percent
from nnrecipe.stages.mistakes import SHEET as MISTAKES
from nnrecipe.stages.pictures import COLUMNS, INPUTS

LONGEST_NAME, LONGEST_LABEL = 32, 24
COARSE_PIXELS = 64
MOST_BESIDE = 12
"""Up to so many tiles stand beside another picture."""

SEEN = (
    "Training examples as the network sees them, normalized, and augmented if the recipe augments; "
    "under each what its label says. Black is the smallest value among them, white the largest."
)
WRONG = "The worst mistakes, worst first. Under each: what the network says{sure}, then what it is."


@dataclass(frozen=True)
class Tile:
    """An image as a data URI, and the words under it: a claim, how sure it is, and the truth.

    `of` is the label or value that they are about; what is empty isn't shown.
    """

    uri: str
    said: str
    sure: str = ""
    true: str = ""
    of: str = ""
    title: str = ""


@dataclass(frozen=True)
class Tiles:
    """Images in rows. They are `coarse` where their pixels are to be seen, `small` where many."""

    caption: str
    tiles: tuple[Tile, ...]
    coarse: bool
    small: bool = False

    @property
    def broad(self) -> bool:
        """Whether they need the whole width of a page."""
        return len(self.tiles) > MOST_BESIDE


@dataclass(frozen=True)
class _Cut:
    uris: tuple[str, ...]
    coarse: bool


def stage_tiles(stage: str, facts: dict[str, Any], plots: Path) -> Tiles | None:
    """The tiles of a stage's facts, whose images lie in `plots` in the same order.

    None where there are no such facts, no sheet, or one that can't hold them.
    """
    labels, mistakes = facts.get("pictured"), facts.get("worst_mistakes")
    try:
        if stage == "data" and labels:
            return _seen(labels, _cut(plots / f"{INPUTS}.png", len(labels)))
        if stage == "evaluate" and mistakes:
            return _wrong(mistakes, _cut(plots / f"{MISTAKES}.png", len(mistakes)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # what is odd is left for a table
    return None


def _seen(labels: Sequence[Any], cut: _Cut) -> Tiles:
    tiles = [
        Tile(uri, clean(str(label), limit=LONGEST_LABEL), title=clean(str(label)))
        for uri, label in zip(cut.uris, labels, strict=True)
    ]
    return Tiles(SEEN, tuple(tiles), coarse=cut.coarse, small=True)


def _wrong(rows: Sequence[dict[str, Any]], cut: _Cut) -> Tiles:
    several = "label" in rows[0] or len({row.get("value") for row in rows}) > 1
    tiles = [_tile(uri, row, named=several) for uri, row in zip(cut.uris, rows, strict=True)]
    caption = WRONG.format(sure=" and how sure it is" if tiles[0].sure else "")
    return Tiles(caption, tuple(tiles), coarse=cut.coarse)


def _tile(uri: str, row: dict[str, Any], *, named: bool) -> Tile:
    probability = row.get("probability")
    of = str(row.get("label", row.get("value", ""))) if named else ""
    said, true = number(row["predicted"]), number(row["true"])
    return Tile(
        uri=uri,
        said=clean(said, limit=LONGEST_NAME),
        sure=percent(probability) if isinstance(probability, float) else "",
        true=clean(true, limit=LONGEST_NAME),
        of=clean(of, limit=LONGEST_NAME),
        title=f"example {row['example']}: {clean(of)} {said} is {true}".replace(":  ", ": "),
    )


def _cut(sheet: Path, count: int) -> _Cut:
    from PIL import Image

    with Image.open(sheet) as picture:
        width, height = picture.width // COLUMNS, picture.height // math.ceil(count / COLUMNS)
        corners = [(width * (n % COLUMNS), height * (n // COLUMNS)) for n in range(count)]
        boxes = [(left, top, left + width, top + height) for left, top in corners]
        return _Cut(tuple(_uris(picture, boxes)), coarse=width < COARSE_PIXELS)


def _uris(picture: Any, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[str]:
    for box in boxes:
        buffer = io.BytesIO()
        picture.crop(box).save(buffer, "PNG")
        yield f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
