"""What must be in order before any winner is named: the split, the labels, the answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.ab_testing.definition import ARMS, BLOCK, SPLIT_LEVEL, LiveTest
from evergreen.tasks.core.ab_testing.evidence import Evidence
from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import DataError, InputError
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.stats.dependence import MIN_BLOCKS
from evergreen.tasks.core.stats.sequential_counts import log_split_e_value
from evergreen.tasks.core.verdict import Reason

MIN_UNITS = {"arms": 200, "paired": 30, "block": MIN_BLOCKS}
"""Units on the smaller side (pairs, blocks) below which nothing is judged: spreads are not known yet."""
_E_LEVEL = SPLIT_LEVEL / 2
"""Level of each check by an e-value: the split and the outcomes share the whole."""
_MAX_SHARE = 0.01
"""Share of units in two arms, of answers that failed, of rows that a shadow missed, which is still put up with."""
DATA_QUALITY_SUSPECTED = "data_quality_suspected"
"""Code of the reason that more than this was observed, which may be chance: none wins, and the test goes on."""
_MATURE = 0.8
"""Share of rows with an outcome from which outcomes that come as they come are judged."""


def least_units(test: LiveTest) -> int:
    """Return how many units the smaller side must have before anything is judged."""
    return MIN_UNITS[BLOCK if test.unit == BLOCK else test.mode]


def check_test(evidence: Evidence, test: LiveTest) -> tuple[Reason, ...]:
    """Return what forbids to name a winner; empty when all is in order.

    ``sample_ratio_mismatch``: the units do not fall into the arms as declared; ``labels_differ``: they do, but
    their outcomes do not; ``unit_contamination``: one unit in several arms; ``undefined_metric_rate``: a side's
    metric is undefined; ``shadow_coverage_low``: rows that the shadow should have scored and has not; ``immature``:
    without a follow-up, too few outcomes have come yet. All but the last are tested at half of `SPLIT_LEVEL`
    by an e-value, at any time. What is above its limit, perhaps by chance, is ``data_quality_suspected``.
    """
    reasons = _check_arms(evidence, test) if test.mode == ARMS else _check_shadows(evidence, test)
    return (*reasons, *_check_answers(evidence, test), *_check_maturity(evidence, test))


def split_facts(evidence: Evidence, test: LiveTest) -> dict[str, object]:
    """Return the check of the split as it is shown: units due and expected by arm, and its p-value at any time."""
    if test.mode != ARMS:
        return {}
    counts = [evidence.arm(arm.name).assigned() for arm in test.arms]
    whole = math.fsum(arm.share for arm in test.arms)
    log_e = float(log_split_e_value(counts, [arm.share for arm in test.arms]))
    return {
        "units": {arm.name: count for arm, count in zip(test.arms, counts, strict=True)},
        "expected": {arm.name: sum(counts) * arm.share / whole for arm in test.arms},
        "p_value": min(1.0, math.exp(-log_e)),
        "level": _E_LEVEL,
        "crossed": len(evidence.crossed()),
    }


def _check_arms(evidence: Evidence, test: LiveTest) -> Iterator[Reason]:
    shares = [arm.share for arm in test.arms]
    arms = [evidence.arm(arm.name) for arm in test.arms]
    assigned, labelled = [arm.assigned() for arm in arms], [arm.labelled() for arm in arms]
    names = ", ".join(arm.name for arm in test.arms)
    split, late = (float(log_split_e_value(counts, shares)) for counts in (assigned, labelled))
    if split >= -math.log(_E_LEVEL):
        message = (
            f"{names} have {_listed(assigned)} units; declared are {_listed(shares)}. Something sends or logs "
            "units differently by arm: find it, and begin a new test."
        )
        yield _mismatch("sample_ratio_mismatch", message, split, n=sum(assigned))
    elif late >= -math.log(_E_LEVEL):
        message = (
            f"{names} have {_listed(labelled)} units with an outcome of {_listed(assigned)}: outcomes come in "
            "one arm more than in another, so that those known are not alike."
        )
        yield _mismatch("labels_differ", message, late, n=sum(labelled))
    crossed, whole = len(evidence.crossed()), sum(assigned)
    yield from _excess_share(
        "unit_contamination",
        f"{crossed} of {whole} units were answered by more than one arm. Assign by the entity (rankings: by the "
        "group), and name it in each request.",
        odd=crossed,
        whole=whole,
    )


def _mismatch(code: str, message: str, log_e_value: float, *, n: int) -> Reason:
    p_value = min(1.0, math.exp(-log_e_value))
    return Reason(code=code, message=message, observed=p_value, limit=_E_LEVEL, n=n)


def _check_shadows(evidence: Evidence, test: LiveTest) -> Iterator[Reason]:
    for arm in test.challengers:
        counts = evidence.arm(arm.name).counts
        whole, missed = counts["due"], counts["unpaired"]
        yield from _excess_share(
            "shadow_coverage_low",
            f"Shadow '{arm.name}' has no answer to {missed} of {whole} rows; it should score {arm.share:.0%}. Those it "
            "has are not a fair sample.",
            odd=missed,
            whole=whole,
            most=max(1 - arm.share, _MAX_SHARE),
        )


def _check_answers(evidence: Evidence, test: LiveTest) -> Iterator[Reason]:
    for name, arm in evidence.arms.items():
        undefined, labelled = arm.counts["undefined"], arm.counts["labelled"]
        yield from _excess_share(
            "undefined_metric_rate",
            f"'{test.metric}' is undefined on {undefined} of {labelled} labelled rows of '{name}' (no score, no value, "
            "an unknown class). Fix the model or the data, and begin a new test.",
            odd=undefined,
            whole=labelled,
        )


def _excess_share(
    code: str, message: str, *, odd: int, whole: int, most: float = _MAX_SHARE
) -> Iterator[Reason]:
    """Yield the reason where more than a share is wrong: proven, at any time, or only as far as observed."""
    if odd <= most * whole:
        return
    if float(log_split_e_value([whole - odd, odd], [1 - most, most])) < -math.log(_E_LEVEL):
        code = DATA_QUALITY_SUSPECTED
        message = f"{message} So few may be chance: no winner is named, and the test goes on."
    yield Reason(code=code, message=message, observed=odd / whole, limit=most, n=whole)


def _check_maturity(evidence: Evidence, test: LiveTest) -> Iterator[Reason]:
    """Yield a reason where those outcomes that came first may not be like those to come."""
    rows, labelled = (sum(arm.counts[name] for arm in evidence.arms.values()) for name in ("due", "labelled"))
    if test.follow_up is None and labelled < _MATURE * rows:
        message = (
            f"{labelled} of {rows} rows have an outcome ({labelled / rows:.0%}), and which come first may not be "
            f"chance. A verdict waits for {_MATURE:.0%}; with live.label_delay set, each row counts that long after it."
        )
        yield Reason(code="immature", message=message, observed=labelled / rows, limit=_MATURE, n=rows)


def _listed(numbers: list[float] | list[int]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


# How complete labels are: which share of the predictions of a cohort is labelled after how long.


@dataclass(frozen=True, kw_only=True, eq=False)
class Maturity:
    """Labels by cohort and age; parts with the same cohorts' length and ages add up."""

    starts: FloatArray
    """Shape (d,). Where each cohort begins on the clock, ascending; cohort d holds predictions in [start,
    start + length)."""
    length: float
    """Of a cohort, in the clock's unit."""
    ages: FloatArray
    """Shape (k,). Ascending, in the clock's unit."""
    rows: FloatArray
    """Shape (d,). Predictions."""
    labelled: FloatArray
    """Shape (d, k). Of these, how many had a label at most that age after the prediction."""
    now: float
    """Position as of which labels were counted."""

    @property
    def reached(self) -> Any:
        """Which cells can be known: the whole cohort is that old; shape (d, k)."""
        return self.starts[:, None] + self.length + self.ages <= self.now

    @property
    def shares(self) -> FloatArray:
        """Labelled share of each cohort at each age, shape (d, k); NaN where the cohort is too young."""
        return np.where(self.reached, self.labelled / self.rows[:, None], np.nan)

    def curve(self) -> FloatArray:
        """Return the share labelled by each age, shape (k,), over all cohorts that are old enough for it.

        From one age to the next by the cohorts that reached it (Kaplan & Meier 1958), so that young cohorts count
        as far as they go and the curve never falls. NaN from the age on that no cohort has reached.

        Examples
        --------
        >>> days = np.array([0.0, 0.2, 0.4, 1.1])
        >>> maturity = measure_maturity(days, days + [0.5, 1.5, np.nan, 0.5], now=3.0, length=1.0, ages=[1.0, 2.0])
        >>> maturity.curve().round(3).tolist()
        [0.5, 0.75]
        """
        before = np.column_stack([np.zeros(len(self.rows)), self.labelled[:, :-1]])
        open_rows = np.where(self.reached, self.rows[:, None] - before, 0.0).sum(axis=0)
        fresh = np.where(self.reached, self.labelled - before, 0.0).sum(axis=0)
        reached = self.reached.any(axis=0) if len(self.rows) else np.zeros(len(self.ages), dtype=np.bool_)
        stays = 1 - np.divide(fresh, open_rows, out=np.zeros(len(fresh)), where=open_rows > 0)
        return np.where(np.logical_and.accumulate(reached), 1 - np.cumprod(stays), np.nan)

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
        rows, labelled = np.zeros(len(starts)), np.zeros((len(starts), len(self.ages)))
        np.add.at(rows, codes, np.append(self.rows, other.rows))
        np.add.at(labelled, codes, np.vstack([self.labelled, other.labelled]))
        return replace(self, starts=starts, rows=rows, labelled=labelled, now=min(self.now, other.now))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, one entry a cohort; null where it is too young."""
        columns = zip(self.starts, self.rows, self.shares, strict=True)
        cohorts = [{"start": start, "rows": int(rows), "shares": row} for start, rows, row in columns]
        plain = {"length": self.length, "ages": self.ages, "curve": self.curve(), "cohorts": cohorts}
        return dict(to_plain(plain))


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
    place, label_at, steps = (np.asarray(column, dtype=np.float64) for column in (positions, known_at, ages))
    if not length > 0 or steps.ndim != 1 or not steps.size or steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise InputError(
            f"Cohorts of length {length} and ages {steps.tolist()} are not allowed. "
            "Allowed: a positive length, and ages that ascend from 0 on."
        )
    if place.shape != label_at.shape:
        raise DataError(
            f"{place.size} positions and {label_at.size} label times differ in number. Give one each."
        )
    there = place <= now
    place, label_at = place[there], label_at[there]
    starts, codes = np.unique(np.floor(place / length) * length, return_inverse=True)
    rows = np.bincount(codes, minlength=len(starts)).astype(np.float64)
    cells = np.zeros((len(starts), steps.size + 1))
    labelled = label_at <= now  # False for NaN
    delays = np.searchsorted(steps, label_at[labelled] - place[labelled], side="left")
    np.add.at(cells, (codes[labelled], delays), 1.0)
    counted = np.cumsum(cells[:, :-1], axis=1)
    return Maturity(starts=starts, length=length, ages=steps, rows=rows, labelled=counted, now=now)
