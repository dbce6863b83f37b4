"""Performance on labelled rows: a metric, how well so few rows can know it, and how far it fell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.drift.performance_bounds import bound_metric
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import BoolArray, IntArray, Scored


@dataclass(frozen=True, kw_only=True)
class Performance:
    """A metric on some rows, and what those rows know of it.

    Attributes
    ----------
    metric : str
        Its name.
    value : float
        The metric; NaN where it is undefined on these rows.
    low, high : float
        Interval at confidence ``level``.
    se : float
        Standard error of ``value``.
    n : int
        Rows with a known outcome, or groups of a ranking; of an estimate all rows.
    level : float
        Confidence of the interval.
    method : str
        How the interval was made (`tasks.core.drift.performance_bounds`), ``outcome_draws`` of an estimate, or
        ``undefined``.
    estimated : bool
        True where no outcome is known and the value follows from the scores.
    """

    metric: str
    value: float
    low: float = math.nan
    high: float = math.nan
    se: float = math.nan
    n: int = 0
    level: float = 0.95
    method: str = "undefined"
    estimated: bool = False

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; what is not finite is null."""
        return {name: _json(value) for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Performance:
        """Return the performance written by ``to_dict``."""
        kept: dict[str, Any] = {
            field.name: math.nan if plain[field.name] is None else plain[field.name]
            for field in fields(cls)
            if field.name in plain
        }
        return cls(**kept)


def measure_performance(
    scored: Scored, metric: Metric, *, level: float = 0.95, blocks: IntArray | None = None
) -> Performance:
    """Measure a metric on the rows whose outcome is known, with an interval for its long-run value.

    Rows are taken as independent unless ``blocks`` says which belong together; then the jackknife goes over
    blocks, widened for the correlation of neighbouring ones.

    Parameters
    ----------
    scored : Scored
        Rows in time order; those without an outcome (NaN, None) are left out.
    metric : Metric
        What is measured.
    level : float
        Confidence of the interval.
    blocks : array of int, shape (n,), optional
        Block of each row.

    Returns
    -------
    Performance
        Undefined (all NaN) without rows, with one class where two are needed, without a group that has a relevant
        row, and where the metric needs a column the rows lack.

    See Also
    --------
    tasks.core.drift.estimate.estimate_performance : where no outcome is known yet.

    Examples
    --------
    >>> from tasks.core.metrics.registry import get_metric
    >>> rows = Scored(y=np.array([0, 0, 1, 1, np.nan]), score=np.array([0.2, 0.6, 0.7, 0.9, 0.5]))
    >>> found = measure_performance(rows, get_metric("accuracy", problem="binary"))
    >>> found.value, found.n, round(found.low, 3), round(found.high, 3)
    (0.75, 4, 0.301, 0.954)
    """
    known = is_labelled(scored)
    rows = scored.take(known)
    lacks = metric.needs == "value" and rows.value is None
    value = math.nan if lacks else metric(rows)
    if not math.isfinite(value):
        return Performance(metric=metric.name, value=math.nan, n=len(rows), level=level)
    chosen = None if blocks is None else np.asarray(blocks)[known]
    found = bound_metric(rows, metric, value, level=level, blocks=chosen)
    return Performance(metric=metric.name, value=value, level=level, **found._asdict())


def is_labelled(scored: Scored) -> BoolArray:
    """Return which rows have a known outcome, shape (n,)."""
    return np.asarray(pd.notna(scored.y), dtype=np.bool_)


def worsening(value: float, reference: float, *, metric: Metric) -> float:
    """Return by how much a value is worse than the reference, in the metric's unit; negative when better."""
    return metric.sign * (reference - value)


def relative_drop(value: float, reference: float, *, metric: Metric) -> float:
    """Return the worsening as a share of the reference; NaN for a reference of 0.

    >>> from tasks.core.metrics.registry import get_metric
    >>> round(relative_drop(11.0, 10.0, metric=get_metric("rmse", problem="regression")), 3)
    0.1
    """
    return worsening(value, reference, metric=metric) / abs(reference) if reference else math.nan


def describe_performance(
    found: Performance | None, standard: Performance, *, metric: Metric
) -> dict[str, Any] | None:
    """Return the performance of a window for JSON: the value beside the reference, and the relative drop."""
    if found is None:
        return None
    drop = relative_drop(found.value, standard.value, metric=metric) if standard.defined else math.nan
    reference = standard.value if standard.defined else None
    return {**found.to_dict(), "reference": reference, "drop": drop if math.isfinite(drop) else None}


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
