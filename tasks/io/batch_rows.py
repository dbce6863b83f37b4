"""The rows of a batch, part by part: so many at once are in memory, whatever the source hands out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from tasks.core.data.clock import Clock, Window
from tasks.core.data.columns import require_distinct
from tasks.core.data.normalise import normalise
from tasks.core.data.rows import Rows
from tasks.core.errors import DataError, did_you_mean
from tasks.io.sources import Source


def read_parts(
    source: Source, *, columns: Sequence[str], rows: int, window: Window, at: float | None = None
) -> Iterator[Rows]:
    """Yield the rows of a slice of the clock in parts of exactly ``rows`` (the last may be smaller).

    Parameters
    ----------
    source : Source
        Its loader streams; columns the configuration names and nobody asks for here (such as the target) may be
        missing.
    columns : sequence of str
        Columns to read; the clock's is added.
    rows : int
        Rows of a part.
    window : Window
        Slice of the clock.
    at : float | None
        Position of every row where there is no clock.

    Raises
    ------
    DataError
        When a column is missing or a row has no place on the clock.
    """
    clock = source.clock
    wanted = _checked(source, columns, clock)
    held: list[Rows] = []
    count = offset = 0
    for loaded in source.loader.stream(wanted):
        frame = normalise(loaded, numeric=source.config.data.numeric or ())
        frame = frame.set_axis(pd.RangeIndex(offset, offset + len(frame)))
        offset += len(frame)
        found = _inside(frame, clock, window, at)
        held.append(found)
        count += len(found)
        while count >= rows:
            part, rest = _cut(held, rows)
            yield part
            held, count = [rest], len(rest)
    if count:
        yield _cut(held, count)[0]


def _checked(source: Source, columns: Sequence[str], clock: Clock) -> list[str]:
    known = source.loader.columns()
    require_distinct(known, origin=source.origin)
    wanted = list(dict.fromkeys([*columns, *([clock.column] if clock.column else [])]))
    for name in wanted:
        if name not in known:
            raise DataError(
                f"Column '{name}' is not in {source.origin}. It has: {', '.join(known)}."
                f"{did_you_mean(name, known)} Scoring needs the version's features, the clock and what is kept."
            )
    return wanted


def _inside(frame: pd.DataFrame, clock: Clock, window: Window, at: float | None) -> Rows:
    positions = clock.positions(frame)
    if positions is None:
        return Rows(frame, np.full(len(frame), 0.0 if at is None else at))
    mask = window.mask(positions)
    return Rows(frame, positions) if mask.all() else Rows(frame[mask], positions[mask])


def _cut(held: list[Rows], rows: int) -> tuple[Rows, Rows]:
    """Return the first ``rows`` of what is held, and the rest."""
    filled = [one for one in held if len(one)] or held[:1]
    frame = pd.concat([one.frame for one in filled]) if len(filled) > 1 else filled[0].frame
    positions = np.concatenate([np.asarray(one.positions) for one in filled])
    return Rows(frame.iloc[:rows], positions[:rows]), Rows(frame.iloc[rows:], positions[rows:])
