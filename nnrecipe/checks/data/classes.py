"""The check of the classes: all of them there, none of them rare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nnrecipe.checks.bench import Bench
from nnrecipe.core.causes import Cause
from nnrecipe.core.errors import UserError
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.spec import PositiveFloat, Spec

SOURCE = "lecture: look at the data"


class ClassesCheck(Spec):
    """Every class is in the training split, and none is rare."""

    source: ClassVar[str] = SOURCE

    kind: Literal["classes"] = "classes"
    imbalance: PositiveFloat = Field(
        10.0, description="largest class over smallest, from which imbalance is reported"
    )

    def check(self, bench: Bench) -> Iterator[Finding]:
        """Count the training examples of each class; a regression has none."""
        if bench.outputs.task == "multi_label":
            yield _labels_vary(bench)
        if bench.outputs.task != "single_label":
            return
        counts = torch.tensor(bench.outputs.class_counts)
        if (counts == 0).any():
            yield _missing(bench, counts)
            return
        yield self._balance(bench, counts)

    def _balance(self, bench: Bench, counts: Tensor) -> Finding:
        """The counts times the weights that the loss gives to the classes, if they differ much."""
        told = f"{int(counts.min())} to {int(counts.max())} training examples a class"
        ratio = float(counts.max() / counts.min())
        if ratio >= self.imbalance:
            weights = _weights(bench)
            mass = counts if weights is None else counts * weights
            ratio = float(mass.max() / mass.min().clamp_min(1e-12))
            told += f"; weighed by the loss, the largest counts {ratio:.3g} times the smallest"
        uneven = ratio >= self.imbalance
        absent = _absent_in_val(bench) if not uneven else ""
        return Finding(
            check="classes",
            verdict=Verdict.WARN if uneven else Verdict.PASS,
            measured=told + (f"; none in validation of {absent}" if absent else ""),
            expected=f"every class, the largest less than {self.imbalance:g} x the smallest",
            cause=Cause.CLASS_IMBALANCE if uneven else None,
            confidence=_imbalance_confidence(bench, counts) if uneven else 0.0,
            advice="Weigh the classes (loss: {kind: cross_entropy, class_weights: balanced}), or "
            "draw rare ones more often: else guessing the frequent ones is good enough."
            if uneven
            else "The validation score says nothing of classes that it has no examples of."
            if absent
            else "",
            source=SOURCE,
            change=("loss.class_weights=balanced",) if uneven else (),
        )


def _missing(bench: Bench, counts: Tensor) -> Finding:
    missing = [bench.data.classes[int(i)] for i in (counts == 0).nonzero().flatten()]
    listed = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" * (len(missing) > 10))
    val = bench.data.val.targets.bincount(minlength=len(counts))
    asked = int(val[: len(counts)][counts == 0].sum())
    return Finding(
        check="classes",
        verdict=Verdict.FAIL,
        measured=f"no training example of {listed}" + (f", {asked} in validation" * (asked > 0)),
        expected="examples of every class",
        cause=Cause.MISSING_CLASS,
        confidence=0.95,
        advice="The model can't learn a class that it never sees: look at how you split or filter "
        "the training examples, and whether data.classes counts one too many.",
        source=SOURCE,
    )


def _absent_in_val(bench: Bench) -> str:
    counts = bench.data.val.targets.bincount(minlength=bench.outputs.size)
    names = [bench.data.classes[int(i)] for i in (counts == 0).nonzero().flatten()]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _imbalance_confidence(bench: Bench, counts: Tensor) -> float:
    """Surer where validation has other proportions: rare classes then count there after all."""
    val = bench.data.val.targets.bincount(minlength=len(counts))[: len(counts)].float()
    ratio = val.max() / val.min().clamp_min(1)
    return 0.8 if float(ratio) < float(counts.max() / counts.min()) / 3 else 0.5


def _weights(bench: Bench) -> Tensor | None:
    """[C] How hard the loss pulls at an example of each class, before anything is learnt.

    None if that can't be asked of the loss.
    """
    size = bench.outputs.size
    logits = torch.zeros(size, size, device=bench.device, requires_grad=True)
    try:
        with isolated_rng(bench.seed, "loss"):
            loss = bench.make_loss()(logits, torch.arange(size, device=bench.device))
        (pull,) = torch.autograd.grad(loss, logits)
    except (RuntimeError, ValueError, TypeError, IndexError, UserError):  # it is judged elsewhere
        return None
    weights = pull.norm(dim=1).cpu()
    return weights if bool(weights.isfinite().all() and weights.max() > 0) else None


def _labels_vary(bench: Bench) -> Finding:
    """Whether each label is there in some training examples, and missing in others."""
    named = zip(bench.data.classes, bench.outputs.class_counts, strict=True)
    fixed = [name for name, count in named if count in (0, bench.outputs.examples)]
    return Finding(
        check="labels",
        verdict=Verdict.FAIL if fixed else Verdict.PASS,
        measured=f"the same in every training example: {', '.join(fixed)}"
        if fixed
        else f"{min(bench.outputs.class_counts)} to {max(bench.outputs.class_counts)} of "
        f"{bench.outputs.examples} training examples have a label",
        expected="each label in some training examples, but not in all",
        cause=Cause.MISSING_CLASS if fixed else None,
        confidence=0.95 if fixed else 0.0,
        advice="The model can't learn a label that never varies: leave it out, or look at how "
        "you split."
        if fixed
        else "",
        source=SOURCE,
    )
