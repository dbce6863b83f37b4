"""Calibration of scores: whether they are the probabilities they look like, on rows whose outcome is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from tasks.core.drift.performance import is_labelled
from tasks.core.metrics.scored import BoolArray, FloatArray, Scored

BINS = 20


@dataclass(frozen=True, kw_only=True)
class ScoreCalibration:
    """How far scores are from the shares of outcomes they promise; of several classes the worst.

    Attributes
    ----------
    error : float
        Root mean square of the difference in 20 bins of equal mass, less what chance alone brings (Kumar, Liang &
        Ma 2019); 0 where chance explains it all.
    expected_error : float
        The usual expected calibration error in the same bins, chance included (Naeini, Cooper & Hauskrecht 2015).
    p_value : float
        Of perfect calibration (chi-square over the bins, as Hosmer & Lemeshow 1980 with known scores).
    n : int
        Rows.
    """

    error: float
    expected_error: float
    p_value: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {name: None if math.isnan(value) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ScoreCalibration:
        """Return the calibration written by ``to_dict``."""
        kept: dict[str, Any] = {name: math.nan if value is None else value for name, value in plain.items()}
        return cls(**kept)


def measure_calibration(scored: Scored) -> ScoreCalibration | None:
    """Measure the calibration of probabilities on labelled rows; None where scores are no probabilities.

    Parameters
    ----------
    scored : Scored
        With ``classes``; rows the model has not learned from.

    Returns
    -------
    ScoreCalibration or None
        All NaN without rows.

    Examples
    --------
    >>> said, came = np.repeat([0.25, 0.75], 400), np.repeat([0, 1, 0, 1], [300, 100, 100, 300])
    >>> found = measure_calibration(Scored(y=came, score=said, classes=(0, 1)))
    >>> found.error, round(found.p_value, 3)
    (0.0, 1.0)
    """
    if not scored.classes or scored.score is None:
        return None
    rows = scored.take(is_labelled(scored))
    if not len(rows):
        return ScoreCalibration(error=math.nan, expected_error=math.nan, p_value=math.nan, n=0)
    if rows.is_binary:
        return _of_class(rows.positive_score, rows.truth)
    found = [
        _of_class(rows.require("score")[:, place].astype(np.float64), np.asarray(rows.y == label))
        for place, label in enumerate(rows.classes)
    ]
    return max(found, key=lambda one: one.error)


def _of_class(score: FloatArray, came: BoolArray) -> ScoreCalibration:
    n = len(score)
    ordered = np.sort(score)
    edges = np.unique(ordered[np.arange(1, BINS) * n // BINS])  # rows of equal score share a bin
    code = np.searchsorted(edges, score, side="right")
    rows = np.bincount(code, minlength=BINS).astype(np.float64)
    gap = np.bincount(code, weights=came - score, minlength=BINS)
    chance = np.bincount(code, weights=score * (1 - score), minlength=BINS)
    used = rows > 0
    rows, gap, chance = rows[used], gap[used], chance[used]
    square = float(((gap**2 - chance) / rows).sum() / n)
    statistic = float((gap**2 / np.maximum(chance, 1e-12)).sum())
    return ScoreCalibration(
        error=math.sqrt(max(square, 0.0)),
        expected_error=float(np.abs(gap).sum() / n),
        p_value=float(chi2.sf(statistic, len(rows))),
        n=n,
    )
