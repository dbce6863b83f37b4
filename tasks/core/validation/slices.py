"""The worst slice: no part of the rows may be left far behind the whole, beyond what noise explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from evergreen.tasks.core.config.evaluation import SliceConfig
from evergreen.tasks.core.contract.contract import as_text
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.validation.gate import CheckResult, GateContext, check, gate
from evergreen.tasks.core.verdict import Reason

_FOLDS = 20
_MOST_VALUES = 20
_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class SliceMeasure:
    """One slice: its metric, how far it falls behind the whole (positive = worse), the standard error, rows."""

    column: str
    value: str
    metric: float
    drop: float
    standard_error: float
    n: int


def slice_labels(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, pd.Series]:
    """Return each row's slice by column; numbers of many values are cut at their quartiles, nulls are a slice.

    Parameters
    ----------
    frame : DataFrame, shape (n, columns)
        Holdout rows.
    columns : sequence of str
        Columns to slice by.

    Returns
    -------
    dict of str to Series, shape (n,)
        Text labels.
    """
    return {name: _labels(frame[name]) for name in columns}


def default_columns(frame: pd.DataFrame, categorical: Sequence[str]) -> list[str]:
    """Return the categorical features of 2 to 20 values."""
    return [
        name
        for name in categorical
        if name in frame.columns and 2 <= frame[name].nunique(dropna=False) <= _MOST_VALUES
    ]


def _labels(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > _MOST_VALUES:
        values = pd.qcut(values, 4, duplicates="drop").astype(str).where(values.notna())
    return as_text(values).fillna("(null)")


def measure_slices(
    scored: Scored, labels: Mapping[str, pd.Series], *, metric: Metric, min_rows: int
) -> list[SliceMeasure]:
    """Measure the metric in every slice of at least ``min_rows`` rows where it is defined.

    Parameters
    ----------
    scored : Scored
        Holdout rows, shape (n,).
    labels : mapping of str to Series
        Slices by column, from ``slice_labels``.
    metric : Metric
        The deciding metric.
    min_rows : int
        Smaller slices are not judged.

    Returns
    -------
    list of SliceMeasure
        Drops are absolute for bounded metrics, else relative to the whole. A ranking is sliced only by what
        is constant within its groups: part of a race has no ranking of its own.
    """
    whole = metric(scored)
    measures = []
    for column, values in labels.items():
        grouped = None if scored.group is None else values.reset_index(drop=True).groupby(scored.group)
        if grouped is not None and (grouped.nunique() > 1).any():
            continue
        codes, names = pd.factorize(values, sort=True)
        parts = [(name, scored.take(np.flatnonzero(codes == code))) for code, name in enumerate(names)]
        measures += [
            _measure(part, column=column, value=str(name), metric=metric, whole=whole)
            for name, part in parts
            if len(part) >= min_rows and np.isfinite(metric(part))
        ]
    return measures


def _measure(part: Scored, *, column: str, value: str, metric: Metric, whole: float) -> SliceMeasure:
    here = metric(part)
    scale = 1.0 if metric.bounded else abs(whole)
    return SliceMeasure(
        column=column,
        value=value,
        metric=here,
        drop=metric.sign * (whole - here) / scale if scale else 0.0,
        standard_error=_standard_error(part, metric) / scale if scale else 0.0,
        n=len(part.y),
    )


def _standard_error(part: Scored, metric: Metric) -> float:
    """Return the delete-a-fold jackknife error of the metric; folds are runs of neighbours (or of groups)."""
    units = np.arange(len(part.y)) if part.group is None else pd.factorize(part.group)[0]
    count = int(units.max()) + 1
    folds = min(_FOLDS, count)
    fold = units * folds // count
    left_out = np.array([metric(part.take(np.flatnonzero(fold != k))) for k in range(folds)])
    left_out = left_out[np.isfinite(left_out)]
    if len(left_out) < 2:
        return float("inf")
    m = len(left_out)
    return float(np.sqrt((m - 1) / m * ((left_out - left_out.mean()) ** 2).sum()))


def check_slices(measures: Sequence[SliceMeasure], *, metric: Metric, max_drop: float) -> CheckResult:
    """Fail when a slice is left behind by more than ``max_drop`` and noise does not explain it.

    Notes
    -----
    A slice fails only when the lower bound of its drop exceeds the limit: one-sided 5 % shared by all slices
    (Bonferroni), t with 19 degrees of freedom. A drop beyond the limit that noise may explain is warned about.
    """
    if not measures:
        return check("slices", met=Reason(code="no_slices", message="No slice is large enough to judge."))
    quantile = float(stats.t.isf(_LEVEL / len(measures), _FOLDS - 1))
    certain = [m for m in measures if m.drop - quantile * m.standard_error > max_drop]
    possible = [m for m in measures if m.drop > max_drop and m not in certain]
    worst = max(measures, key=lambda m: m.drop)
    where = f"{worst.column} = {worst.value}"
    message = f"Worst of {len(measures)} slices: {where}, {metric.name} {worst.metric:.4g}."
    return check(
        "slices",
        failed=[_behind(m, metric, max_drop) for m in certain],
        met=_reason("slices_met", message, worst, max_drop),
        warnings=[_behind(m, metric, max_drop, noise=True) for m in possible],
        measured={"worst_slice": worst.metric, "worst_slice_drop": worst.drop},
    )


def _behind(measure: SliceMeasure, metric: Metric, max_drop: float, *, noise: bool = False) -> Reason:
    kind = "" if metric.bounded else " (relative)"
    tail = "; so few rows may show that by chance." if noise else "."
    message = (
        f"Where {measure.column} = {measure.value}, {metric.name} is {measure.metric:.4g}, "
        f"{measure.drop:.3g}{kind} worse than on all rows, allowed {max_drop:g}{tail}"
    )
    return _reason("slice_behind", message, measure, max_drop)


def _reason(code: str, message: str, measure: SliceMeasure, max_drop: float) -> Reason:
    return Reason(code=code, message=message, observed=measure.drop, limit=max_drop, n=measure.n)


@gate("slices", section="validation.slices", needs=("answers",), always=True)
def slices_gate(context: GateContext, wanted: SliceConfig) -> CheckResult:
    """Require that no slice of the holdout falls far behind the whole."""
    frame = context.holdout.frame
    absent = [name for name in wanted.columns if name not in frame.columns]
    if absent:
        raise ConfigError(
            f"validation.slices.columns names '{absent[0]}', which the data do not have; columns: "
            f"{', '.join(map(str, frame.columns))}. Correct the name or remove it."
        )
    public = [name for name in context.schema.categorical if name not in context.config.data.private]
    columns = wanted.columns or default_columns(frame, public)
    labels, metric = slice_labels(frame, columns), context.metric
    measures = measure_slices(context.scored, labels, metric=metric, min_rows=wanted.min_rows)
    return check_slices(measures, metric=metric, max_drop=wanted.max_drop)
