"""How complete labels are: which share of the predictions of a cohort is labelled after how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.errors import DataError, InputError
from tasks.core.metrics.scored import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Maturity:
    """Labels by cohort and age; parts with the same cohorts' length and ages add up.

    Attributes
    ----------
    starts : array, shape (d,)
        Where each cohort begins on the clock, ascending; cohort d holds predictions in [start, start + length).
    length : float
        Of a cohort, in the clock's unit.
    ages : array, shape (k,)
        Ascending, in the clock's unit.
    rows : array, shape (d,)
        Predictions.
    known : array, shape (d, k)
        Of these, how many had a label at most that age after the prediction.
    now : float
        Position as of which labels were counted.
    """

    starts: FloatArray
    length: float
    ages: FloatArray
    rows: FloatArray
    known: FloatArray
    now: float

    @property
    def reached(self) -> Any:
        """Which cells can be known: the whole cohort is that old; shape (d, k)."""
        return self.starts[:, None] + self.length + self.ages <= self.now

    @property
    def shares(self) -> FloatArray:
        """Labelled share of each cohort at each age, shape (d, k); NaN where the cohort is too young."""
        return np.where(self.reached, self.known / self.rows[:, None], np.nan)

    def curve(self) -> FloatArray:
        """Return the share labelled by each age, shape (k,), over all cohorts that are old enough for it.

        From one age to the next by the cohorts that reached it (Kaplan & Meier 1958), so that young cohorts count
        as far as they go and the curve never falls. NaN from the age on that no cohort has reached.

        Examples
        --------
        >>> days = np.array([0.0, 0.2, 0.4, 1.1])
        >>> found = measure_maturity(days, days + [0.5, 1.5, np.nan, 0.5], now=3.0, length=1.0, ages=[1.0, 2.0])
        >>> found.curve().round(3).tolist()
        [0.5, 0.75]
        """
        before = np.column_stack([np.zeros(len(self.rows)), self.known[:, :-1]])
        open_rows = np.where(self.reached, self.rows[:, None] - before, 0.0).sum(axis=0)
        fresh = np.where(self.reached, self.known - before, 0.0).sum(axis=0)
        seen = self.reached.any(axis=0) if len(self.rows) else np.zeros(len(self.ages), dtype=np.bool_)
        stays = 1 - np.divide(fresh, open_rows, out=np.zeros(len(fresh)), where=open_rows > 0)
        return np.where(np.logical_and.accumulate(seen), 1 - np.cumprod(stays), np.nan)

    def __add__(self, other: Maturity) -> Maturity:
        """Return the labels of both parts as of the earlier of their moments.

        Raises
        ------
        InputError
            When cohorts or ages differ.
        """
        if self.length != other.length or not np.array_equal(self.ages, other.ages):
            raise InputError("Labels by cohort add up only for equal ages and equal lengths of cohorts.")
        starts, codes = np.unique(np.append(self.starts, other.starts), return_inverse=True)
        rows, known = np.zeros(len(starts)), np.zeros((len(starts), len(self.ages)))
        np.add.at(rows, codes, np.append(self.rows, other.rows))
        np.add.at(known, codes, np.vstack([self.known, other.known]))
        return Maturity(
            starts=starts, length=self.length, ages=self.ages, rows=rows, known=known,
            now=min(self.now, other.now),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, one entry a cohort; null where it is too young."""
        shares = [[None if np.isnan(cell) else float(cell) for cell in row] for row in self.shares]
        cohorts = [
            {"start": float(start), "rows": int(rows), "shares": row}
            for start, rows, row in zip(self.starts, self.rows, shares, strict=True)
        ]
        curve = [None if np.isnan(share) else float(share) for share in self.curve()]
        return {"length": self.length, "ages": self.ages.tolist(), "curve": curve, "cohorts": cohorts}


def measure_maturity(positions: Any, known_at: Any, *, now: float, length: float, ages: Any) -> Maturity:
    """Count by cohort and age which predictions had a label.

    Parameters
    ----------
    positions, known_at : array, shape (n,)
        Of each prediction, and of when its label became known (NaN: not yet).
    now : float
        Position on the clock; later predictions and labels do not count.
    length : float
        Of a cohort, e.g. 86400.0 for days on a clock of seconds.
    ages : array, shape (k,)
        After how long to count, ascending.

    Raises
    ------
    InputError
        For a length that is not positive or ages that do not ascend from 0 on.
    DataError
        When the two columns differ in length.
    """
    place, known, steps = (np.asarray(x, dtype=np.float64) for x in (positions, known_at, ages))
    if not length > 0 or steps.ndim != 1 or not steps.size or steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise InputError(
            f"Cohorts of length {length} and ages {steps.tolist()} are not allowed. "
            "Allowed: a positive length, and ages that ascend from 0 on."
        )
    if place.shape != known.shape:
        raise DataError(
            f"{place.size} positions and {known.size} label times differ in number. Give one each."
        )
    there = place <= now
    place, known = place[there], known[there]
    starts, codes = np.unique(np.floor(place / length) * length, return_inverse=True)
    rows = np.bincount(codes, minlength=len(starts)).astype(np.float64)
    cells = np.zeros((len(starts), steps.size + 1))
    labelled = known <= now  # False for NaN
    delays = np.searchsorted(steps, known[labelled] - place[labelled], side="left")
    np.add.at(cells, (codes[labelled], delays), 1.0)
    counted = np.cumsum(cells[:, :-1], axis=1)
    return Maturity(starts=starts, length=length, ages=steps, rows=rows, known=counted, now=now)
