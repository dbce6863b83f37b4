"""Blocks of rows that belong together: a day, a run of rows, an entity."""

from __future__ import annotations

from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.errors import ConfigError, NotLearnable
from evergreen.tasks.core.stats.dependence import MIN_BLOCKS

DAY = 86_400.0
HOUR = 3_600.0
_ROW_BLOCKS = 30  # a clock of rows has no day: this many runs of equal length
_LEAST_ROWS = 10  # … of at least so many rows


def make_blocks(
    positions: Any | None,
    *,
    unit: str = "seconds",
    length: float | None = None,
    entity: Any | None = None,
    group: Any | None = None,
    min_blocks: int = MIN_BLOCKS,
) -> IntArray:
    """Number the block of each row, 0 … g-1, in time order (entities: in order of appearance).

    Parameters
    ----------
    positions : array, shape (n,), or None
        The clock of each row in seconds or row numbers; None blocks by ``entity``.
    unit : str
        ``seconds`` or ``rows``.
    length : float, optional
        Block length in the clock's unit. By default a day, or an hour where the rows span less than
        seven days; on a clock of rows thirty runs of equal length with at least ten rows each.
        `measure_difference` joins neighbours further while they depend on each other.
    entity : array, shape (n,), optional
        Key whose rows belong together; only used without ``positions``.
    group : array, shape (n,), optional
        Ranking groups; all rows of a group go to the block of its first row.
    min_blocks : int
        Fewest blocks a comparison can stand on.

    Returns
    -------
    array of int, shape (n,)

    Raises
    ------
    NotLearnable
        ``too_few_blocks``, with the number needed; ``not_finite`` for a NaN in the clock.
    ConfigError
        When neither a clock nor an entity is given, or the unit or length is none.

    Examples
    --------
    >>> make_blocks(np.arange(8) * 86_400.0).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    if positions is None:
        codes = _by_entity(entity)
    else:
        codes = _by_clock(np.asarray(positions, dtype=np.float64), unit=unit, length=length)
    if group is not None:
        codes = _keep_groups_whole(codes, np.asarray(group))
    filled, codes = np.unique(codes, return_inverse=True)
    count = len(filled)
    if count < min_blocks:
        message = (
            f"The rows fall into {count} blocks, and at least {min_blocks} are needed to tell chance from "
            "difference. Enlarge the validation window, or set a shorter block length if rows that far apart "
            "are independent."
        )
        raise NotLearnable("too_few_blocks", message, observed=count, limit=min_blocks, n=count)
    return codes.astype(np.int64)


def _by_clock(positions: FloatArray, *, unit: str, length: float | None) -> IntArray:
    """Cut the clock into pieces of equal length from the first row on; a short last piece joins its neighbour."""
    if unit not in ("seconds", "rows"):
        raise ConfigError(f"Unknown clock unit '{unit}'. Allowed: seconds, rows.")
    if positions.size == 0:
        return np.empty(0, dtype=np.int64)
    if not np.isfinite(positions).all():
        bad = int((~np.isfinite(positions)).sum())
        message = f"{bad} rows have no time. Give each a time, or drop them."
        raise NotLearnable("not_finite", message, observed=bad)
    size = float(length) if length is not None else block_length(float(np.ptp(positions)), unit=unit)
    if not size > 0:
        raise ConfigError(f"The block length is {length}. Allowed: a positive number of {unit}.")
    start, end = positions.min(), positions.max()
    codes = np.floor((positions - start) / size).astype(np.int64)
    last = int(codes.max())
    # half a block, less the typical step, so that a half-filled block counts by its rows
    step = float(np.median(np.diff(np.unique(positions)))) if positions.size > 1 else 0.0
    if last > 0 and (end - start) - last * size < size / 2 - step:
        codes = np.minimum(codes, last - 1)
    return codes


def block_length(span: float, *, unit: str) -> float:
    """Return the usual length of a block: a day or an hour; for rows a thirtieth of the window, at least ten rows.

    Parameters
    ----------
    span : float
        From the first row to the last, in the clock's unit.
    unit : str
        ``seconds`` or ``rows``.

    >>> block_length(28 * 86_400.0, unit="seconds"), block_length(2_999.0, unit="rows")
    (86400.0, 100.0)
    """
    if unit == "seconds":
        return DAY if span >= (MIN_BLOCKS - 1.5) * DAY else HOUR
    return max(float(np.ceil((span + 1) / _ROW_BLOCKS)), float(_LEAST_ROWS))


def _by_entity(entity: Any | None) -> IntArray:
    """Number entities in order of appearance."""
    if entity is None:
        raise ConfigError(
            "Blocks need a time column or an entity key. Configure one, or declare rows independent."
        )
    _, first, inverse = np.unique(np.asarray(entity), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def _keep_groups_whole(codes: IntArray, group: Any) -> IntArray:
    """Move every row to the block of its group's earliest row."""
    _, inverse = np.unique(group, return_inverse=True)
    first = np.full(int(inverse.max()) + 1 if inverse.size else 0, np.iinfo(np.int64).max)
    np.minimum.at(first, inverse, codes)
    return first[inverse]
