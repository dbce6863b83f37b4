"""Folds of a cross-validation inside the training rows: forward in time where there is a clock, else random."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import Array, FloatArray, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.data.timeline import outcomes_known_at, purge_after
from evergreen.tasks.core.errors import NotLearnable


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """Row numbers to learn from and to judge on; disjoint.

    Attributes
    ----------
    train, test : array of int, shapes (a,) and (b,)
        Positions in the training rows, ascending.
    """

    train: IntArray
    test: IntArray


def make_folds(
    rows: Rows,
    y: Array,
    *,
    schema: Schema,
    config: ModelConfig,
    count: int | None = None,
    repeats: int | None = None,
) -> tuple[Fold, ...]:
    """Divide training rows into folds.

    With a clock the rows are cut into ``count + 1`` consecutive parts of about equal size; fold i learns from the
    parts before part i (without those whose outcome was not yet known, or whose target overlaps: ``split.purge``
    and ``data.label_delay``) and is judged on part i. Moments are never cut, groups never divided.
    Without a clock rows (or whole groups, or entities) are dealt at random, ``repeats`` times; classes are
    spread evenly.

    Parameters
    ----------
    rows : Rows
        Training rows, shape (n, …).
    y : array, shape (n,)
        Their outcome.
    count, repeats : int, optional
        Instead of ``training.folds`` and ``training.repeats``.

    Raises
    ------
    NotLearnable
        ``too_few_folds`` when fewer than two folds hold two classes on both sides.
    """
    count = count or config.training.folds
    units = _units(rows.frame, schema)
    if rows.positions is not None and config.timed:
        ready = outcomes_known_at(rows, config=config) + purge_after(rows, config=config)
        folds = forward_folds(rows.positions, count=count, units=units, known_at=ready)
    else:
        strata = y if config.problem in ("binary", "multiclass") and units is None else None
        rng = np.random.default_rng(config.split.seed)
        repeats = repeats or config.training.repeats
        folds = [
            fold
            for _ in range(repeats)
            for fold in random_folds(len(y), count=count, rng=rng, units=units, strata=strata)
        ]
    usable = tuple(fold for fold in folds if _usable(fold, y, config))
    if len(usable) < 2:
        raise NotLearnable(
            "too_few_folds",
            f"Cross-validation needs two folds with {_wanted(config)} on both sides; {len(y)} training rows give "
            f"{len(usable)}. Bring more rows, or fewer training.folds.",
            observed=float(len(usable)),
            limit=2.0,
            n=len(y),
        )
    return usable


def forward_folds(
    positions: FloatArray, *, count: int, units: IntArray | None = None, known_at: FloatArray | None = None
) -> list[Fold]:
    """Return folds that learn from the past and are judged on what follows.

    Parameters
    ----------
    positions : array, shape (n,)
        The clock of each row.
    units : array of int, shape (n,), optional
        Codes of groups that stay together (at the moment of their first row).
    known_at : array, shape (n,), optional
        When each outcome became known, and its purge was over; later than the first row judged on: not
        learned from.

    Examples
    --------
    >>> folds = forward_folds(np.arange(6.0), count=2)
    >>> [(fold.train.tolist(), fold.test.tolist()) for fold in folds]
    [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    """
    moments = positions if units is None else _first_of_unit(positions, units)
    last = positions if units is None else -_first_of_unit(-positions, units)
    ordered = np.sort(moments)
    at = [ordered[len(ordered) * part // (count + 1)] for part in range(1, count + 1)]
    starts = [*np.unique(at), np.inf]
    available = last if known_at is None else np.maximum(last, known_at)
    return [
        Fold(
            train=np.flatnonzero((moments < start) & (last <= start) & (available <= start)),
            test=np.flatnonzero((moments >= start) & (moments < end)),
        )
        for start, end in pairwise(starts)
    ]


def random_folds(
    n: int,
    *,
    count: int,
    rng: np.random.Generator,
    units: IntArray | None = None,
    strata: Array | None = None,
) -> list[Fold]:
    """Return folds of rows dealt at random; units stay together, strata are spread evenly.

    Parameters
    ----------
    n : int
        Number of rows.
    units : array of int, shape (n,), optional
        Codes of groups or entities.
    strata : array, shape (n,), optional
        Classes; not looked at when there are units.
    """
    owner = np.arange(n) if units is None else np.unique(units, return_inverse=True)[1]
    order = rng.permutation(int(owner.max()) + 1)
    if strata is not None and units is None:
        order = order[np.argsort(np.unique(strata, return_inverse=True)[1][order], kind="stable")]
    part_of = np.empty(len(order), dtype=np.int64)
    part_of[order] = np.arange(len(order)) % count
    part = part_of[owner]
    return [Fold(train=np.flatnonzero(part != k), test=np.flatnonzero(part == k)) for k in range(count)]


def _units(frame: pd.DataFrame, schema: Schema) -> IntArray | None:
    """Return codes of what must not be divided: the ranking group, else the entity; None without either."""
    name = schema.group or schema.entity
    return None if name is None else np.asarray(pd.factorize(frame[name])[0], dtype=np.int64)


def _first_of_unit(positions: FloatArray, units: IntArray) -> FloatArray:
    first = np.full(int(units.max()) + 1, np.inf)
    np.minimum.at(first, units, positions)
    return first[units]


def _usable(fold: Fold, y: Array, config: ModelConfig) -> bool:
    """Tell whether both sides can be learned from and judged on."""
    sides = (y[fold.train], y[fold.test])
    if config.problem in ("binary", "multiclass"):
        return all(len(np.unique(side)) >= 2 for side in sides)
    return all(len(side) >= 2 for side in sides)


def _wanted(config: ModelConfig) -> str:
    return "two classes" if config.problem in ("binary", "multiclass") else "two rows"
