"""Which line of the user's own code a cause is likely to lie in."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnrecipe.core.causes import Cause
from nnrecipe.core.findings import StageResult
from nnrecipe.core.targets import is_own_file

_MODEL: dict[Cause, str] = {
    Cause.ZERO_INIT: r"zeros_|\.zero_\(|fill_\(\s*0|zeros\(",
    Cause.CONSTANT_INIT: r"constant_|\.fill_\(|ones_\(|full\(",
    Cause.INIT_TOO_LARGE: r"init\.|normal_\(|uniform_\(|randn",
    Cause.INIT_TOO_SMALL: r"init\.|normal_\(|uniform_\(|randn",
    Cause.RELU_LOGITS: r"relu|ReLU",
    Cause.DOUBLE_SOFTMAX: r"softmax|Softmax",
    Cause.SIGMOID_LOGITS: r"sigmoid|Sigmoid|tanh|Tanh",
    Cause.SATURATING_DEPTH: r"sigmoid|Sigmoid|tanh|Tanh",
    Cause.SATURATED_UNITS: r"sigmoid|Sigmoid|tanh|Tanh",
    Cause.DEAD_RELU: r"bias|constant_|fill_",
    Cause.DETACHED_GRAPH: r"\.detach\(|\.data\b|no_grad|\.numpy\(|\.item\(|inference_mode",
    Cause.ACCIDENTAL_FREEZE: r"requires_grad",
    Cause.UNREGISTERED_MODULES: r"=\s*\[|=\s*\{|\.append\(|=\s*\(.*nn\.|=\s*list\(",
    Cause.DROPOUT_TOO_HIGH: r"dropout|Dropout",
    Cause.BN_STATS: r"BatchNorm|batch_norm|momentum",
    Cause.BN_SMALL_BATCH: r"BatchNorm|batch_norm",
    Cause.EVAL_INACTIVE: r"F\.dropout|al\.dropout|def train|def eval|batch_norm\(|rand|bernoulli",
    Cause.WRONG_OUTPUT_SIZE: r"Linear\(",
    Cause.BOTTLENECK: r"Linear\([^)]*,\s*[1-3]\b|Conv2d\([^)]*,\s*[1-3]\b",
    Cause.WRONG_GRADIENT: r"def backward|register_hook|register_full_backward",
    Cause.NAN_GRADIENT_OP: r"sqrt|\.log|norm\(|/|\*\*",
    Cause.BATCH_MIXING: r"reshape|\.view\(|permute|transpose|\.t\(|\.T\b|flatten|roll|mean\(",
    Cause.INPUT_IGNORED: r"\*\s*0|zeros_like|ones_like|fill_|randn_like",
    Cause.EXPLODING_ACTIVATIONS: r"\*\s*\d|\d\s*\*",
}
_LOSS: dict[Cause, str] = {
    Cause.SIGN_FLIPPED: r"return\s*-|-\s*F\.|neg\(",
    Cause.SUM_REDUCTION: r"sum",
    Cause.MISSING_LOG_SOFTMAX: r"nll|NLL|gather",
    Cause.LOSS_MISMATCH: r"mse|MSE|l1_loss|\*\*\s*2|square|pow",
    Cause.BAD_CLASS_WEIGHTS: r"weight",
    Cause.LABEL_MAP_MISMATCH: r"\+\s*1|-\s*1|%|target",
}
_DATA: dict[Cause, str] = {
    Cause.NAN_INPUT: r"nan|/|log|sqrt",
    Cause.INPUT_UNSCALED: r"float\(|astype|ToTensor|PILToTensor",
    Cause.DOUBLE_SCALING: r"255",
    Cause.PREPROCESSING_MISMATCH: r"mean|std|Normalize|255",
    Cause.DISTRIBUTION_SHIFT: r"rand|noise|normal",
    Cause.CONSTANT_INPUT: r"\[0\]|expand|zeros|ones|repeat",
    Cause.LABEL_NOISE: r"rand",
    Cause.MISALIGNED_LABELS: r"perm|shuffle|roll|sort",
    Cause.LABEL_MAP_MISMATCH: r"\+\s*1|-\s*1|%|map",
    Cause.INPUT_DESTROYED: r"perm|shuffle",
    Cause.VAL_AUGMENTED: r"rand|Random",
    Cause.AUGMENTATION_TOO_STRONG: r"rand|Random",
    Cause.TOO_LITTLE_DATA: r"Subset|\[:|limit|sample",
    Cause.MISSING_CLASS: r"!=|==|isin|Subset",
    Cause.LEAKAGE: r"Subset|cat\(|split|\+",
    Cause.UNSHUFFLED: r"sort|shuffle",
}


@dataclass(frozen=True)
class OwnCode:
    """What the user wrote, as objects: a model's modules and its maker, losses, data."""

    model: Sequence[object] = ()
    loss: Sequence[object] = ()
    data: Sequence[object] = ()

    def located(self, result: StageResult) -> StageResult:
        """The result with the line that the cause of each finding may lie in."""
        findings = tuple(
            finding.model_copy(update={"where": finding.where or self.line_of(finding.cause)})
            for finding in result.findings
        )
        return result.model_copy(update={"findings": findings})

    def line_of(self, cause: Cause | None) -> str:
        """`net.py:12: x = x.detach()`, the first line that the cause may lie in; empty if none."""
        for patterns, places in ((_MODEL, self.model), (_LOSS, self.loss), (_DATA, self.data)):
            if cause in patterns:
                own = _definitions(places)
                if cause is Cause.WRONG_GRADIENT:  # it is in a Function that the module calls
                    own = list(dict.fromkeys(inspect.getmodule(each) for each in own))
                found = _search(patterns[cause], own)
                if found:
                    return found
        return ""


def _definitions(places: Iterable[object]) -> list[Any]:
    """The classes and functions of the places, each once, as far as they are the user's."""
    found: dict[Any, None] = {}
    for place in places:
        definition = place if inspect.isroutine(place) or inspect.isclass(place) else type(place)
        try:
            file = inspect.getsourcefile(definition)
        except TypeError:  # a builtin
            continue
        if file is not None and is_own_file(file):
            found[definition] = None
    return list(found)


def _search(pattern: str, definitions: Iterable[Any]) -> str:
    for definition in definitions:
        try:
            lines, first = inspect.getsourcelines(definition)
        except (OSError, TypeError):  # typed into a shell, say
            continue
        name = Path(inspect.getsourcefile(definition) or "").name
        for number, line in enumerate(lines, max(first, 1)):  # a module's first is 0
            code = line.split("#")[0].strip()
            if re.search(pattern, code):
                return f"{name}:{number}: {code}"
    return ""
