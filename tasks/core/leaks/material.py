"""The material of the search for leaks: the target, one or more views of each column, folds, groups, the past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd

from tasks.core.data.inspect_columns import ColumnFacts
from tasks.core.data.kinds import Kind

BINS = 256
"""Most bins a numeric column is cut into."""
FOLDS = 40
"""Contiguous blocks of a timed set; every other one learns, the rest judge."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A column that gives the target away, or looks as if it did.

    Attributes
    ----------
    column : str
        The column.
    kind : str
        `copy`, `order`, `sum`, `bucket`, `filled` or `companion`.
    why : str
        One sentence with the numbers that decided.
    share : float
        Share of the target's information that is given away, 0 to 1.
    certain : bool
        True: leave the column out; False: worth a look, still used.
    others : tuple[str, ...]
        Columns that give the target away only together with this one.
    """

    column: str
    kind: str
    why: str
    share: float
    certain: bool = True
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at columns: numbers (nan where null) or codes of categories (−1 where null).

    ``text`` names the view in sentences; ``columns`` are accused together when it gives the target away; a
    ``moment`` is a bare timestamp, which no sum is made of (differences of timestamps are views of their own).
    """

    columns: tuple[str, ...]
    values: np.ndarray
    categorical: bool = False
    text: str = ""
    moment: bool = False

    @property
    def filled(self) -> np.ndarray:
        """Mask of shape (n,): where the view has a value."""
        return self.values >= 0 if self.categorical else np.isfinite(self.values)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the search looks at; rows in clock order where there is a clock.

    Attributes
    ----------
    problem : str
        `binary`, `multiclass`, `regression` or `ranking`.
    y : ndarray of shape (n,)
        Class codes (classification) or values.
    views : tuple[View, ...]
        Views of the columns that may be leaks.
    fold : ndarray of shape (n,)
        0 or 1; each half is judged by what the other teaches.
    group : ndarray of shape (n,) or None
        Codes of the group a ranking orders within.
    entities : tuple of View
        Columns that may name what a row is about (for 'the last value of the same thing').
    timed : bool
        Whether the order of rows means time.
    """

    problem: str
    y: np.ndarray
    views: tuple[View, ...]
    fold: np.ndarray
    group: np.ndarray | None = None
    entities: tuple[View, ...] = field(default=())
    timed: bool = False


def gather_material(
    frame: pd.DataFrame,
    facts: Mapping[str, ColumnFacts],
    *,
    problem: str,
    target: str,
    group: str | None = None,
    time: str | None = None,
    times: Mapping[str, np.ndarray] | None = None,
    rng: np.random.Generator,
) -> Material:
    """Turn a frame (in clock order where ``time`` is given, target not null) into the search's material.

    Parameters
    ----------
    times : mapping of str to ndarray of shape (n,), optional
        Seconds of every column that holds timestamps (nan where null).
    rng : numpy.random.Generator
        Draws the halves where there is no clock.
    """
    times = times or {}
    used = [n for n, f in facts.items() if n not in (target, time, group) and f.distinct > 0]
    views = [
        _view(frame[n], facts[n]) for n in used if not facts[n].useless and facts[n].kind is not Kind.DATETIME
    ]
    views += _elapsed(times, time, [n for n in times if n == time or n in used])
    codes = pd.factorize(frame[group])[0] if group else None
    return Material(
        problem=problem,
        y=encode_target(frame[target], problem),
        views=tuple(views),
        fold=_halves(len(frame), codes, timed=time is not None, rng=rng),
        group=codes,
        entities=tuple(_entities(frame, facts, used, time)) if time else (),
        timed=time is not None,
    )


def encode_target(column: pd.Series, problem: str) -> np.ndarray:
    """Return class codes in the order of the sorted labels, or the values as float64; shape (n,)."""
    if problem in ("binary", "multiclass"):
        return np.asarray(pd.factorize(column, sort=True)[0], dtype=float)
    return column.to_numpy(dtype=float, na_value=np.nan)


def _view(column: pd.Series, facts: ColumnFacts) -> View:
    if facts.kind is Kind.NUMERIC:
        values = column.to_numpy(dtype=float, na_value=np.nan)
        return View(columns=(facts.name,), values=values, text=facts.name)
    codes = np.asarray(pd.factorize(column)[0], dtype=float)
    return View(columns=(facts.name,), values=codes, categorical=True, text=facts.name)


def _elapsed(times: Mapping[str, np.ndarray], clock: str | None, names: list[str]) -> list[View]:
    """Return the differences between timestamps: what passed between two events may be the target."""
    views = [
        View(columns=tuple(n for n in (a, b) if n != clock), values=times[b] - times[a], text=f"{b} - {a}")
        for a, b in combinations(names[:6], 2)
    ]
    alone = [View(columns=(n,), values=times[n], text=n, moment=True) for n in names if n != clock]
    return views + alone


def _halves(n: int, group: np.ndarray | None, *, timed: bool, rng: np.random.Generator) -> np.ndarray:
    """Return 0 or 1 per row: alternating stretches of time, else drawn; a group stays whole."""
    if timed:
        half = (np.arange(n) * FOLDS // max(n, 1)) % 2
        return half if group is None else half[np.unique(group, return_index=True)[1]][group]
    if group is not None:
        return rng.permutation(np.arange(group.max() + 1) % 2)[group]
    return rng.permutation(np.arange(n) % 2)


def _entities(
    frame: pd.DataFrame, facts: Mapping[str, ColumnFacts], names: list[str], time: str
) -> list[View]:
    """Return columns whose values come back, those with most values first.

    Where several rows share a moment, an entity stands once in each: then only such columns qualify.
    """
    n = len(frame)
    fit = [
        c
        for c in names
        if facts[c].kind in (Kind.CATEGORICAL, Kind.NUMERIC)
        and 2 <= facts[c].distinct <= n / 3
        and (facts[c].kind is Kind.CATEGORICAL or pd.api.types.is_integer_dtype(frame[c].dtype))
    ]
    if frame[time].nunique() < 0.5 * n:
        fit = [c for c in fit if frame.duplicated([time, c]).mean() < 0.01]
    fit.sort(key=lambda c: -facts[c].distinct)
    codes = [pd.factorize(frame[c])[0].astype(float) for c in fit[:8]]
    return [View(columns=(c,), values=v, categorical=True, text=c) for c, v in zip(fit, codes, strict=False)]
