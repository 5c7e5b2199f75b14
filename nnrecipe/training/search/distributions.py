"""What a hyper-parameter is drawn from."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nnrecipe.core.spec import MOST, ByKind, Flag, Number, PositiveFloat, Spec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOW, HIGH = "the lowest value", "the highest value"
NAME = "what the value is called in output; null: the last word of its path"
FACTOR = "the config's value is this times the one that is drawn and shown"
Whole = Annotated[int, Field(strict=True, ge=-MOST, le=MOST)]
Scale = Literal["log", "linear", "choice"]
Label = Annotated[str, Field(min_length=1, max_length=40)]


class _Range(Spec):
    """Numbers between two ends. `position` and `at` map them to 0 ... 1 and back."""

    def position(self, value: float) -> float:
        """Where `value` lies between the ends: 0 at the lower, 1 at the upper, beyond outside."""
        low, high = self.scaled(self.ends[0]), self.scaled(self.ends[1])
        return (self.scaled(value) - low) / (high - low)

    def at(self, position: float) -> float:
        """The value at a position, before any rounding."""
        low, high = self.scaled(self.ends[0]), self.scaled(self.ends[1])
        return self.unscaled(low + position * (high - low))

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        raise NotImplementedError

    @property
    def scale(self) -> Scale:
        """On which the values are uniform."""
        raise NotImplementedError

    def scaled(self, value: float) -> float:
        """The value on the scale on which the range is uniform."""
        return value

    def unscaled(self, value: float) -> float:
        """What `scaled` maps to `value`."""
        return value


class LogUniform(_Range):
    """Uniform in the logarithm: 10^U(a, b), as the lecture draws rates and strengths."""

    source: ClassVar[str] = "lecture: hyper-parameter search; Bergstra & Bengio 2012"

    kind: Literal["log_uniform"] = "log_uniform"
    low: PositiveFloat = Field(description=LOW)
    high: PositiveFloat = Field(description=HIGH)
    factor: PositiveFloat = Field(1.0, description=FACTOR)
    name: Label | None = Field(None, description=NAME)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """As they are given."""
        return self.low, self.high

    def scaled(self, value: float) -> float:
        """The logarithm, to base 10."""
        return math.log10(value)

    def unscaled(self, value: float) -> float:
        """Ten to the power."""
        return float(10.0**value)

    @property
    def scale(self) -> Scale:
        """The axis that shows them evenly."""
        return "log"

    def between(self, low: float, high: float) -> Self:
        """The same with other ends, kept to three digits."""
        return self.model_copy(update={"low": _short(low), "high": _short(high)})

    def optuna(self) -> BaseDistribution:
        """As Optuna draws it."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=True)

    def setting(self, drawn: float) -> float:
        """The config's value."""
        return drawn * self.factor

    def grid(self, points: int) -> list[float]:
        """Equally spaced values, in the logarithm."""
        return _grid(self, points)

    def text(self, drawn: float) -> str:
        """As it is shown."""
        return f"{drawn:.6e}"


class Uniform(_Range):
    """Uniform between two numbers."""

    source: ClassVar[str] = "lecture: hyper-parameter search"

    kind: Literal["uniform"] = "uniform"
    low: Number = Field(description=LOW)
    high: Number = Field(description=HIGH)
    factor: PositiveFloat = Field(1.0, description=FACTOR)
    name: Label | None = Field(None, description=NAME)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """As they are given."""
        return self.low, self.high

    @property
    def scale(self) -> Scale:
        """The axis that shows them evenly."""
        return "linear"

    def between(self, low: float, high: float) -> Self:
        """The same with other ends, kept to three digits."""
        return self.model_copy(update={"low": _short(low), "high": _short(high)})

    def optuna(self) -> BaseDistribution:
        """As Optuna draws it."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high)

    def setting(self, drawn: float) -> float:
        """The config's value."""
        return drawn * self.factor

    def grid(self, points: int) -> list[float]:
        """Equally spaced values."""
        return _grid(self, points)

    def text(self, drawn: float) -> str:
        """As it is shown."""
        return f"{drawn:.4g}"


class IntUniform(_Range):
    """Whole numbers, both ends among them; with `log`, uniform in the logarithm."""

    source: ClassVar[str] = "lecture: hyper-parameter search"

    kind: Literal["int"] = "int"
    low: Whole = Field(description=LOW)
    high: Whole = Field(description=HIGH)
    log: Flag = Field(False, description="draw uniformly in the logarithm; the ends are above 0")
    name: Label | None = Field(None, description=NAME)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.log and self.low < 1:
            raise ValueError(f"with log, low ({self.low}) must be above 0")
        _check_order(self.low, self.high)
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """As they are given."""
        return self.low, self.high

    def scaled(self, value: float) -> float:
        """The logarithm, to base 10, if it is drawn so."""
        return math.log10(value) if self.log else value

    def unscaled(self, value: float) -> float:
        """The way back."""
        return float(10.0**value) if self.log else value

    @property
    def scale(self) -> Scale:
        """The axis that shows them evenly."""
        return "log" if self.log else "linear"

    def between(self, low: float, high: float) -> Self:
        """The same with the whole numbers that enclose the ends, at least two."""
        least = math.floor(low + 1e-9)
        if self.log:
            least = max(1, least)
        update = {"low": least, "high": max(least + 1, math.ceil(high - 1e-9))}
        return self.model_copy(update=update)

    def optuna(self) -> BaseDistribution:
        """As Optuna draws it."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)

    def setting(self, drawn: float) -> int:
        """The config's value."""
        return int(drawn)

    def grid(self, points: int) -> list[int]:
        """Nearly equally spaced whole numbers, each once."""
        return list(dict.fromkeys(round(value) for value in _grid(self, points)))

    def text(self, drawn: float) -> str:
        """As it is shown."""
        return f"{drawn:d}"


class Choice(Spec):
    """One of several values, which may be whole sections: `[none, batch]`, `[[50], [50, 50]]`."""

    source: ClassVar[str] = "lecture: hyper-parameter search"

    kind: Literal["choice"] = "choice"
    values: tuple[Any, ...] = Field(min_length=1, max_length=1000, description="what to choose of")
    name: Label | None = Field(None, description=NAME)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        texts = self.texts
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is there twice: name each value once")
        return self

    @property
    def texts(self) -> list[str]:
        """The values as JSON, by which they are drawn and kept."""
        return [json.dumps(value, sort_keys=True) for value in self.values]

    @property
    def scale(self) -> Scale:
        """None: they have no order."""
        return "choice"

    def among(self, texts: list[str]) -> Self:
        """The same with only these of its values."""
        kept = [v for v, text in zip(self.values, self.texts, strict=True) if text in texts]
        return self.model_copy(update={"values": tuple(kept)})

    def optuna(self) -> BaseDistribution:
        """As Optuna draws it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.texts)

    def setting(self, drawn: str) -> Any:
        """The config's value."""
        return json.loads(drawn)

    def grid(self, points: int) -> list[str]:  # noqa: ARG002
        """All values."""
        return self.texts

    def text(self, drawn: str) -> str:
        """As it is shown."""
        return drawn.strip('"')


Numeric = LogUniform | Uniform | IntUniform
Distribution = Annotated[LogUniform | Uniform | IntUniform | Choice, ByKind()]
AnyDistribution = LogUniform | Uniform | IntUniform | Choice
Drawn = float | int | str
"""A drawn value: a number, or the JSON of a choice."""


def _check_order(low: float, high: float) -> None:
    if low >= high:
        raise ValueError(f"low ({low:g}) must be below high ({high:g})")


def _grid(spec: _Range, points: int) -> list[float]:
    """The middle alone, or values from one end to the other."""
    if points == 1:
        return [spec.at(0.5)]
    return [spec.at(place / (points - 1)) for place in range(points)]


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def hull(distributions: Sequence[AnyDistribution]) -> AnyDistribution:
    """One that holds the values of all, which are a path's in the rounds of a search."""
    first, *_ = distributions
    if isinstance(first, Choice):
        return first  # later rounds have fewer of its values
    ends = [end for d in distributions if not isinstance(d, Choice) for end in d.ends]
    return first.model_copy(update={"low": min(ends), "high": max(ends)})
