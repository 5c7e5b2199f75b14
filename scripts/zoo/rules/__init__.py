"""The rule sets of other tools, rewritten from the thresholds they publish.

`TOOLS` maps each tool to its rules: a function from a training's telemetry to the names of the
rules that fire, first the one that the tool tells first. `MEANINGS` maps a rule to the causes that
it may be taken for. It was fixed before any run, and generously: a rule that names a symptom counts
as right for every cause that its own documentation or its own remedy mentions.
"""

from __future__ import annotations

from collections.abc import Callable

from zoo.rules import autotrainer, deepdiagnosis, sagemaker, umlaut
from zoo.telemetry import Telemetry

TOOLS: dict[str, Callable[[Telemetry], list[str]]] = {
    "AutoTrainer": autotrainer.fired,
    "DeepDiagnosis": deepdiagnosis.fired,
    "UMLAUT": umlaut.fired,
    "SageMaker Debugger": sagemaker.fired,
}
MEANINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "AutoTrainer": autotrainer.MEANINGS,
    "DeepDiagnosis": deepdiagnosis.MEANINGS,
    "UMLAUT": umlaut.MEANINGS,
    "SageMaker Debugger": sagemaker.MEANINGS,
}
