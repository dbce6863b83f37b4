"""Survey rows that nobody has described yet: clock, problem, columns and leaks, then a proposal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.core.data.inspect_columns import inspect_columns
from tasks.core.data.rows import Rows
from tasks.core.errors import DataError, unknown_name
from tasks.core.leaks import Suspect, find_leaks, gather_material
from tasks.core.propose.candidates import guess_problem
from tasks.core.propose.clock import FoundClock, certain_clock, read_clock, read_times
from tasks.core.propose.proposal import Material

LOOK_ROWS = 20_000
"""Rows that columns and leaks are judged on."""
HISTORY_ROWS = 60_000
"""Rows over all of history that freshness is measured on."""
STRETCHES = 20
"""Contiguous stretches of history the rows are taken from, so that neighbours stay neighbours."""


def check_roles(columns: list[str], *, origin: str, **roles: str | None) -> None:
    """Check that the columns a person named are there, each in one role.

    Raises
    ------
    UnknownName
        For a column that is not there, with the likeliest one.
    DataError
        When one column has two roles.
    """
    given = {role: name for role, name in roles.items() if name is not None}
    for role, name in given.items():
        if name not in columns:
            raise unknown_name("column", name, columns, where=f"--{role} for {origin}")
    for role, name in given.items():
        other = next((r for r, n in given.items() if n == name and r != role), None)
        if other:
            raise DataError(f"Column '{name}' is named as --{role} and as --{other}. Name two columns.")


def survey(
    frame: pd.DataFrame, *, target: str, time: str | None, group: str | None, rng: np.random.Generator
) -> tuple[Material, str]:
    """Look at all rows and return what a proposal is made of, and why the problem is of its kind.

    Parameters
    ----------
    frame : pandas.DataFrame
        All rows as the source holds them.
    target, time, group : str or None
        Columns by role; without ``time`` a clock is taken where there can be no doubt.
    rng : numpy.random.Generator
        Draws rows where there is no clock.

    Raises
    ------
    DataError
        When the target cannot be learned from, or the named clock does not read as one.
    """
    problem, why = guess_problem(frame[target], group=group)
    clock = read_clock(frame[time]) if time else certain_clock(read_times(frame, skip=(target, group or "")))
    labelled = _labelled(frame, target, group)
    order = labelled if clock is None else labelled[np.argsort(clock.positions[labelled], kind="stable")]
    chosen = order[choose_rows(len(order), timed=clock is not None, rng=rng)]
    sample = frame.iloc[chosen].reset_index(drop=True)
    sampled = None if clock is None else _at(clock, chosen)
    times = read_times(sample, skip=(target, group or ""))
    if sampled is not None:
        times |= {sampled.column: sampled}
    facts = inspect_columns(
        sample, positions=sampled.positions if sampled else None, times=times, whole=frame
    )
    found = gather_material(
        sample,
        facts,
        problem=problem,
        target=target,
        group=group,
        time=sampled.column if sampled else None,
        times={name: found.positions for name, found in times.items()},
        rng=rng,
    )
    suspects: tuple[Suspect, ...] = find_leaks(found)
    material = Material(
        sample=sample,
        facts=facts,
        suspects=suspects,
        problem=problem,
        target=target,
        group=group,
        clock=sampled,
        positions=None if clock is None else clock.positions[order],
        groups=pd.factorize(frame[group].iloc[order])[0] if group else None,
        rows=len(order),
        times=times,
        history=None if clock is None else _history(frame, clock, order, group=group),
    )
    return material, why


def choose_rows(n: int, *, timed: bool, rng: np.random.Generator) -> np.ndarray:
    """Return ascending places of the rows to look at: all, else stretches of time, else drawn ones.

    >>> len(choose_rows(50, timed=False, rng=np.random.default_rng(0)))
    50
    """
    if n <= LOOK_ROWS:
        return np.arange(n)
    if not timed:
        return np.sort(rng.choice(n, size=LOOK_ROWS, replace=False))
    size = LOOK_ROWS // STRETCHES
    starts = np.linspace(0, n - size, STRETCHES).astype(np.int64)
    return (starts[:, None] + np.arange(size)).ravel()


def thin_history(n: int, *, groups: np.ndarray | None = None) -> np.ndarray:
    """Return ascending places of at most 60,000 rows, evenly over n; groups stay whole.

    >>> len(thin_history(100)), len(thin_history(150_000)), len(thin_history(4, groups=np.array([0, 0, 1, 1])))
    (100, 50000, 4)
    """
    step = max(1, -(-n // HISTORY_ROWS))
    return np.flatnonzero((np.arange(n) if groups is None else groups) % step == 0)


def _history(frame: pd.DataFrame, clock: FoundClock, order: np.ndarray, *, group: str | None) -> Rows:
    groups = pd.factorize(frame[group].iloc[order])[0] if group else None
    chosen = order[thin_history(len(order), groups=groups)]
    return Rows(frame.iloc[chosen].reset_index(drop=True), clock.positions[chosen])


def _labelled(frame: pd.DataFrame, target: str, group: str | None) -> np.ndarray:
    known = frame[target].notna()
    return np.flatnonzero(known & frame[group].notna() if group else known)


def _at(clock: FoundClock, rows: np.ndarray) -> FoundClock:
    return FoundClock(
        column=clock.column, clock=clock.clock, time_format=clock.time_format, positions=clock.positions[rows]
    )
