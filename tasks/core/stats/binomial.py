"""The two-sided binomial test, for cells too rare for χ²."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import betainc

from tasks.core.stats.vectors import Number, plain

_LEAST = 1e-300


def binomial_p_value(successes: Any, trials: Any, probability: Any) -> Number:
    """Test a number of successes against a known probability: twice the lesser tail, at most 1.

    Null: every trial succeeds with ``probability``; trials are independent. Exact, hence never above its level, and
    below it for few trials; 1 without trials.

    Parameters
    ----------
    successes, trials : array, shape (…)
        Whole numbers; no more successes than trials.
    probability : array, shape (…)
        0..1.

    Returns
    -------
    float or array, shape (…)
        NaN where an argument is.

    Notes
    -----
    Clopper & Pearson (1934), whose interval it belongs to.

    Examples
    --------
    >>> round(binomial_p_value(4, 5, 0.1), 6)
    0.00092
    """
    x, t, p = (np.asarray(each, dtype=np.float64) for each in (successes, trials, probability))
    at_least = np.where(x > 0, betainc(np.maximum(x, _LEAST), t - x + 1, p), 1.0)
    at_most = np.where(x < t, 1 - betainc(x + 1, np.maximum(t - x, _LEAST), p), 1.0)
    return plain(np.minimum(1.0, 2 * np.minimum(at_least, at_most)))
