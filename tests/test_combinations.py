"""Parts in combination: every pair of members trains two steps, or is refused with the reason.

The rows are a covering array: each pair of members of two different families stands in at least one
of them, except the pairs in `REFUSED`, each of which is tried alone.
"""

from __future__ import annotations

import math
import random
from functools import cache
from itertools import combinations, islice, product
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nnrecipe.architectures import Architecture
from nnrecipe.core.errors import UserError
from nnrecipe.core.spec import kind_of, members
from nnrecipe.data import DataBundle
from nnrecipe.init import Init
from nnrecipe.layers import Activation, Norm
from nnrecipe.optimizers import OptimizerSpec
from nnrecipe.recipe import Recipe
from nnrecipe.recipe.bench import make_bench
from nnrecipe.schedulers import Scheduler
from nnrecipe.training.steps import train_steps

SIDE = 32
LEAST_ROWS = 300

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mlp": {"widths": [16, 8]},
    "lenet5": {},
    "alexnet": {"width": 0.1},
    "vgg": {"depth": 11, "width": 0.1},
    "resnet": {"depth": 8, "width": 0.5},
    "vit": {"patch": 8, "dim": 16, "depth": 2, "heads": 2},
}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "init": {"constant": {"value": 1e-3}},
    "optimizer": {"lbfgs": {"lr": 0.1}},
    "scheduler": {
        "step": {"step_size": 1},
        "multi_step": {"milestones": [1]},
        "cosine_restarts": {"period": 1},
        "cyclic": {"step_size_up": 1},
    },
}
"""What a member needs to be told, or what keeps it small."""

REGULARIZATIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "elastic_net": {"regularization": {"l1": 1e-4, "l2": 1e-3}},
    "dropout": {"regularization": {"dropout": 0.3}},
    "dropblock": {"regularization": {"dropblock": {"drop": 0.1, "block_size": 2}}},
    "stochastic_depth": {"regularization": {"stochastic_depth": 0.2}},
    "mixup": {"regularization": {"mixup": 0.4}},
    "cutmix": {"regularization": {"cutmix": 1.0}},
    "max_norm": {"regularization": {"max_norm": 1.0}},
    "label_smoothing": {"loss": {"kind": "cross_entropy", "label_smoothing": 0.1}},
    "clipping": {"training": {"clip_norm": 1.0, "clip_value": 0.5}},
    "ema": {"training": {"average": "ema"}},
    "swa": {"training": {"average": {"kind": "swa", "start": 0.0}}},
    "accumulation": {"training": {"accumulate": 2}},
}
OMISSIONS = ("dropout", "dropblock", "stochastic_depth")

# Only what the reader would expect to be refused; each pair has its reason in the message.
REFUSED: dict[tuple[str, str], str] = {
    **{
        (f"architecture:{plain}", "regularization:stochastic_depth"): "residual"
        for plain in ("mlp", "lenet5", "alexnet", "vgg")
    },
    ("architecture:mlp", "norm:instance"): "single numbers",
    ("architecture:mlp", "regularization:dropblock"): "pixels",
    ("architecture:vit", "regularization:dropblock"): "",
    ("architecture:resnet", "regularization:dropout"): "batch norm",
    ("architecture:resnet", "activation:maxout"): "",
    **{("architecture:vit", f"norm:{kind}"): "" for kind in ("batch", "group", "instance")},
    **{
        ("optimizer:lbfgs", f"regularization:{part}"): "lbfgs"
        for part in (*OMISSIONS, "mixup", "cutmix", "max_norm", "clipping")
    },
    **{(f"optimizer:{kind}", "regularization:accumulation"): kind for kind in ("gd", "lbfgs")},
}


def _families() -> dict[str, list[str]]:
    built = [kind for kind in map(kind_of, members(Architecture)) if kind in ARCHITECTURES]
    named = {"norm": Norm, "activation": Activation, "init": Init, "scheduler": Scheduler}
    families = {name: [kind_of(member) for member in members(f)] for name, f in named.items()}
    optimizers = [kind_of(m) for m in members(OptimizerSpec) if kind_of(m) != "custom"]
    return {
        "architecture": built,
        **families,
        "regularization": list(REGULARIZATIONS),
        "optimizer": optimizers,
    }


FAMILIES = _families()
Row = dict[str, str]


def _pairs(row: Row) -> set[tuple[str, str]]:
    return set(combinations(sorted(f"{family}:{kind}" for family, kind in row.items()), 2))


def _refused(row: Row) -> set[tuple[str, str]]:
    return {pair for pair in REFUSED if tuple(sorted(pair)) in _pairs(row)}


def _rows() -> list[Row]:
    """A covering array, greedily: of some random rows always the one that covers most."""
    draw = random.Random(0)
    names = [[f"{family}:{kind}" for kind in kinds] for family, kinds in FAMILIES.items()]
    left = {
        tuple(sorted(pair)) for one, other in combinations(names, 2) for pair in product(one, other)
    } - {tuple(sorted(pair)) for pair in REFUSED}
    rows: list[Row] = []
    while left or len(rows) < LEAST_ROWS:
        wanted = dict(word.split(":") for word in min(left)) if left else {}
        drawn = (
            {family: draw.choice(kinds) for family, kinds in FAMILIES.items()} | wanted
            for _ in range(100_000)
        )
        sound = (row for row in drawn if not _refused(row))
        best = max(islice(sound, 12), key=lambda row: len(_pairs(row) & left))
        rows.append(best)
        left -= _pairs(best)
    return rows


def _config(row: Row) -> dict[str, Any]:
    def part(family: str) -> dict[str, Any]:
        kind = row[family]
        return {"kind": kind, **SETTINGS.get(family, {}).get(kind, {})}

    architecture = {"kind": row["architecture"], **ARCHITECTURES[row["architecture"]]}
    architecture["activation"] = row["activation"]
    training = {"batch_size": 8, "epochs": 4}
    config = {
        "data": {"kind": "digits", "image_size": SIDE, "limit": 40},
        "architecture": architecture,
        **{family: part(family) for family in ("norm", "init", "optimizer", "scheduler")},
    }
    extra = dict(REGULARIZATIONS[row["regularization"]])
    return {**config, **extra, "training": training | extra.get("training", {})}


@cache
def _data() -> DataBundle:
    recipe = Recipe.model_validate(_config({f: kinds[0] for f, kinds in FAMILIES.items()}))
    return recipe.data.build(device=torch.device("cpu"), seed=0)


def _train(recipe: Recipe) -> None:
    data = _data()
    bench = make_bench(recipe, data, device=torch.device("cpu"))
    training = recipe.training
    per_epoch = training.steps_per_epoch(data.steps_per_epoch(training.batch_size))
    schedule = recipe.scheduler.build(training.epochs * per_epoch, steps_per_epoch=per_epoch)
    model = bench.make_model()
    before = [p.detach().clone() for p in model.parameters()]
    rate = recipe.optimizer.lr
    setup = bench.setup(
        model,
        lr=1e-3 if rate == "auto" else rate,
        schedule=schedule,
        accumulate=training.accumulate,
    )
    average = training.average.build(model, epochs=training.epochs)
    draw = torch.Generator().manual_seed(0)
    batches = list(islice(data.training_batches(8, generator=draw), 4))
    few = batches if training.accumulate == 2 else batches[:2]
    for record in train_steps(setup, few):
        average.after_step()
        assert math.isfinite(record.loss.item())
    average.after_epoch(1)
    assert all(p.isfinite().all() for p in model.parameters())
    moved = [not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)]
    assert any(moved)
    assert average.model.eval()(batches[0].inputs).shape == (8, 10)


ROWS = _rows()


def test_there_are_enough_rows_and_they_cover_every_pair() -> None:
    covered = set().union(*(_pairs(row) for row in ROWS))
    sizes = [len(kinds) for kinds in FAMILIES.values()]
    pairs = sum(one * other for one, other in combinations(sizes, 2))
    assert len(covered) == pairs - len(REFUSED)
    assert len(ROWS) >= LEAST_ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_it_trains_two_steps(row: Row) -> None:
    torch.manual_seed(0)
    _train(Recipe.model_validate(_config(row)))


PLAIN = {
    "architecture": "lenet5",
    "norm": "none",
    "activation": "relu",
    "init": "kaiming_normal",
    "scheduler": "constant",
    "regularization": "nothing",
    "optimizer": "sgd",
}


@pytest.mark.parametrize(("pair", "reason"), REFUSED.items(), ids=str)
def test_what_cannot_be_combined_is_refused_with_the_reason(
    pair: tuple[str, str], reason: str
) -> None:
    row = PLAIN | dict(word.split(":") for word in pair)
    if row["architecture"] == "resnet" and pair[1] != "norm:none":
        row["norm"] = "batch"
    with pytest.raises((ValidationError, UserError)) as refusal:
        make_bench(Recipe.model_validate(_config(row)), _data(), device=torch.device("cpu"))
    message = str(refusal.value)
    assert reason in message
    assert len(message) > 40
