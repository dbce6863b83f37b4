"""Quality of the data and the answers: finite inputs, enough rows, shapes, finite answers, floors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import canonical_name, get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.validation.gate import CheckResult, GateContext, check, gate, insufficient
from evergreen.tasks.core.verdict import Reason


def check_inputs(
    windows: Mapping[str, pd.DataFrame], numeric: Sequence[str], *, max_infinite: float
) -> CheckResult:
    """Look for infinities in the numeric features of each window; nulls are the contract's matter.

    Parameters
    ----------
    windows : mapping of str to DataFrame
        Rows by the name of their window.
    numeric : sequence of str
        Numeric features; absent ones are the contract's matter too.
    max_infinite : float
        Largest share of ±inf in one column of one window.
    """
    shares = {
        (window, name): share_infinite(frame[name])
        for window, frame in windows.items()
        for name in numeric
        if name in frame.columns and len(frame)
    }
    failed = [
        _infinite(name, window, share, limit=max_infinite, n=len(windows[window]))
        for (window, name), share in shares.items()
        if share > max_infinite
    ]
    rows, worst = sum(map(len, windows.values())), max(shares.values(), default=0.0)
    message = f"{len(numeric)} numeric features hold no more infinities than allowed."
    met = Reason(code="inputs_finite", message=message, observed=worst, limit=max_infinite, n=rows)
    return check("inputs", failed=failed, met=met)


def share_infinite(values: pd.Series) -> float:
    """Return the share of ±inf among all values, 0 to 1.

    Examples
    --------
    >>> share_infinite(pd.Series([1.0, float("inf"), None, 2.0]))
    0.25
    """
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return float(np.isinf(numbers).mean()) if len(numbers) else 0.0


def _infinite(name: str, window: str, share: float, *, limit: float, n: int) -> Reason:
    message = (
        f"Column '{name}' holds {round(share * n)} infinite values in the {window} window "
        f"({share:.2%}, allowed {limit:.2%}); fix the source, or raise contract.max_infinite."
    )
    return Reason(code="infinite_values", message=message, observed=share, limit=limit, n=n)


def check_outputs(scored: Scored) -> CheckResult:
    """Require that every answer is a finite number."""
    score = np.asarray(scored.score, dtype=float)
    bad = int((~np.isfinite(score)).reshape(len(score), -1).any(axis=1).sum())
    n = len(scored.y)
    message = f"{bad} of {n} holdout rows were answered with NaN or infinity."
    reason = Reason(code="answers_not_finite", message=message, observed=bad, limit=0, n=n)
    met = Reason(code="answers_finite", message="Every answer is a finite number.", observed=0, limit=0, n=n)
    return check("outputs", failed=[reason] if bad else [], met=met)


# Performance floors: values a metric must reach whatever the baseline does.


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
        if not metrics[name].sign * (values[name] - floor) >= 0  # NaN reaches none
    ]
    message = f"{len(floors)} performance floors are met." if floors else "No performance floors are set."
    met = Reason(code="floors_met", message=message, observed=len(floors), n=n)
    measured = {f"floor_{name}": floor for name, floor in floors.items()}
    return check("floors", failed=failed, met=met, measured=measured)


def _below(name: str, value: float, floor: float, *, metric: Metric, n: int) -> Reason:
    word, side, code = "floor", "below", "below_floor"
    if not metric.greater_is_better:
        word, side, code = "ceiling", "above", "above_ceiling"
    if math.isnan(value):
        message = f"{name} is undefined on {n} holdout rows (one class, no group?), its {word} is {floor:g}."
        return Reason(code="metric_undefined", message=message, limit=floor, n=n)
    message = f"{name} is {value:.4g} on the holdout, {side} its {word} {floor:g}."
    return Reason(code=code, message=message, observed=value, limit=floor, n=n)


# Shapes and types of the answers, against what the problem calls for.


def check_shapes(scored: Scored, *, problem: str) -> CheckResult:
    """Require one answer a row, of the shape and type the problem calls for.

    Parameters
    ----------
    scored : Scored
        Holdout rows with the model's answers.
    problem : str
        ``binary``, ``multiclass``, ``regression`` or ``ranking``.

    Notes
    -----
    A class among the outcomes that the model does not know is named: no answer of it can be right there.
    """
    n = len(scored.y)
    met = Reason(code="shapes_met", message=f"One answer for each of {n} rows, of the right type.", n=n)
    return check("shapes", failed=list(_problems(scored, problem=problem)), met=met)


def _problems(scored: Scored, *, problem: str) -> Iterator[Reason]:
    n, score = len(scored.y), np.asarray(scored.score)
    width = len(scored.classes)
    expected: tuple[int, ...] = (n, width) if problem == "multiclass" else (n,)
    if score.shape != expected:
        message = f"The answers have shape {score.shape}, a {problem} model must give {expected}."
        yield Reason(code="wrong_shape", message=message, observed=str(score.shape), limit=str(expected), n=n)
    if not np.issubdtype(score.dtype, np.number):
        message = f"The answers are of type {score.dtype}, they must be numbers."
        yield Reason(code="wrong_type", message=message, observed=str(score.dtype), limit="number", n=n)
    if problem in {"binary", "multiclass"} and scored.classes:
        classes = ", ".join(map(str, scored.classes))
        unknown = ", ".join(sorted(map(str, set(np.unique(scored.y)) - set(scored.classes))))
        message = f"The holdout holds classes the model does not know: {unknown}."
        if unknown:
            yield Reason(code="unknown_class", message=message, observed=unknown, limit=classes, n=n)


# The gates of this file, in the order they are run: what later ones need comes first.


@gate("contract", always=True)
def contract_gate(context: GateContext) -> list[CheckResult]:
    """Return the contract's result on each window."""
    return [
        CheckResult(name=f"contract_{result.window}", verdict=result.verdict, warnings=result.warnings)
        for result in context.contract
    ]


@gate("inputs", section="contract.max_infinite", always=True)
def inputs_gate(context: GateContext, max_infinite: float) -> CheckResult:
    """Look for infinities in the numeric features of each window."""
    return check_inputs(context.windows, context.schema.numeric, max_infinite=max_infinite)


@gate("rows", section="validation.min_rows", gives=("answers",), always=True)
def rows_gate(context: GateContext, least: int) -> CheckResult:
    """Require enough labelled rows to judge."""
    n = len(context.scored)
    if n >= least:
        met = Reason(code="rows_met", message=f"{n} holdout rows.", observed=n, limit=least, n=n)
        return check("rows", met=met)
    message = f"The holdout has {n} labelled rows, {least} are needed to judge; enlarge split.holdout."
    return insufficient("rows", Reason(code="too_few_rows", message=message, observed=n, limit=least, n=n))


@gate("shapes", gives=("answers",), always=True)
def shapes_gate(context: GateContext) -> CheckResult:
    """Require one answer a row, of the right shape and type."""
    return check_shapes(context.scored, problem=context.problem)


@gate("outputs", gives=("answers",), always=True)
def outputs_gate(context: GateContext) -> CheckResult:
    """Require answers that are numbers."""
    return check_outputs(context.scored)


@gate("floors", section="validation.floors", needs=("answers",), always=True)
def floors_gate(context: GateContext, floors: Mapping[str, float]) -> CheckResult:
    """Require the least value of each metric that the configuration names."""
    wanted = {canonical_name(name): floor for name, floor in floors.items()}
    metrics = {
        name: context.metric_named(name) or get_metric(name, problem=context.problem) for name in wanted
    }
    values = {name: metric(context.scored) for name, metric in metrics.items()}
    return check_floors(values, wanted, metrics=metrics, n=len(context.scored))
