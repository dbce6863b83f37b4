"""Turn observations into evidence: which of them count, and by whom they are summed."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tasks.core.ab.definition import ARMS, BLOCK, ROW, LiveTest
from tasks.core.ab.evidence import Evidence, Side
from tasks.core.ab.metric import clip_values
from tasks.core.ab.observations import ObjectArray, Observations
from tasks.core.ab.units import UnitTable
from tasks.core.metrics.scored import BoolArray, FloatArray
from tasks.core.stats.joint_moments import JointMoments


def due(test: LiveTest, positions: FloatArray, *, now: float) -> BoolArray:
    """Tell which predictions are of the test and old enough to count, whether they have an outcome or not.

    From the start to its longest end, and at least so old (``LiveTest.lag``): the same rule in every arm. Of a block
    nothing before it is over.
    """
    return np.asarray((positions >= test.start) & (positions <= test.counted_until(now)), dtype=np.bool_)


def units_of(test: LiveTest, observed: Observations) -> ObjectArray:
    """Return what each observation is summed by; None where it stands for itself."""
    if test.unit == BLOCK:
        numbers = np.floor((observed.positions - test.start) / (test.block or 1.0)).astype(np.int64)
        return np.array([f"{number:012d}" for number in numbers.tolist()], dtype=object)
    return np.full(len(observed), None, dtype=object) if test.unit == ROW else observed.units


def known_in_time(test: LiveTest, observed: Observations, *, now: float) -> BoolArray:
    """Tell which outcomes count: known by now, and within the follow-up of their prediction where there is one."""
    with np.errstate(invalid="ignore"):
        known = observed.known_at <= now
        if test.follow_up is not None:
            known &= observed.known_at - observed.positions <= test.follow_up
    return np.asarray(known, dtype=np.bool_)


def gather(
    observed: Observations, test: LiveTest, *, now: float, clip: tuple[float, float] | None = None
) -> Evidence:
    """Return the evidence of a batch of observations.

    Parameters
    ----------
    observed : Observations
        Of one metric. Each prediction must be handed in once: batches are cut by position, and with a follow-up
        what has been due stays as it is, so that only rows that became due since the last look need be read.
        Without a follow-up outcomes trickle in, and all rows must be read at each look.
    now : float
        Position on the clock; what became known later does not count.
    clip : (float, float), optional
        Bounds of the metric's values.

    Returns
    -------
    Evidence
        By arm, or by challenger where the test is paired. Variants that are not in the test are left out.
    """
    batch = observed.take(due(test, observed.positions, now=now))
    if test.mode == ARMS:
        named = {arm.name: batch.take(batch.variants == arm.name) for arm in test.arms}
        return Evidence(sides={name: _arm(rows, test, now=now, clip=clip) for name, rows in named.items()})
    control = batch.take(batch.variants == test.control.name)
    sides = {
        arm.name: _pairs(control, batch.take(batch.variants == arm.name), test, now=now, clip=clip)
        for arm in test.challengers
    }
    return Evidence(sides=sides)


def _arm(rows: Observations, test: LiveTest, *, now: float, clip: tuple[float, float] | None) -> Side:
    labelled = known_in_time(test, rows, now=now)
    values = clip_values(rows.values, clip)
    counts = labelled & np.isfinite(values)
    columns = np.column_stack([np.ones(len(rows)), values])
    tally = {
        "due": len(rows), "labelled": labelled.sum(), "counted": counts.sum(),
        "undefined": (labelled & ~counts).sum(), "clipped": (counts & (values != rows.values)).sum(),
    }  # fmt: skip
    return _side(units_of(test, rows), columns, counts, tally)


def _pairs(
    control: Observations,
    shadow: Observations,
    test: LiveTest,
    *,
    now: float,
    clip: tuple[float, float] | None,
) -> Side:
    """Put the two answers to each of the control's rows side by side; of a group only where both had all its rows."""
    places = {key: place for place, key in enumerate(shadow.keys.tolist())}
    match = np.array([places.get(key, -1) for key in control.keys.tolist()], dtype=np.int64)
    paired = match >= 0
    paired[paired] = shadow.rows[match[paired]] == control.rows[paired]
    labelled = known_in_time(test, control, now=now)
    theirs = np.full(len(control), np.nan)
    theirs[paired] = shadow.values[match[paired]]
    raw = np.column_stack([control.values, theirs])
    values = clip_values(raw, clip)
    counts = labelled & paired & np.isfinite(values).all(axis=1)
    columns = np.column_stack([np.ones(len(control)), values])
    tally = {
        "due": len(control), "unpaired": (~paired).sum(), "labelled": labelled.sum(), "counted": counts.sum(),
        "undefined": (labelled & paired & ~counts).sum(),
        "clipped": (counts & (values != raw).any(axis=1)).sum(),
    }  # fmt: skip
    apart = values[counts, 1] - values[counts, 0]
    units = units_of(test, control)
    return _side(units, columns, counts, tally, lost=int((apart < 0).sum()), won=int((apart > 0).sum()))


def _side(
    units: ObjectArray,
    columns: FloatArray,
    counts: BoolArray,
    tally: dict[str, int],
    *,
    lost: int = 0,
    won: int = 0,
) -> Side:
    """Sum rows by unit; a row without one stands for itself. What does not count is 0 in the table."""
    grouped = np.array([unit is not None for unit in units.tolist()], dtype=np.bool_)
    single = columns[counts & ~grouped]
    table = UnitTable.of(units[grouped], np.where(counts[:, None], columns, 0.0)[grouped])
    singles = JointMoments.of(single) if len(single) else JointMoments.empty(columns.shape[1])
    alone = {"single_due": (~grouped).sum()}
    plain = Counter({name: int(count) for name, count in (tally | alone).items() if count})
    return Side(singles=singles, table=table, lost=lost, won=won, counts=plain)
