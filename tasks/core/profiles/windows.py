"""Profiles of many windows of the same rows at once: each value is coded once, whatever the number of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.core.metrics.scored import IntArray
from tasks.core.profiles.column_profile import ColumnProfile
from tasks.core.profiles.profile import Profile

if TYPE_CHECKING:
    import pandas as pd

    from tasks.core.profiles.grid import ColumnGrid, Grid

_SPECIAL = 3  # codes -3, -2, -1: -inf, +inf, null


def count_windows(frame: pd.DataFrame, grid: Grid, *, window: IntArray, many: int) -> list[Profile]:
    """Count the rows of each window over a grid; counts and joint tables alone, without moments and extremes.

    Parameters
    ----------
    frame : DataFrame, shape (n, p)
        Must hold the grid's columns.
    grid : Grid
        What to count over.
    window : array of int, shape (n,)
        Window of each row, 0 … many - 1; -1: none.
    many : int
        Number of windows.

    See Also
    --------
    tasks.core.profiles.profile.measure_profile : the whole profile, of one window.
    """
    inside = np.flatnonzero(window >= 0)
    of = window[inside]
    frame = frame.iloc[inside]
    outcome = None if grid.outcome is None else grid.columns[grid.outcome]
    groups = None if outcome is None else outcome.coarse[outcome.codes(frame[grid.outcome])]
    columns = {
        name: _columns(frame[name], one, of, many, outcome, groups) for name, one in grid.columns.items()
    }
    return [
        Profile(grid=grid, columns={name: column[place] for name, column in columns.items()})
        for place in range(many)
    ]


def _columns(
    column: pd.Series,
    grid: ColumnGrid,
    of: IntArray,
    many: int,
    outcome: ColumnGrid | None,
    groups: IntArray | None,
) -> list[ColumnProfile]:
    codes = grid.codes(column)
    counts = _table(of, codes + _SPECIAL, many, grid.bins + _SPECIAL)
    if outcome is None or groups is None:
        joint = np.zeros((many, 0, 0), dtype=np.int64)
    else:
        up, across = len(grid.cuts) + 1, len(outcome.cuts) + 1
        joint = _table(of, grid.coarse[codes] * across + groups, many, up * across).reshape(many, up, across)
    return [_profile(own, table) for own, table in zip(counts, joint, strict=True)]


def _profile(counts: IntArray, joint: IntArray) -> ColumnProfile:
    minus, plus, nulls = (int(count) for count in counts[:_SPECIAL])
    return ColumnProfile(
        n=int(counts.sum()),
        nulls=nulls,
        plus_inf=plus,
        minus_inf=minus,
        counts=tuple(counts[_SPECIAL:].tolist()),
        joint=tuple(tuple(row) for row in joint.tolist()),
    )


def _table(of: IntArray, codes: IntArray, many: int, width: int) -> IntArray:
    return np.bincount(of * width + codes, minlength=many * width).reshape(many, width)
