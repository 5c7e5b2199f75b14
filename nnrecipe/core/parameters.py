"""Which rule holds for which parameter: freezing, learning-rate multipliers, weight decay.

Rules are regexes over parameter paths (`features.0.weight`), as `re.search` reads them: a pattern
matches anywhere in the path unless `^` or `$` tie it down. The first rule that matches wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import Field, field_validator
from torch import nn
from torch.nn import Parameter
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import Flag, PositiveFloat, Spec
from nnrecipe.core.table import aligned

ParamGroup = dict[str, Any]
"""One entry of an optimizer's groups: `params` (a list), `lr` and `weight_decay` (numbers)."""

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def weights_of(model: nn.Module) -> dict[str, Parameter]:
    """The weights by path: every parameter of two dimensions or more that multiplies its input.

    Kernels, matrices and embeddings are weights; biases, PReLU slopes, the scale and shift of norms
    are not, nor is what transformers add to each example: class tokens and position embeddings,
    [1, T, D]. Frozen weights are included. Penalties, decay and update ratios all mean these.
    """
    others = {
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if isinstance(module, NORMS) or _is_shared_by_the_batch(module, parameter)
    }
    named = model.named_parameters()
    return {path: p for path, p in named if p.ndim >= 2 and id(p) not in others}


def _is_shared_by_the_batch(module: nn.Module, parameter: Parameter) -> bool:
    """Whether it is a module's own [1, T, D], as a token is; a kernel may have one output too."""
    return parameter.ndim == 3 and len(parameter) == 1 and not isinstance(module, _ConvNd)


class ParameterRule(Spec):
    """How the optimizer treats the parameters whose path the pattern matches."""

    pattern: str = Field(description="regex, searched for in the parameter's path")
    freeze: Flag = Field(False, description="keep these parameters as they are")
    lr_scale: PositiveFloat = Field(1.0, description="factor on the learning rate")
    weight_decay: Flag = Field(True, description="whether the optimizer's weight_decay applies")
    note: str = Field("", description="what the table says of this rule instead of its pattern")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regex: {error}") from error
        return pattern


@dataclass(frozen=True)
class Assignment:
    """One row of the table: a parameter and the rule that holds for it."""

    path: str
    shape: tuple[int, ...]
    rule: ParameterRule
    trainable: bool


def assign(model: nn.Module, rules: Sequence[ParameterRule]) -> list[Assignment]:
    """The rule of every parameter, in the model's order; the first that matches wins.

    A parameter trains unless its rule freezes it or the model's own code did.
    Raises `UserError` if no rule matches a parameter.
    """
    return [
        Assignment(
            path=path,
            shape=tuple(parameter.shape),
            rule=(rule := _first_match(path, rules)),
            trainable=parameter.requires_grad and not rule.freeze,
        )
        for path, parameter in model.named_parameters()
    ]


def _first_match(path: str, rules: Sequence[ParameterRule]) -> ParameterRule:
    for rule in rules:
        if re.search(rule.pattern, path):
            return rule
    remedy = "end the rules with one that matches everything: pattern '.*'"
    raise UserError(f"no rule matches the parameter {path}: {remedy}")


def group(
    model: nn.Module, rules: Sequence[ParameterRule], *, lr: float, weight_decay: float
) -> list[ParamGroup]:
    """Freeze what the rules freeze, and sort the rest into groups of equal settings.

    Each group carries its own `lr` (scaled by the rule) and `weight_decay` (0 where the rule says
    so). Parameters that are frozen already stay frozen. Raises `UserError` if none is left.
    """
    parameters = dict(model.named_parameters())
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for row in assign(model, rules):
        if row.trainable:
            settings = (lr * row.rule.lr_scale, weight_decay if row.rule.weight_decay else 0.0)
            groups.setdefault(settings, []).append(parameters[row.path])
        else:
            parameters[row.path].requires_grad_(False)
    if not groups:
        raise UserError("no parameter is left to train: give the model some, or freeze fewer")
    return [
        {"params": params, "lr": group_lr, "weight_decay": decay}
        for (group_lr, decay), params in groups.items()
    ]


def standard_rules(
    model: nn.Module,
    freeze: Iterable[str] = (),
    *,
    held: Mapping[str, Sequence[str]] | None = None,
    scales: Mapping[float, Sequence[str]] | None = None,
) -> list[ParameterRule]:
    """What every recipe does: freeze what is asked for, then no decay on norms, biases and tokens.

    `freeze` is the recipe's `transfer.freeze`. `held` has the paths of what a strategy of transfer
    freezes besides, by its note, and `scales` the paths of what trains at another rate, by the
    factor. Raises `UserError` for a pattern that is no regex, matches no parameter, or leaves
    nothing to train together with the others.
    """
    paths = [path for path, _ in model.named_parameters()]
    freeze = list(freeze)
    frozen = {path for pattern in freeze for path in _frozen_by(pattern, paths)}
    still = frozen.union(*(held or {}).values())
    if freeze and len(still) == len(paths):
        raise UserError(f"transfer.freeze: {freeze} freezes every parameter: leave some to train")
    weights = weights_of(model)
    rules = [ParameterRule(pattern=pattern, freeze=True) for pattern in freeze]
    for note, named in (held or {}).items():
        rules.append(ParameterRule(pattern=_exactly(named), freeze=True, note=note))
    for scale, named in [*(scales or {}).items(), (1.0, paths)]:
        others = [path for path in named if path not in weights]
        if others:
            note = "norms, biases and tokens"
            pattern = _exactly(others)
            rules.append(
                ParameterRule(pattern=pattern, lr_scale=scale, weight_decay=False, note=note)
            )
        if scale != 1.0:
            rules.append(ParameterRule(pattern=_exactly(named), lr_scale=scale, note="weights"))
    return [*rules, ParameterRule(pattern=".*", note="weights")]


def _exactly(paths: Sequence[str]) -> str:
    return f"^(?:{'|'.join(map(re.escape, paths))})$"


def _frozen_by(pattern: str, paths: list[str]) -> list[str]:
    try:
        matching = [path for path in paths if re.search(pattern, path)]
    except re.error as error:
        raise UserError(f"transfer.freeze: {pattern!r} is no regex: {error}") from error
    if not matching:
        near = get_close_matches(pattern, paths, n=3, cutoff=0.3) or paths[:3]
        hint = f"the nearest paths are {', '.join(near)}"
        raise UserError(f"transfer.freeze: {pattern!r} matches no parameter: {hint}")
    return matching


def render_table(rows: Sequence[Assignment]) -> str:
    """The rows as aligned lines: path, shape, how it trains, and the rule that says so."""
    cells = [("parameter", "shape", "training", "rule")]
    cells += [
        (
            row.path,
            "x".join(map(str, row.shape)),
            _treatment(row),
            row.rule.note or row.rule.pattern,
        )
        for row in rows
    ]
    return "\n".join(aligned(cells))


def _treatment(row: Assignment) -> str:
    if not row.trainable:
        return "frozen"
    scale = f"lr x {row.rule.lr_scale:g}"
    return scale if row.rule.weight_decay else f"{scale}, no decay"
