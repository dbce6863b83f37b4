"""Data quality: infinite numbers that go in, and answers that are no numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.core.gates.result import CheckResult, check
from tasks.core.metrics.scored import Scored
from tasks.core.verdict import Reason


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
    found = {
        (window, name): share_infinite(frame[name])
        for window, frame in windows.items()
        for name in numeric
        if name in frame.columns and len(frame)
    }
    failed = [
        _infinite(name, window, share, limit=max_infinite, n=len(windows[window]))
        for (window, name), share in found.items()
        if share > max_infinite
    ]
    rows = sum(len(frame) for frame in windows.values())
    met = Reason(
        code="inputs_finite",
        message=f"{len(numeric)} numeric features hold no more infinities than allowed.",
        observed=max(found.values(), default=0.0),
        limit=max_infinite,
        n=rows,
    )
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
    return Reason(
        code="infinite_values",
        message=(
            f"Column '{name}' holds {round(share * n)} infinite values in the {window} window "
            f"({share:.2%}, allowed {limit:.2%}); mend the source, or raise contract.max_infinite."
        ),
        observed=share,
        limit=limit,
        n=n,
    )


def check_outputs(scored: Scored) -> CheckResult:
    """Require that every answer is a finite number."""
    score = np.asarray(scored.score, dtype=float)
    bad = int((~np.isfinite(score)).reshape(len(score), -1).any(axis=1).sum())
    n = len(scored.y)
    reason = Reason(
        code="answers_not_finite",
        message=f"{bad} of {n} holdout rows were answered with NaN or infinity.",
        observed=bad,
        limit=0,
        n=n,
    )
    met = Reason(code="answers_finite", message="Every answer is a finite number.", observed=0, limit=0, n=n)
    return check("outputs", failed=[reason] if bad else [], met=met)
