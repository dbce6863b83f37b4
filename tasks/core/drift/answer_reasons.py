"""Why a window's answers do not say something."""

from __future__ import annotations

from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import Scored
from tasks.core.verdict import Reason


def too_few_labelled(labelled: int, rows: int, *, least: int) -> Reason | None:
    """Return why a window with so few known outcomes says nothing of them; None where they are enough."""
    if labelled >= least:
        return None
    return Reason(
        code="too_few_labelled",
        message=f"{labelled} of {rows} rows have a known outcome; {least} are needed (monitoring.min_rows). Larger "
        "windows, or a longer data.label_delay, would bring them.",
        observed=labelled,
        limit=least,
        n=rows,
    )


def undefined_metric(rows: Scored, metric: Metric) -> Reason:
    """Return why a window has no value of the metric."""
    return Reason(
        code="metric_undefined",
        message=f"{metric.name} is undefined on these {len(rows)} labelled rows (one class only, no group with a "
        "relevant row, or a column it needs is missing). Larger windows would do.",
        n=len(rows),
    )


def no_standard(what: str) -> Reason:
    """Return why a window's value has nothing to be compared with."""
    return Reason(
        code="no_reference_value",
        message=f"The version was kept without its own {what} at training, so there is nothing to compare with. "
        "Train a new version.",
        observed=what,
    )


def one_class(rows: Scored) -> Reason:
    """Return why a window says nothing of the links of features and outcome."""
    return Reason(
        code="one_class",
        message=f"All {len(rows)} labelled rows are of one class, so that no feature can be linked with the outcome. "
        "Larger windows would do.",
        observed=1,
        limit=2,
        n=len(rows),
    )
