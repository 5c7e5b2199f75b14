"""What the network says, image by image, as a table, CSV or JSON: written while it is computed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor

from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import Task
from nnrecipe.recipe.trained import Trained
from nnrecipe.report.wording import clean, number, percent, printable

Form = Literal["table", "csv", "json"]
Said = list[tuple[str, float]]
"""Names of outputs, each with its probability or value."""
Answers = Iterable[list[tuple[str, Said]]]
"""Portion by portion: the path of each image, and what is said of it."""

NOUNS: Mapping[Task, str] = {
    "single_label": "class",
    "multi_label": "label",
    "regression": "value",
    "several": "output",
}


@dataclass(frozen=True)
class Layout:
    """What is told of each image: all outputs in their order, or the `top` most probable ones.

    `numbers` are the names of those outputs that are values; the others are probabilities.
    """

    names: tuple[str, ...]
    task: Task
    top: int | None
    numbers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, trained: Trained, top: int | None) -> Self:
        """Raises `UserError` for the most probable of values, or of several tasks' outputs."""
        if trained.task in ("regression", "several") and top is not None:
            found = "estimates values" if trained.task == "regression" else "has several tasks"
            remedy = f"leave it out: the run {found}"
            raise UserError(f"--top-k {top}: is for classes and labels: {remedy}")
        if trained.task == "single_label":
            top = top or 1
        most = len(trained.names)
        numbers = frozenset(_numbers(trained))
        return cls(trained.names, trained.task, None if top is None else min(top, most), numbers)

    @property
    def noun(self) -> str:
        """What an output is."""
        return NOUNS[self.task]

    def said(self, made: Tensor) -> list[Said]:
        """What predictions `[N, C]` say of each example."""
        if self.top is None:
            return [list(zip(self.names, row, strict=True)) for row in made.tolist()]
        values, places = made.topk(self.top, dim=1)
        return [
            [(self.names[place], value) for place, value in zip(*row, strict=True)]
            for row in zip(places.tolist(), values.tolist(), strict=True)
        ]


def as_table(answers: Answers, layout: Layout) -> Iterator[str]:
    """Aligned columns, the path last: its width isn't known before the end."""
    ranked = layout.top is not None
    names = [clean(name) for name in layout.names]
    widest = max(map(len, [*names, layout.noun]))
    if layout.top is not None:
        heads = [layout.noun, *(f"{place}." for place in range(2, layout.top + 1))]
        heads = [head for name in heads for head in (name.ljust(widest), " " * FIGURE)]
    else:
        heads = [name.rjust(FIGURE) for name in names]
    yield "  ".join([*heads, "image"]) + "\n"
    for portion in answers:
        lines = []
        for path, said in portion:
            cells = []
            for (name, value), head in zip(said, heads[1::2] if ranked else heads, strict=True):
                shown = number(value) if name in layout.numbers else percent(value, digits=2)
                cells += [clean(name).ljust(widest)] if ranked else []
                cells.append(shown.rjust(len(head)))
            lines.append("  ".join([*cells, printable(path)]) + "\n")
        yield "".join(lines)


FIGURE = len("100.00 %")


def as_csv(answers: Answers, layout: Layout) -> Iterator[str]:
    """A header and a line for each image, its path first."""
    if layout.top is None:
        heads = list(layout.names)
    else:
        heads = [layout.noun, "probability"]
        for place in range(2, layout.top + 1):
            heads += [f"{layout.noun}_{place}", f"probability_{place}"]
    yield _lines([["image", *heads]])
    for portion in answers:
        yield _lines([path, *_cells(said, ranked=layout.top is not None)] for path, said in portion)


def _cells(said: Said, *, ranked: bool) -> list[str]:
    pairs = [(name, f"{value:.7g}") for name, value in said]
    return [cell for pair in pairs for cell in (pair if ranked else pair[1:])]


def _lines(rows: Iterable[list[str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def as_json(answers: Answers, layout: Layout) -> Iterator[str]:
    """A list of objects, one a line."""
    before = "[\n"
    for portion in answers:
        lines = []
        for path, said in portion:
            lines.append(before + json.dumps({"image": path, **_entry(said, layout)}))
            before = ",\n"
        yield "".join(lines)
    yield "[]\n" if before == "[\n" else "\n]\n"


def _entry(said: Said, layout: Layout) -> dict[str, object]:
    rounded = [(name, float(f"{value:.7g}")) for name, value in said]
    if layout.top is not None:
        return {"predictions": [{layout.noun: n, "probability": value} for n, value in rounded]}
    return {ALL[layout.task]: dict(rounded)}


ALL: Mapping[Task, str] = {
    "single_label": "probabilities",
    "multi_label": "probabilities",
    "regression": "values",
    "several": "outputs",
}
"""What all outputs together are called."""


def _numbers(trained: Trained) -> Iterator[str]:
    """The names of the outputs that are values."""
    if trained.task == "regression":
        yield from trained.names
    for head in trained.heads:
        if head.outputs.task == "regression":
            start = head.first_output
            yield from trained.names[start : start + head.outputs.size]


FORMS: Mapping[Form, Callable[[Answers, Layout], Iterator[str]]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}
