"""What several runs of one recipe, each with its own seed, have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from nnrecipe.core.findings import Report


def over_seeds(reports: Sequence[Report]) -> str:
    """Each metric's mean and standard deviation over the runs that have it, a line for each."""
    names = dict.fromkeys(name for report in reports for name in report.metrics)
    lines = [f"over {len(reports)} seeds"]
    for name in names:
        values = [float(report.metrics[name]) for report in reports if name in report.metrics]
        spread = stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
        lines.append(f"{name:<16} mean {mean(values):.4f}  sd {spread:.4f}  n {len(values)}")
    return "\n".join(lines)
