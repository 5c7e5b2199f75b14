"""Whatever is done to a config, a command ends in a verdict or in words, never in a traceback."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from unittest import mock

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fuzz.mutations import mutated, values
from fuzz.sources import ROUNDS, SPACE, from_schema, runnable
from nnrecipe.architectures.mlp import Mlp
from nnrecipe.cli import main
from nnrecipe.core.spec import Spec, kind_of, members
from nnrecipe.data.digits import Digits
from nnrecipe.recipe import Recipe
from nnrecipe.recipe.presets import presets
from nnrecipe.recipe.slots import Slot
from nnrecipe.stages import Stage

BASE = """\
data: {kind: digits, limit: 60, val_fraction: 0.1, augment: [{kind: random_crop, padding: 1}]}
architecture: {kind: mlp, widths: [4, 3], activation: tanh}
init: {kind: normal, std: 0.1}
norm: batch
regularization: {l2: 1e-4, dropout: 0.1, early_stopping: {patience: 3}}
loss: {kind: cross_entropy, label_smoothing: 0.1}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}
scheduler: {kind: cosine, warmup: 3}
training: {epochs: 2, batch_size: 10, clip_norm: 1.0}
stages: [data, sanity, {kind: overfit, steps: 3}, train]
transfer: {freeze: []}
"""
QUICK = """\
data: {kind: digits, limit: 60, augment: [{kind: random_crop, padding: 1}]}
architecture: {kind: mlp, widths: [8], activation: tanh}
init: {kind: normal, std: 0.1}
norm: batch
regularization: {l2: 1e-4, dropout: 0.1, early_stopping: {patience: 3}}
loss: {kind: cross_entropy, label_smoothing: 0.1}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}
scheduler: {kind: cosine, warmup: 1}
training: {epochs: 1, batch_size: 20, clip_norm: 1.0}
stages:
- data
- sanity
- {kind: overfit, steps: 5}
- {kind: lr_probe, steps: 2, per_decade: 1}
- search
- train
- ensemble
- evaluate
transfer: {freeze: []}
tracking: none
"""
# What a kind needs in order to run at once, and the kinds that wait for no file and no network.
NEEDED = {
    "digits": {"limit": 60},
    "mlp": {"widths": [8]},
    "step": {"step_size": 2},
    "multi_step": {"milestones": [1, 2]},
    "random": {"space": SPACE, "rounds": ROUNDS, "retrain": 0},
    "tpe": {"space": SPACE, "rounds": ROUNDS, "retrain": 0},
    "grid": {"space": {"norm": {"kind": "choice", "values": ["none", "batch"]}}, "retrain": 0},
}
ONLY = {"data": ["digits"], "architecture": ["mlp"]}
STAGES = {kind_of(stage): stage for stage in members(Stage) if len(stage.model_fields) > 1}
EXTREMES = [-1, 0, 1, 2, 3, 1e-30, 1e-6, 0.5, 1.0, 100.0, 1e6, 1e30, -1e30, True, False, None]
CONFIGS = [BASE, *(path.read_text() for path in presets().values())]


@st.composite
def overrides(draw: Callable[..., Any]) -> str:
    """An override of a path that may exist, or something that only looks like one."""
    slot, path = Slot(spec=Recipe), []
    while (slot.spec or slot.kinds) and draw(st.integers(0, 9)) < 8:
        member = slot.spec or draw(st.sampled_from(sorted(slot.kinds.values(), key=str)))
        path.append(draw(st.sampled_from(list(member.model_fields))))
        slot = Slot(spec=member).child(path[-1], None)
    path += draw(st.sampled_from([[], [], ["0"], ["overfit"], ["random_crop", "p"], ["x"]]))
    text = draw(values.map(lambda value: yaml.safe_dump(value, default_flow_style=True).strip()))
    shape = draw(
        st.sampled_from(["{path}={value}"] * 6 + ["~{path}", "~{path}={value}", "{value}"])
    )
    return str(shape.format(path=".".join(path), value=text))


@st.composite
def swaps(draw: Callable[..., Any]) -> str:
    """An override that makes a section another member of its family."""
    root, data = Slot(spec=Recipe), Slot(spec=Digits)
    families = {
        name: root.child(name, None)
        for name in ("norm", "init", "loss", "optimizer", "scheduler", "tracking")
    }
    families["architecture.activation"] = Slot(spec=Mlp).child("activation", None)
    families["data.normalize"] = data.child("normalize", None)
    families["data.augment.0"] = data.child("augment", None).child("0", None)
    path = draw(st.sampled_from(sorted(families)))
    return f"{path}={draw(st.sampled_from(sorted(families[path].kinds)))}"


def words_of(annotation: Any) -> list[Any]:
    """The words that a field's annotation offers."""
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return list(inner)
    return [word for part in inner for word in words_of(part)]


@functools.cache
def accepted(spec: type[Spec], name: str) -> list[Any]:
    """Those of the extreme values that a key takes by itself, alone or as a list."""
    words = words_of(spec.model_fields[name].annotation)
    scalars = [*words, *EXTREMES]
    return [v for v in [*scalars, [], *([v, v] for v in scalars)] if takes(spec, name, v)]


def takes(spec: type[Spec], name: str, value: Any) -> bool:
    """Whether a spec's other keys are all that there may be to complain about."""
    try:
        spec.model_validate({name: value})
    except ValidationError as error:
        return all(details["loc"][:1] not in ((), (name,)) for details in error.errors())
    return True


@st.composite
def settings_of(draw: Callable[..., Any], spec: type[Spec]) -> dict[str, Any]:
    """A section of this kind, with up to two keys set to values that they take."""
    names = [name for name in spec.model_fields if name != "kind" and accepted(spec, name)]
    chosen = draw(st.lists(st.sampled_from(names), max_size=2)) if names else []
    return {name: draw(st.sampled_from(accepted(spec, name))) for name in chosen}


@st.composite
def tunings(draw: Callable[..., Any]) -> str:
    """An override that sets up one section of `QUICK` anew, or sets a key of one of its stages."""
    name = draw(st.sampled_from(sorted({*Recipe.model_fields} - {"name"})))
    slot = Slot(spec=Recipe).child(name, None)
    if name == "stages":
        kind, stage = draw(st.sampled_from(sorted(STAGES.items())))
        key = draw(st.sampled_from(sorted(stage.model_fields)))
        return f"stages.{kind}.{key}={json.dumps(draw(st.sampled_from(accepted(stage, key))))}"
    if slot.spec is not None:
        return f"{name}={json.dumps(draw(settings_of(slot.spec)))}"
    if not slot.kinds:
        return f"{name}={json.dumps(draw(st.sampled_from(accepted(Recipe, name))))}"
    kind = draw(st.sampled_from(ONLY.get(name) or sorted(slot.kinds)))
    needed = {"kind": kind, **NEEDED.get(kind, {})}
    return f"{name}={json.dumps(needed | draw(settings_of(slot.kinds[kind])))}"


def outcome(content: bytes, command: list[str], extra: list[str]) -> tuple[int, str]:
    """The exit code of a command on a config file, and what it printed."""
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "config.yaml"
        path.write_bytes(content)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            output = ["--output", str(folder / "out")] if command[0] == "run" else []
            code = main([*command, *output, "--", str(path), *extra])
        return code, printed.getvalue()
    finally:
        shutil.rmtree(folder)


common = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(common, max_examples=300)
@given(mutated(CONFIGS) | from_schema(), st.lists(overrides(), max_size=2))
def test_validate_ends_in_words(content: bytes, extra: list[str]) -> None:
    code, printed = outcome(content, ["validate"], extra)
    assert code in (0, 2), printed
    assert "Traceback" not in printed
    assert printed.strip()


any_run = given(
    st.one_of(*3 * [st.just(QUICK.encode())], mutated([QUICK]), runnable()),
    st.lists(tunings(), max_size=3),
    st.one_of(*3 * [st.just([])], st.lists(swaps() | overrides(), max_size=2)),
)


@settings(common, max_examples=100)
@any_run
def test_run_ends_in_a_verdict_or_in_words(
    content: bytes, tuned: list[str], extra: list[str]
) -> None:
    """Without the charts, which take longer than all the rest."""
    with mock.patch("nnrecipe.runner.write_html"):
        check_run(content, [*tuned, *extra])


@settings(common, max_examples=10)
@any_run
def test_the_report_of_any_run_can_be_drawn(
    content: bytes, tuned: list[str], extra: list[str]
) -> None:
    check_run(content, [*tuned, *extra])


def check_run(content: bytes, changes: list[str]) -> None:
    code, printed = outcome(content, ["run", "--keep-going"], changes)
    assert code in (0, 1, 2), printed
    assert "Traceback" not in printed
    assert printed.strip()
