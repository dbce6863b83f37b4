"""What decisions are worth: the business metric, by a value per row."""

from __future__ import annotations

import numpy as np

from tasks.core.errors import ConfigError
from tasks.core.metrics.base import Metric, Parts, mean_of_first, row_parts
from tasks.core.metrics.labels import class_codes
from tasks.core.metrics.ranking import value_of_first
from tasks.core.metrics.scored import Scored


def business_metric(
    problem: str,
    *,
    true_positive: float = 1.0,
    false_positive: float = 0.0,
    false_negative: float = 0.0,
    true_negative: float = 0.0,
    action_cost: float = 0.0,
) -> Metric:
    """Make ``business_value``, the mean worth of a row's decision in the unit of the value column.

    Parameters
    ----------
    problem : str
        ``binary``: the gain of the row's outcome times its value. ``multiclass``: ``true_positive`` where
        the class is right, ``false_positive`` where it is wrong. ``ranking``: the value of the row ranked
        first in each group (ties share); only ``action_cost`` applies.
    true_positive, false_positive, false_negative, true_negative : float
        Multiples of the row's value gained (negative: lost).
    action_cost : float
        Fixed cost of each positive decision (ranking: of each group).

    Raises
    ------
    ConfigError
        For regression, where no decision is taken.
    """
    if problem == "ranking":
        return value_of_first(cost=action_cost)
    if problem not in ("binary", "multiclass"):
        raise ConfigError(
            f"business_value is not defined for a {problem} model. Allowed: binary, multiclass, ranking. "
            "Remove evaluation.business, or name a custom metric."
        )
    gains = np.array([[true_negative, false_positive], [false_negative, true_positive]])

    def components(scored: Scored) -> Parts:
        value = scored.require("value").astype(np.float64)
        truth, called, _ = class_codes(scored)
        if scored.is_binary:
            return row_parts(scored, value * gains[truth, called] - action_cost * called)
        return row_parts(
            scored, value * np.where(truth == called, true_positive, false_positive) - action_cost
        )

    return Metric(
        name="business_value",
        problems=frozenset({problem}),
        greater_is_better=True,
        bounded=False,
        needs="value",
        components=components,
        combine=mean_of_first,
    )
