"""Performance floors: values a metric must reach whatever the baseline does."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tasks.core.gates.result import CheckResult, check
from tasks.core.metrics.registry import Metric
from tasks.core.verdict import Reason


def check_floors(
    values: Mapping[str, float], floors: Mapping[str, float], *, metrics: Mapping[str, Metric], n: int
) -> CheckResult:
    """Compare measured metrics with their floors; for errors and losses the floor is a ceiling.

    Parameters
    ----------
    values, floors : mapping of str to float
        Holdout value and least (errors: largest) allowed value by metric name.
    metrics : mapping of str to Metric
        Each metric of ``floors``, for its direction.
    n : int
        Holdout rows.

    Notes
    -----
    An undefined (NaN) metric fails: nothing was shown to reach the floor.
    """
    failed = [
        _below(name, values[name], floor, metric=metrics[name], n=n)
        for name, floor in floors.items()
        if not _reaches(values[name], floor, metric=metrics[name])
    ]
    said = f"{len(floors)} performance floors are met." if floors else "No performance floors are set."
    met = Reason(code="floors_met", message=said, observed=len(floors), n=n)
    return check(
        "floors", failed=failed, met=met, measured={f"floor_{name}": floor for name, floor in floors.items()}
    )


def _reaches(value: float, floor: float, *, metric: Metric) -> bool:
    return not math.isnan(value) and metric.sign * (value - floor) >= 0


def _below(name: str, value: float, floor: float, *, metric: Metric, n: int) -> Reason:
    word = "floor" if metric.greater_is_better else "ceiling"
    if math.isnan(value):
        return Reason(
            code="metric_undefined",
            message=f"{name} is undefined on {n} holdout rows (one class, no group?), its {word} is {floor:g}.",
            limit=floor,
            n=n,
        )
    side = "below" if metric.greater_is_better else "above"
    return Reason(
        code="below_floor" if metric.greater_is_better else "above_ceiling",
        message=f"{name} is {value:.4g} on the holdout, {side} its {word} {floor:g}.",
        observed=value,
        limit=floor,
        n=n,
    )
