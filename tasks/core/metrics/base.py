"""What a metric is: a name, a direction, and a sum over rows that is combined at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.metrics.scored import Scored

PROBLEMS = ("binary", "multiclass", "regression", "ranking")


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricParts:
    """The additive parts of a metric."""

    values: FloatArray
    """(u, c), ``c`` numbers per unit; the metric is a function of their sums over units."""
    rows: IntArray
    """(u,), a row of each unit: the row itself, or the first row of a ranking group."""


Components = Callable[[Scored], MetricParts]
Combine = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """A metric by scikit-learn's name."""

    name: str
    """As MLflow accepts it (``ndcg_at_3``)."""
    problems: frozenset[str]
    """Where it is defined: ``binary``, ``multiclass``, ``regression``, ``ranking``."""
    greater_is_better: bool = True
    """False for losses and errors."""
    bounded: bool = True
    """True for scores within 0..1 (or close to it: r2, correlation) where a difference is read as it stands;
    False for losses, errors and amounts, which are read relative to the champion."""
    needs: str = "score"
    """``score``, ``label`` (decided classes) or ``value`` (the business column)."""
    components: Components | None = None
    combine: Combine | None = None
    """``components(scored) -> MetricParts`` and ``combine(sums (..., c)) -> (...)``; both or none."""
    function: Callable[[Scored], float] | None = None
    """``(scored) -> float`` for metrics that are no function of sums."""
    influence: Callable[[Scored], FloatArray] | None = None
    """``(scored) -> (n,)`` values with mean 0; the metric's change is about their mean over a resample."""

    def __call__(self, scored: Scored) -> float:
        """Return the metric; ``nan`` on no rows and wherever it is undefined (one class, no group, …)."""
        if len(scored) == 0:
            return float("nan")
        if self.components is not None and self.combine is not None:
            return float(self.combine(self.components(scored).values.sum(axis=0)))
        if self.function is None:
            raise TypeError(f"Metric '{self.name}' has neither components nor a function.")
        return float(self.function(scored))

    @property
    def sign(self) -> int:
        """+1 where greater is better, -1 for losses and errors."""
        return 1 if self.greater_is_better else -1

    def improvement(self, champion: FloatArray | float, challenger: FloatArray | float) -> FloatArray:
        """Return how much better the challenger is: absolute when bounded, else relative to the champion.

        ``nan`` where the champion is exactly 0 and the metric is relative.
        """
        before, after = np.asarray(champion, dtype=np.float64), np.asarray(challenger, dtype=np.float64)
        gain = self.sign * (after - before)
        return gain if self.bounded else ratio(gain, np.abs(before))


def error_metric(
    name: str,
    problems: frozenset[str],
    *,
    components: Components | None = None,
    combine: Combine | None = None,
    function: Callable[[Scored], float] | None = None,
) -> Metric:
    """Make a loss or an error, read relative to the champion; of components the mean unless ``combine`` is given."""
    if components is not None and combine is None:
        combine = mean_of_first
    kind: dict[str, Any] = {"greater_is_better": False, "bounded": False, "problems": problems}
    return Metric(name=name, **kind, components=components, combine=combine, function=function)


def custom_metric(
    name: str,
    function: Callable[[Scored], float],
    *,
    greater_is_better: bool,
    bounded: bool = False,
    needs: str = "score",
    problems: tuple[str, ...] = PROBLEMS,
) -> Metric:
    """Make a metric of a team's own function ``(scored) -> float``; it is compared by the jackknife."""
    kind: dict[str, Any] = {"greater_is_better": greater_is_better, "bounded": bounded, "needs": needs}
    return Metric(name=name, problems=frozenset(problems), function=function, **kind)


def ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """Divide; ``nan`` where the bottom is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def row_parts(scored: Scored, *columns: FloatArray) -> MetricParts:
    """Stack per-row columns and a last column of ones, all times the row's weight."""
    values = np.column_stack([*columns, np.ones(len(scored))])
    if scored.weight is not None:
        values = values * np.asarray(scored.weight, dtype=np.float64)[:, None]
    return MetricParts(values=values, rows=np.arange(len(scored)))


def mean_of_first(sums: FloatArray) -> FloatArray:
    """Combine ``(…, 2)`` sums of (value, weight) to the mean value."""
    return ratio(sums[..., 0], sums[..., -1])
