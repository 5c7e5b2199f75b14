"""`nnrecipe.diagnose` on plain PyTorch code, none of which was written for nnrecipe."""

from __future__ import annotations

import copy
import functools
import random
import runpy
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import blobs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import nnrecipe
from nnrecipe import Report
from nnrecipe.checks.experiments import SUSPECTS
from nnrecipe.checks.experiments.conditions import Removal, Scene
from nnrecipe.checkup.bench import make_workplace
from nnrecipe.checkup.loss import ignored_label
from nnrecipe.checkup.model import hooks_of, without_hooks
from nnrecipe.core.causes import Cause
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import Verdict
from nnrecipe.init.fixed import ZerosInit
from nnrecipe.stages.diagnosis import _without as without
from nnrecipe.training.setup import CONSTANT

CLASSES = 4


def loader(count: int = 200, *, seed: int = 1, **settings: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*blobs(count, seed=seed)), **{"batch_size": 32, **settings})


def network(*, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(8 * 36, CLASSES),
    )


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=3e-3)


def diagnose(*args: Any, **settings: Any) -> Report:
    return nnrecipe.diagnose(*args, **{"show": False, **settings})


def causes(report: Report) -> list[Cause]:
    return [diagnosis.cause for diagnosis in report.diagnosis]


def verdicts(report: Report) -> dict[str, str]:
    return {
        f"{stage.stage}/{finding.check}": finding.measured
        for stage in report.stages
        for finding in stage.findings
        if finding.verdict is not Verdict.PASS
    }


class Augmented(Dataset[Any]):
    """Draws its noise from every generator that there is."""

    def __init__(self, *, amount: float = 0.05) -> None:
        self.inputs, self.labels = blobs(200, seed=1)
        self.amount = amount
        self.own = np.random.default_rng(7)
        self.torchs = torch.Generator().manual_seed(3)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        shift = random.random() + np.random.rand() + self.own.random()
        shift += float(torch.rand(())) + float(torch.rand((), generator=self.torchs))
        return self.inputs[index] + self.amount * (shift - 2.5), int(self.labels[index])


def _everything(
    model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, data: Augmented
) -> list[Any]:
    """All state that training goes on from."""
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return [
        copy.deepcopy(model.state_dict()),
        grads,
        [module.training for module in model.modules()],
        [p.requires_grad for p in model.parameters()],
        copy.deepcopy(optimizer.state_dict()),
        copy.deepcopy(scheduler.state_dict()),
        random.getstate(),
        np.random.get_state(),
        torch.get_rng_state(),
        data.own.bit_generator.state,
        data.torchs.get_state(),
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("persistent", [False, True])
def test_everything_stays_bit_identical_and_training_goes_on_as_if_nothing_were(
    persistent: bool,
) -> None:
    def course(*, diagnosed: bool) -> list[Any]:
        torch.manual_seed(5)
        np.random.seed(6)
        random.seed(7)
        data = Augmented()
        order = torch.Generator().manual_seed(11)
        workers: dict[str, Any] = {"num_workers": 1, "persistent_workers": True}
        batches = DataLoader(
            data,
            batch_size=32,
            shuffle=True,
            generator=order,
            **(workers if persistent else {}),
        )
        model = network(seed=1).train()
        optimizer = adam(model)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-4, total_steps=40)
        states = []
        for epoch in range(2):
            for inputs, targets in batches:
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), targets).backward()
                optimizer.step()
                scheduler.step()
            if epoch == 0 and diagnosed:
                before = _everything(model, optimizer, scheduler, data)
                held = order.get_state()
                report = diagnose(model, batches, nn.CrossEntropyLoss(), optimizer=optimizer)
                assert {"overfit", "lr_probe"} <= {stage.stage for stage in report.stages}
                assert _same(before, _everything(model, optimizer, scheduler, data))
                assert torch.equal(held, order.get_state())
            states.append(_everything(model, optimizer, scheduler, data))
        return states

    assert _same(course(diagnosed=True), course(diagnosed=False))


def _rows(count: int = 240, *, features: int = 8) -> Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(2))


def _mlp(outputs: int, *end: nn.Module, features: int = 8) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, outputs), *end)


def _batches(inputs: Tensor, targets: Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(inputs, targets), batch_size=32, shuffle=True)


X = _rows()
LABELS = X[:, :3].argmax(1)
SIGNS = (X[:, 0] + X[:, 1] > 0).float()
VALUES = X[:, 0] - 0.5 * X[:, 1]


def _own_nll(probabilities: Tensor, targets: Tensor) -> Tensor:
    return -probabilities.gather(1, targets[:, None]).clamp_min(1e-9).log().mean()


HEALTHY: dict[str, tuple[nn.Module, Tensor, Callable[[Tensor, Tensor], Tensor], str]] = {
    "classes": (_mlp(3), LABELS, nn.CrossEntropyLoss(label_smoothing=0.1), "single_label"),
    "classes in a column": (
        _mlp(3),
        LABELS[:, None],
        lambda o, t: F.cross_entropy(o, t.squeeze(1)),
        "single_label",
    ),
    "one-hot rows": (
        _mlp(3),
        F.one_hot(LABELS, 3).float(),
        nn.CrossEntropyLoss(),
        "single_label",
    ),
    "log-probabilities": (_mlp(3, nn.LogSoftmax(1)), LABELS, nn.NLLLoss(), "single_label"),
    "probabilities": (_mlp(3, nn.Softmax(1)), LABELS, _own_nll, "single_label"),
    "one logit": (_mlp(1), SIGNS[:, None], nn.BCEWithLogitsLoss(), "multi_label"),
    "one flat logit": (
        _mlp(1, nn.Flatten(0)),
        SIGNS,
        nn.BCEWithLogitsLoss(),
        "multi_label",
    ),
    "one probability": (_mlp(1, nn.Sigmoid()), SIGNS[:, None], nn.BCELoss(), "multi_label"),
    "a whole-number label for one logit": (
        _mlp(1),
        SIGNS.long(),
        lambda o, t: F.binary_cross_entropy_with_logits(o.squeeze(1), t.float()),
        "multi_label",
    ),
    "labels": (_mlp(3), (X[:, :3] > 0).float(), nn.BCEWithLogitsLoss(), "multi_label"),
    "values": (_mlp(1), VALUES[:, None], nn.MSELoss(), "regression"),
    "flat values": (_mlp(1, nn.Flatten(0)), VALUES, nn.SmoothL1Loss(), "regression"),
    "rows of values": (_mlp(2), X[:, :2] * 0.5, nn.MSELoss(), "regression"),
}


@pytest.mark.parametrize("form", HEALTHY)
def test_sound_code_of_every_form_does_not_fail(form: str) -> None:
    model, targets, loss, task = HEALTHY[form]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    report = diagnose(model, _batches(X, targets), loss, optimizer=optimizer)
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    assert report.stage("wiring").facts["task"] == task
    walked = [stage.stage for stage in report.stages]
    assert walked[:6] == ["wiring", "data", "sanity", "init", "overfit", "lr_probe"]


class Unregistered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(8, 32), nn.Linear(32, 32)]
        self.last = nn.Linear(32, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        for layer in self.layers:
            inputs = layer(inputs).relu()
        return self.last(inputs)  # type: ignore[no-any-return]


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.first(inputs).relu().detach())  # type: ignore[no-any-return]


def _zeroed() -> nn.Module:
    model = _mlp(3)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def _wild() -> nn.Module:
    model = _mlp(3)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=20.0)
    return model


SICK: dict[str, tuple[Callable[[], nn.Module], Any, Any, Cause]] = {
    "softmax before cross-entropy": (
        lambda: _mlp(3, nn.Softmax(1)),
        LABELS,
        nn.CrossEntropyLoss(),
        Cause.DOUBLE_SOFTMAX,
    ),
    "layers in a list": (Unregistered, LABELS, nn.CrossEntropyLoss(), Cause.UNREGISTERED_MODULES),
    "detached": (Cut, LABELS, nn.CrossEntropyLoss(), Cause.DETACHED_GRAPH),
    "zero weights": (_zeroed, LABELS, nn.CrossEntropyLoss(), Cause.ZERO_INIT),
    "large weights": (_wild, LABELS, nn.CrossEntropyLoss(), Cause.INIT_TOO_LARGE),
    "too few outputs": (lambda: _mlp(2), LABELS, nn.CrossEntropyLoss(), Cause.WRONG_OUTPUT_SIZE),
    "nll of logits": (lambda: _mlp(3), LABELS, nn.NLLLoss(), Cause.MISSING_LOG_SOFTMAX),
    "wrong sign": (
        lambda: _mlp(3),
        LABELS,
        lambda o, t: -F.cross_entropy(o, t),
        Cause.SIGN_FLIPPED,
    ),
    "sum of the batch": (
        lambda: _mlp(3),
        LABELS,
        nn.CrossEntropyLoss(reduction="sum"),
        Cause.SUM_REDUCTION,
    ),
    "values broadcast": (lambda: _mlp(1), VALUES, nn.MSELoss(), Cause.LOSS_MISMATCH),
    "a loss without a gradient": (
        lambda: _mlp(1),
        VALUES[:, None],
        lambda o, t: (o.detach() - t).square().mean(),
        Cause.DETACHED_GRAPH,
    ),
}


@pytest.mark.parametrize("fault", SICK)
def test_a_fault_in_plain_code_is_named(fault: str) -> None:
    make, targets, loss, cause = SICK[fault]
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    report = diagnose(model, _batches(X, targets), loss, optimizer=optimizer)
    assert causes(report)[:1] == [cause], (causes(report), verdicts(report))
    assert not any(f.change for stage in report.stages for f in stage.findings)


def test_inputs_that_are_nan_or_of_another_scale_in_validation_are_told() -> None:
    broken = X.clone()
    broken[3, 2] = torch.nan
    report = diagnose(_mlp(3), _batches(broken, LABELS), nn.CrossEntropyLoss())
    assert causes(report)[0] is Cause.NAN_INPUT
    val = _batches(10 * X + 3, LABELS)
    report = diagnose(_mlp(3), _batches(X, LABELS), nn.CrossEntropyLoss(), val)
    assert causes(report)[0] is Cause.PREPROCESSING_MISMATCH


def test_random_validation_data_is_told_and_random_training_data_is_not() -> None:
    train, val = DataLoader(Augmented(), batch_size=32, shuffle=True), loader(80, seed=2)
    report = diagnose(network(), train, F.cross_entropy, val, adam(network()))
    assert Cause.VAL_AUGMENTED not in causes(report)
    report = diagnose(network(), val, F.cross_entropy, DataLoader(Augmented(), batch_size=32))
    assert Cause.VAL_AUGMENTED in causes(report)
    held_out = diagnose(network(), train, F.cross_entropy)
    assert held_out.verdict is not Verdict.FAIL, verdicts(held_out)
    assert held_out.stage("wiring").facts["validation"] == "held out of train_loader"


def test_a_rate_that_is_far_too_high_is_told_and_one_behind_a_warm_up_is_taken_as_declared() -> (
    None
):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e6)
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=optimizer)
    assert Cause.LR_TOO_HIGH in causes(report)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: epoch / 5)
    assert optimizer.param_groups[0]["lr"] == 0
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=optimizer)
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    assert report.stage("lr_probe").facts["declared"] == 0.05


def test_what_the_optimizer_does_not_hold_is_told() -> None:
    model = network()
    some = torch.optim.Adam(model[5].parameters(), lr=1e-2)
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=some)
    held = report.stage("wiring").finding("optimizer_holds")
    assert (held.verdict, held.cause) == (Verdict.WARN, Cause.ACCIDENTAL_FREEZE)
    assert "0.weight" in held.measured
    looks = [f for s in report.stages[:3] for f in s.findings if f.cause is held.cause]
    assert len(looks) == 3
    assert report.diagnosis[0].confidence < 0.95
    others = adam(network())
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=others)
    assert causes(report) == [Cause.ACCIDENTAL_FREEZE]
    assert report.verdict is Verdict.FAIL
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    kept = [p for p in model.parameters() if p.requires_grad]
    frozen = torch.optim.Adam(kept, lr=1e-2)
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=frozen)
    assert Cause.ACCIDENTAL_FREEZE not in causes(report)


def test_an_optimizer_at_rate_zero_is_told() -> None:
    model = network()
    stuck = torch.optim.SGD(model.parameters(), lr=0.0)
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=stuck)
    assert causes(report) == [Cause.LR_TOO_LOW]


OPTIMIZERS: list[Callable[[Any], torch.optim.Optimizer]] = [
    lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
    lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=0.05),
    lambda p: torch.optim.Adagrad(p, lr=0.02),
    lambda p: torch.optim.RMSprop(p, lr=1e-3, centered=True),
    lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=4),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_any_optimizer_can_be_made_anew(make: Callable[[Any], torch.optim.Optimizer]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, CLASSES))
    optimizer = make(model.parameters())
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=optimizer)
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    assert report.stage("lr_probe").facts["declared"] == optimizer.param_groups[0]["lr"]


class Stateful(torch.optim.Optimizer):
    """Wraps another one, so that no constructor can be called with what its groups tell."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.base = base
        super().__init__(base.param_groups, {})
        self.param_groups = base.param_groups

    def step(self, closure: Any = None) -> Any:
        return self.base.step(closure)


def test_an_optimizer_of_ones_own_class_can_be_made_anew() -> None:
    model = network()
    base = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=Stateful(base))
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    assert not base.state


def test_groups_keep_the_ratio_of_their_rates() -> None:
    from nnrecipe.checkup.optimizer import plain_optimizer

    model = network()
    groups = [
        {"params": model[0].parameters(), "lr": 1e-4},
        {"params": model[5].parameters(), "lr": 1e-2, "weight_decay": 0.1},
    ]
    plain = plain_optimizer(torch.optim.SGD(groups, lr=1.0, momentum=0.9), model)
    other = copy.deepcopy(model)
    made = plain.build(other, lr=1.0, decay=False)
    assert [group["lr"] for group in made.param_groups] == pytest.approx([0.01, 1.0])
    assert [group["weight_decay"] for group in made.param_groups] == [0.0, 0.0]
    assert made.param_groups[1]["params"][0] is other[5].weight
    assert made.param_groups[0]["momentum"] == 0.9


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, labels = blobs(200, seed=1)
        order = torch.randperm(200)
        yield from zip(inputs[order], labels[order], strict=True)


def _list_of_batches() -> list[tuple[Tensor, Tensor]]:
    return list(loader(shuffle=True))


def _as_dict(examples: list[Any]) -> dict[str, Tensor]:
    inputs, labels = zip(*examples, strict=True)
    return {"pixel_values": torch.stack(inputs), "labels": torch.stack(labels)}


LOADERS: list[Callable[[], Iterable[Any]]] = [
    lambda: DataLoader(Stream(), batch_size=32),
    _list_of_batches,
    lambda: loader(collate_fn=_as_dict, shuffle=True),
    lambda: loader(sampler=torch.utils.data.WeightedRandomSampler([1.0] * 200, 300)),
    lambda: loader(batch_size=None, shuffle=False, sampler=[list(range(0, 200, 4)), [1, 2, 3]] * 9),
]


@pytest.mark.parametrize("make", LOADERS)
def test_any_loader_of_pairs_will_do(make: Callable[[], Iterable[Any]]) -> None:
    report = diagnose(network(), make(), F.cross_entropy, loader(80, seed=2))
    assert report.stage("overfit").verdict is Verdict.PASS, verdicts(report)


class Strings(Dataset[Any]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[str, int]:
        return f"example {index}", index % 2


class Breaking(Strings):
    def __getitem__(self, index: int) -> Any:
        raise KeyError("no such column")


class Locked(nn.Linear):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("holds a file")


class Several(nn.Linear):
    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs), inputs


def _three(examples: list[Any]) -> tuple[Tensor, Tensor, Tensor]:
    inputs, labels = zip(*examples, strict=True)
    return torch.stack(inputs), torch.stack(labels), torch.ones(len(labels))


MISTAKES: dict[str, tuple[Callable[[], tuple[Any, ...]], str]] = {
    "strings": (
        lambda: (network(), DataLoader(Strings(), batch_size=4), F.cross_entropy),
        "train_loader: expected batches of \\(inputs, targets\\), both tensors, got inputs that",
    ),
    "three things": (
        lambda: (network(), loader(collate_fn=_three), F.cross_entropy),
        "got a tuple of Tensor, Tensor, Tensor: give the loader a collate_fn",
    ),
    "an iterator": (
        lambda: (network(), iter(loader()), F.cross_entropy),
        "train_loader: it is an iterator",
    ),
    "no loader": (lambda: (network(), 3, F.cross_entropy), "train_loader: expected batches"),
    "a Dataset that fails": (
        lambda: (network(), DataLoader(Breaking()), F.cross_entropy),
        "train_loader: reading a batch failed: KeyError: 'no such column' .*test_diagnose.py",
    ),
    "a Dataset that fails in a worker": (
        lambda: (network(), DataLoader(Breaking(), num_workers=1), F.cross_entropy),
        "train_loader: reading a batch failed: KeyError: 'no such column'",
    ),
    "token numbers": (
        lambda: (network(), _batches(torch.randint(9, (40, 5)), torch.arange(40) % 2), F.mse_loss),
        "inputs are int64",
    ),
    "a model of other inputs": (
        lambda: (nn.Linear(9, 4), loader(), F.cross_entropy),
        "model: on inputs \\[8, 1, 6, 6\\] from train_loader: Linear failed: RuntimeError: .*mat1",
    ),
    "a model that gives two things": (
        lambda: (nn.Sequential(nn.Flatten(), Several(36, 4)), loader(), F.cross_entropy),
        "Sequential returns tuple, not one tensor",
    ),
    "a segmentation": (
        lambda: (nn.Conv2d(1, 4, 1), loader(), F.cross_entropy),
        "diagnose takes models that give \\[N, C\\]",
    ),
    "a model that can't be copied": (
        lambda: (nn.Sequential(nn.Flatten(), Locked(36, 4)), loader(), F.cross_entropy),
        "can't be copied \\(RuntimeError: holds a file",
    ),
    "no parameters": (lambda: (nn.Flatten(), loader(), F.cross_entropy), "nothing to train"),
    "no model": (lambda: ("model", loader(), F.cross_entropy), "expected a torch.nn.Module"),
    "no mean": (
        lambda: (network(), loader(), nn.CrossEntropyLoss(reduction="none")),
        "loss_fn: CrossEntropyLoss returned shape \\[64\\]: return the mean",
    ),
    "a loss that doesn't take the targets": (
        lambda: (_mlp(1), _batches(X, SIGNS), nn.BCEWithLogitsLoss()),
        "loss_fn: BCEWithLogitsLoss failed: ValueError: Target size",
    ),
    "the wrong optimizer": (
        lambda: (network(), loader(), F.cross_entropy, None, "adam"),
        "optimizer: expected a torch.optim.Optimizer, got str",
    ),
    "validation of another shape": (
        lambda: (network(), loader(), F.cross_entropy, _batches(X, LABELS)),
        "val_loader: inputs are \\[8\\], those of train_loader \\[1, 6, 6\\]",
    ),
    "a label below 0": (
        lambda: (_mlp(3), _batches(X, LABELS - 1), F.cross_entropy),
        "train_loader: label -1: number the classes from 0, or give the loss the ignore_index",
    ),
    "a label below 0 in validation": (
        lambda: (_mlp(3), _batches(X, LABELS), F.cross_entropy, _batches(X, LABELS - 1)),
        "val_loader: label -1",
    ),
    "labels that the loss ignores": (
        lambda: (_mlp(3), _batches(X, LABELS * 0 - 100), F.cross_entropy),
        "train_loader: all labels are -100",
    ),
    "an empty loader": (
        lambda: (network(), loader(20, drop_last=True), F.cross_entropy),
        "train_loader: it gives no batch",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_the_users_terms(mistake: str) -> None:
    make, message = MISTAKES[mistake]
    arguments = make()
    before = torch.get_rng_state()
    with pytest.raises(UserError, match=message):
        diagnose(*arguments)
    assert torch.equal(before, torch.get_rng_state())


def test_the_report_is_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    report = diagnose(network(), loader(shuffle=True), F.cross_entropy, output=folder, show=True)
    printed = capsys.readouterr().out
    assert "overfit ... pass" in printed
    assert report.verdict.value.upper() in printed
    assert (folder / "report.json").is_file()
    assert "Sequential" in (folder / "report.html").read_text()
    with pytest.raises(UserError, match="holds a report already"):
        diagnose(network(), loader(), F.cross_entropy, output=folder)


def test_no_stage_begins_when_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    report = diagnose(network(), loader(), F.cross_entropy, seconds=0.0, show=True)
    assert [stage.stage for stage in report.stages] == ["wiring"]
    assert "0 seconds are over, so left out: data, sanity" in capsys.readouterr().out
    assert "overfit" in report.stage("wiring").facts["left_out"]


def test_a_model_that_is_trained_already_is_not_judged_as_a_start() -> None:
    model, batches = network(), loader(shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for _ in range(6):
        for inputs, targets in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    report = diagnose(model, batches, F.cross_entropy, loader(80, seed=2), optimizer)
    assert report.stage("wiring").facts["trained_already"]
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    assert not {Cause.LR_TOO_HIGH, Cause.LR_TOO_LOW} & set(causes(report))


def test_a_model_that_learns_no_few_examples_is_tried_from_other_weights_as_well() -> None:
    counts = torch.poisson((0.5 * X[:, :1] + 0.5).exp())
    model = _mlp(1)
    loss, optimizer = nn.PoissonNLLLoss(), torch.optim.Adam(model.parameters(), lr=3e-3)
    report = diagnose(model, _batches(X, counts), loss, optimizer=optimizer)
    assert "another seed" in report.stage("overfit").facts["attempts"]


def test_variants_of_a_model_are_drawn_anew_but_for_what_is_frozen() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    model[1].requires_grad_(False)
    bench = make_workplace(model, loader(), F.cross_entropy, None, None).bench
    drawn = [bench.make_variant(seed=seed).state_dict() for seed in (1, 1, 2)]
    assert _same(drawn[0], drawn[1])
    assert not torch.equal(drawn[0]["3.weight"], drawn[2]["3.weight"])
    assert torch.equal(drawn[0]["1.weight"], model.state_dict()["1.weight"])
    assert _same(bench.make_variant().state_dict(), model.state_dict())
    zeros = bench.make_variant(init=ZerosInit())
    assert not zeros.get_parameter("3.weight").any()


def test_initial_weights_are_among_the_experiments() -> None:
    bench = make_workplace(_wild(), _batches(X, LABELS), F.cross_entropy, None, None).bench
    scene = Scene(bench, rate=0.05, suggested=None, schedule=CONSTANT, steps=20)
    (suspect,) = [suspect for suspect in SUSPECTS if suspect.label == "kaiming weights"]
    removal, after = without(suspect, scene)
    assert removal is not None
    assert removal.cause is Cause.INIT_TOO_LARGE
    assert after > 0

    def misspelt(scene: Scene) -> Removal | None:
        return Removal(scene.conditions(), causes=())  # type: ignore[call-arg]

    with pytest.raises(TypeError, match="causes"):
        without(replace(suspect, remove=misspelt), scene)


@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_a_rate_is_not_too_low_where_nobody_says_how_long_training_is(rate: float) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=optimizer)
    assert Cause.LR_TOO_LOW not in causes(report), verdicts(report)


@pytest.mark.parametrize("rate", [1e-6, 1e-7])
def test_a_rate_at_which_the_loss_stalls_is_too_low(rate: float) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    report = diagnose(model, loader(shuffle=True), F.cross_entropy, optimizer=optimizer)
    assert causes(report)[:1] == [Cause.LR_TOO_LOW], verdicts(report)
    assert "in a longer trial" in report.stage("lr_probe").findings[0].measured


def test_what_a_loss_function_has_at_hand_stays_as_it_is() -> None:
    source = torch.Generator().manual_seed(3)
    helper = nn.Sequential(nn.Linear(CLASSES, 4), nn.BatchNorm1d(4))
    scale = torch.ones((), requires_grad=True)
    scale.grad = torch.tensor(7.0)
    grad = scale.grad
    seen: list[float] = []

    def loss(outputs: Tensor, targets: Tensor, factor: Tensor = scale) -> Tensor:
        noise = 0.01 * torch.randn(outputs.shape, generator=source)
        seen.append(1.0)
        helper.train()
        value: Tensor = F.cross_entropy(outputs + noise, targets) * factor
        value += 0.01 * helper(outputs).var()
        return value

    helper.eval()
    before = source.get_state(), copy.deepcopy(helper.state_dict())
    diagnose(network(), loader(), loss)
    assert torch.equal(before[0], source.get_state())
    assert _same(before[1], helper.state_dict())
    assert not helper[1].training
    assert all(parameter.grad is None for parameter in helper.parameters())
    assert scale.grad is grad
    assert grad.item() == 7.0
    assert seen == []


def test_hooks_that_look_on_are_left_out_and_those_that_do_more_are_kept() -> None:
    seen: list[Tensor] = []
    model = network()
    model[2].register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs))
    diagnose(model, loader(), F.cross_entropy)
    assert seen == []
    few, _ = blobs(8, seed=1)
    assert not hooks_of(without_hooks(copy.deepcopy(model), few))
    model[2].register_forward_hook(lambda _module, _inputs, outputs: outputs.detach())
    assert len(hooks_of(without_hooks(copy.deepcopy(model), few))) == 2
    report = diagnose(model, loader(shuffle=True), F.cross_entropy)
    assert causes(report)[:1] == [Cause.DETACHED_GRAPH]


def test_hooks_of_torchs_own_stay() -> None:
    model = network()
    model[2].register_forward_hook(lambda _module, _inputs, _outputs: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still in use
        model[5] = nn.utils.spectral_norm(model[5])
    made = without_hooks(model, blobs(8, seed=1)[0])
    assert len(hooks_of(model)) == 1
    assert not hooks_of(made)
    assert len(made.get_submodule("5")._forward_pre_hooks) == 1


def test_a_sampler_that_repeats_examples_makes_no_shift() -> None:
    inputs, labels = blobs(600, seed=1)
    kept = (labels != 0) | (torch.arange(600) % 8 == 0)
    inputs, labels = inputs[kept], labels[kept]
    weights = 1 / labels.bincount().float()[labels]
    sampler = torch.utils.data.WeightedRandomSampler(weights.tolist(), len(labels))
    batches = DataLoader(TensorDataset(inputs, labels), batch_size=32, sampler=sampler)
    report = diagnose(network(), batches, F.cross_entropy)
    assert report.verdict is Verdict.PASS, verdicts(report)


def test_examples_are_divided_not_their_draws() -> None:
    draws = [*range(40), *[3] * 60]
    batches = loader(sampler=draws)
    data = make_workplace(network(), batches, F.cross_entropy, None, None).bench.data
    train, val = (
        {tuple(row) for batch in split.batches(32) for row in batch.inputs.flatten(1).tolist()}
        for split in (data.train, data.val)
    )
    assert not train & val
    assert len(val) == len(data.val) == 8


@pytest.mark.parametrize("ignored", [-100, -1])
def test_examples_that_the_loss_ignores_are_left_out(ignored: int) -> None:
    labels = LABELS.clone()
    labels[::5] = ignored
    loss = F.cross_entropy if ignored == -100 else nn.CrossEntropyLoss(ignore_index=ignored)
    report = diagnose(_mlp(3), _batches(X, labels), loss)
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    facts = report.stage("data").facts
    assert len(facts["class_counts"]) == 3
    assert sum(facts["class_counts"]) == round(0.8 * 192)
    assert ignored_label(functools.partial(F.cross_entropy, ignore_index=ignored)) == ignored


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch finds none")
def test_on_a_gpu_nothing_is_touched_either() -> None:
    model = network().cuda()
    optimizer = adam(model)
    before = torch.cuda.get_rng_state(), copy.deepcopy(model.state_dict())
    report = diagnose(model, loader(shuffle=True), nn.CrossEntropyLoss(), optimizer=optimizer)
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    assert torch.equal(before[0], torch.cuda.get_rng_state())
    assert _same(before[1], model.state_dict())
    assert not optimizer.state


def test_the_example_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(Path(__file__).parents[1] / "examples" / "plain_pytorch.py"))
    assert "PASS" in capsys.readouterr().out


def test_a_wrapped_model_is_the_model_inside() -> None:
    model = network()
    wrapped = nn.DataParallel(model)
    report = diagnose(wrapped, loader(shuffle=True), F.cross_entropy, optimizer=adam(model))
    assert report.stage("wiring").facts["model"] == "Sequential"
    assert report.verdict is not Verdict.FAIL, verdicts(report)


def test_it_works_where_gradients_are_off_and_weights_are_in_double_precision() -> None:
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES))
    with torch.no_grad():
        report = diagnose(model, loader(shuffle=True), F.cross_entropy)
        assert not torch.is_grad_enabled()
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    double = network().double()
    report = diagnose(double, loader(shuffle=True), F.cross_entropy, optimizer=adam(double))
    assert report.verdict is not Verdict.FAIL, verdicts(report)
    assert double[0].weight.dtype == torch.float64
