"""From the findings of all stages to causes, the likeliest first.

Findings that agree on a cause are joined. A cause that accounts for another (`ACCOUNTS_FOR`) takes
it over: its symptoms become evidence, and it is named no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import Finding, Remedy, StageResult, Verdict


class Diagnosis(Remedy):
    """One cause, how sure it is, and the findings (`stage/check`) that speak for it.

    Advice, its source and the remedy are those of the surest finding that has some.
    """

    cause: Cause
    confidence: float
    evidence: tuple[str, ...]
    advice: str = ""
    source: str = ""


OUTCOMES = frozenset({Cause.UNDERFITTING, Cause.UNDERTRAINED, Cause.NON_FINITE})
"""How a training ends that something is wrong with; any cause accounts for them."""
RATES = frozenset({Cause.LR_TOO_HIGH, Cause.LR_TOO_LOW})
SIGNALS = frozenset(
    {
        *(Cause.VANISHING_GRADIENT, Cause.EXPLODING_GRADIENT, Cause.EXPLODING_ACTIVATIONS),
        *(Cause.DEAD_RELU, Cause.SATURATED_UNITS, Cause.INIT_TOO_LARGE, Cause.INIT_TOO_SMALL),
    }
)
"""What the layers of a network show, whatever the reason."""
GAPS = frozenset({Cause.OVERFITTING, Cause.TOO_LITTLE_DATA, Cause.DISTRIBUTION_SHIFT})
"""What tells training and validation apart, whatever the reason."""

ACCOUNTS_FOR: dict[Cause, frozenset[Cause]] = {
    # data
    Cause.NAN_INPUT: RATES | SIGNALS | GAPS | {Cause.NAN_GRADIENT_OP},
    Cause.CONSTANT_INPUT: RATES
    | GAPS
    | {
        *(Cause.INPUT_IGNORED, Cause.LEAKAGE, Cause.LABEL_NOISE, Cause.CLASS_OVERLAP),
        *(Cause.MISALIGNED_LABELS, Cause.INPUT_DESTROYED, Cause.BOTTLENECK, Cause.DEAD_RELU),
        *(Cause.PREPROCESSING_MISMATCH, Cause.AUGMENTATION_TOO_STRONG, Cause.LABEL_MAP_MISMATCH),
    },
    Cause.INPUT_UNSCALED: RATES | SIGNALS,
    Cause.DOUBLE_SCALING: RATES | SIGNALS | {Cause.INPUT_IGNORED},
    Cause.PREPROCESSING_MISMATCH: GAPS | {Cause.LABEL_MAP_MISMATCH},
    Cause.LABEL_NOISE: GAPS | RATES | {Cause.CLASS_OVERLAP},
    Cause.MISALIGNED_LABELS: GAPS | RATES | {Cause.LABEL_NOISE, Cause.CLASS_OVERLAP},
    Cause.LABEL_MAP_MISMATCH: GAPS | RATES | {Cause.LABEL_NOISE, Cause.MISALIGNED_LABELS},
    Cause.CLASS_OVERLAP: GAPS | {Cause.LABEL_NOISE},
    Cause.TOO_LITTLE_DATA: frozenset({Cause.OVERFITTING}),
    Cause.LEAKAGE: frozenset({Cause.DISTRIBUTION_SHIFT}),
    Cause.DISTRIBUTION_SHIFT: frozenset({Cause.OVERFITTING}),
    Cause.AUGMENTATION_TOO_STRONG: GAPS | RATES | {Cause.LABEL_NOISE},
    Cause.INPUT_DESTROYED: GAPS | RATES | {Cause.LABEL_NOISE, Cause.MISALIGNED_LABELS},
    Cause.UNSHUFFLED: RATES | GAPS,
    Cause.VAL_AUGMENTED: GAPS,
    Cause.MISSING_CLASS: GAPS | {Cause.CLASS_IMBALANCE},
    # model
    Cause.ZERO_INIT: RATES | SIGNALS | {Cause.INPUT_IGNORED, Cause.CONSTANT_INIT, Cause.BOTTLENECK},
    Cause.CONSTANT_INIT: RATES | SIGNALS | {Cause.BOTTLENECK},
    Cause.INIT_TOO_LARGE: RATES
    | {
        *(Cause.EXPLODING_ACTIVATIONS, Cause.EXPLODING_GRADIENT, Cause.SATURATED_UNITS),
        *(Cause.DEAD_RELU, Cause.VANISHING_GRADIENT),
    },
    Cause.INIT_TOO_SMALL: RATES | {Cause.VANISHING_GRADIENT, Cause.TOO_DEEP, Cause.INPUT_IGNORED},
    Cause.VANISHING_GRADIENT: RATES,
    Cause.EXPLODING_GRADIENT: RATES,
    Cause.SATURATING_DEPTH: RATES
    | {*(Cause.VANISHING_GRADIENT, Cause.SATURATED_UNITS, Cause.INIT_TOO_SMALL, Cause.TOO_DEEP)},
    Cause.TOO_DEEP: RATES | SIGNALS,
    Cause.RELU_LOGITS: RATES | {Cause.DEAD_RELU},
    Cause.DOUBLE_SOFTMAX: RATES | {Cause.SIGMOID_LOGITS, Cause.SATURATED_UNITS},
    Cause.SIGMOID_LOGITS: RATES | {Cause.SATURATED_UNITS},
    Cause.DEAD_RELU: RATES | {Cause.VANISHING_GRADIENT, Cause.INPUT_IGNORED, Cause.INIT_TOO_SMALL},
    Cause.SATURATED_UNITS: RATES | {Cause.VANISHING_GRADIENT},
    Cause.DETACHED_GRAPH: RATES
    | {*(Cause.WRONG_GRADIENT, Cause.VANISHING_GRADIENT, Cause.ACCIDENTAL_FREEZE)},
    Cause.ACCIDENTAL_FREEZE: RATES | {Cause.VANISHING_GRADIENT},
    Cause.UNREGISTERED_MODULES: RATES | {Cause.DETACHED_GRAPH, Cause.ACCIDENTAL_FREEZE},
    Cause.DROPOUT_TOO_HIGH: RATES | {Cause.AUGMENTATION_TOO_STRONG, Cause.EVAL_INACTIVE},
    Cause.BN_STATS: GAPS | {Cause.BN_SMALL_BATCH},
    Cause.EVAL_INACTIVE: GAPS | {Cause.BATCH_MIXING, Cause.DROPOUT_TOO_HIGH},
    Cause.NO_NONLINEARITY: RATES | {Cause.BOTTLENECK},
    Cause.WRONG_OUTPUT_SIZE: frozenset({Cause.MISSING_CLASS}),
    Cause.BOTTLENECK: RATES | {Cause.DEAD_RELU, Cause.VANISHING_GRADIENT},
    Cause.EXPLODING_ACTIVATIONS: RATES | {Cause.EXPLODING_GRADIENT, Cause.INIT_TOO_LARGE},
    Cause.WRONG_GRADIENT: RATES | SIGNALS,
    Cause.NAN_GRADIENT_OP: RATES,
    Cause.BATCH_MIXING: RATES | GAPS | {Cause.DOUBLE_SOFTMAX},
    Cause.INPUT_IGNORED: RATES
    | {
        *(Cause.CONSTANT_INIT, Cause.BOTTLENECK, Cause.VANISHING_GRADIENT, Cause.INIT_TOO_SMALL),
        *(Cause.DEAD_RELU, Cause.EVAL_INACTIVE),
    },
    # loss and regularization
    Cause.LOSS_MISMATCH: RATES,
    Cause.MISSING_LOG_SOFTMAX: RATES | {Cause.LOSS_MISMATCH},
    Cause.SIGN_FLIPPED: RATES | SIGNALS | {Cause.LOSS_MISMATCH, Cause.LABEL_MAP_MISMATCH},
    Cause.SUM_REDUCTION: RATES | {Cause.INIT_TOO_LARGE, Cause.EXPLODING_GRADIENT},
    Cause.BAD_CLASS_WEIGHTS: RATES | {Cause.CLASS_IMBALANCE},
    Cause.REG_SIGN: RATES | SIGNALS,
    Cause.OVER_REGULARIZED: RATES | {Cause.VANISHING_GRADIENT, Cause.INIT_TOO_SMALL},
    # optimization
    Cause.LR_TOO_HIGH: frozenset(
        {*(Cause.DEAD_RELU, Cause.EXPLODING_GRADIENT, Cause.SATURATED_UNITS, Cause.OVERFITTING)}
    ),
    Cause.UNDERTRAINED: frozenset({Cause.UNDERFITTING}),
    Cause.MOMENTUM_TOO_HIGH: RATES | {Cause.DEAD_RELU},
    Cause.BN_SMALL_BATCH: RATES | {Cause.BN_STATS},
    Cause.SCHEDULE_TOO_FAST: RATES,
    Cause.CLIP_TOO_SMALL: RATES,
    Cause.ADAM_EPS: RATES,
}
"""What a cause brings about, so that it is no cause of its own beside it; `OUTCOMES` besides."""
SAME_LOOK = {"wiring": "sanity"}
"""Stages that look at the same facts as another: model, loss and optimizer before training."""
SURE = 0.6
"""The confidence from which a cause accounts even for one that seems surer."""


@dataclass
class _Case:
    """A cause, and the findings that name it with the stages they were made in."""

    cause: Cause
    findings: list[tuple[str, Finding]] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """Stages are taken as independent: 1 - prod(1 - confidence).

        Checks of one stage often see one fact from several sides, so the surest speaks for all.
        """
        surest: dict[str, float] = {}
        for stage, finding in self.findings:
            look = SAME_LOOK.get(stage, stage)
            surest[look] = max(surest.get(look, 0.0), finding.confidence)
        return 1 - math.prod(1 - confidence for confidence in surest.values())

    def accounts_for(self, other: _Case) -> bool:
        """Whether the other is what this one brings about, and this one is sure enough."""
        effects = ACCOUNTS_FOR.get(self.cause, frozenset())
        if other.cause not in (effects if self.cause in OUTCOMES else effects | OUTCOMES):
            return False
        return self.confidence >= min(SURE, other.confidence)


def diagnose_stages(stages: Iterable[StageResult]) -> tuple[Diagnosis, ...]:
    """Every cause that the findings name and no other accounts for, the likeliest first."""
    cases: dict[Cause, _Case] = {}
    for stage in stages:
        for finding in stage.findings:
            if finding.cause is not None and finding.verdict is not Verdict.PASS:
                case = cases.setdefault(finding.cause, _Case(finding.cause))
                case.findings.append((stage.stage, finding))
    found = list(cases.values())
    found = [case for case in found if not _contradicted(case, found)]
    roots = [case for case in found if not _accounted_for(case, found)]
    roots.sort(key=lambda case: (case.cause in OUTCOMES, -case.confidence))
    return tuple(_told(case, [c for c in found if case.accounts_for(c)]) for case in roots)


def _contradicted(case: _Case, found: Sequence[_Case]) -> bool:
    """Whether a surer finding says the opposite of the learning rate."""
    opposite = (other for other in found if {case.cause, other.cause} == RATES)
    return any(other.confidence > case.confidence for other in opposite)


def _accounted_for(case: _Case, found: Sequence[_Case]) -> bool:
    """Whether another accounts for it; of two that account for each other, the surer stays."""
    others = [other for other in found if other is not case and other.accounts_for(case)]
    return any(
        not case.accounts_for(other) or other.confidence > case.confidence for other in others
    )


def _told(case: _Case, symptoms: Sequence[_Case]) -> Diagnosis:
    findings = [finding for _, finding in case.findings]
    findings.sort(key=lambda finding: -finding.confidence)
    seen = [item for own in (case, *symptoms) for item in own.findings]
    return Diagnosis(
        cause=case.cause,
        confidence=round(case.confidence, 3),
        evidence=tuple(dict.fromkeys(f"{stage}/{finding.check}" for stage, finding in seen)),
        advice=next((finding.advice for finding in findings if finding.advice), ""),
        source=next((finding.source for finding in findings if finding.source), ""),
        change=next((finding.change for finding in findings if finding.change), ()),
        where=next((finding.where for finding in findings if finding.where), ""),
    )
