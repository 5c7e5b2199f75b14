"""What a classifier that needs no training reaches, for the report and for later stages."""

from __future__ import annotations

from typing import Any

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.data.agreement import Guesses, agree
from nnrecipe.checks.data.amount import learning_curve
from nnrecipe.checks.data.readings import read


def baseline(bench: Bench) -> dict[str, Any]:
    """Facts by name; none where there are too few examples, or all are the same.

    `reference_accuracy` (`reference_r2` of numbers and labels) is that in validation of a kernel
    ridge regression on the plain inputs, which any network should reach; what is in `agreement` and
    `learning_curve` also looks at patches of images.
    """
    agreement, curve = bench.once(agree), bench.once(learning_curve)
    if agreement is None or curve is None:
        return {}
    single = bench.outputs.task == "single_label"
    count = len(bench.once(read).train)
    return {
        f"reference_{'accuracy' if single else 'r2'}": _rounded(agreement.simple),
        "reference": f"kernel ridge regression on the inputs of {count} training examples",
        "agreement": {
            "training": _rounded(agreement.train),
            "validation": _rounded(agreement.val),
            "validation by itself": _rounded(agreement.within_val),
            "chance": round(agreement.val.chance, 4),
        },
        "learning_curve": {
            f"{count // 2} examples": round(curve.half, 4),
            f"{count} examples": round(curve.whole, 4),
        },
        "examples_per_output": round(len(bench.data.train) / bench.outputs.size, 1),
    }


def _rounded(guesses: Guesses) -> float:
    return round(guesses.score, 4)
