"""Signals of a profile: where its columns lie over the reference's bins, as sums that are linear in the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.drift.types import DriftKind, SignalKey, Signals
from evergreen.tasks.core.profiles.grid import ColumnGrid
from evergreen.tasks.core.profiles.profile import ColumnProfile, Profile

_NAMED_CATEGORIES = 8
"""Categories that are followed one by one, the most frequent first; the others together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSignals:
    """How one column's counts become signals: each is the mean of a number that every row gets by its bin.

    Attributes
    ----------
    column : str
        Its name.
    names : tuple of str, length s
        Signals over the rows in a bin; ``missing`` comes on top.
    weights : array, shape (bins, s)
        The number of a row in each bin.
    offsets : array, shape (s,)
        Taken off the mean: 0.5 of ``location``, the reference's own of ``spread``, else 0.
    variances : array, shape (s,)
        Of one row's number among the reference's rows; never 0 (half a row more is thought of).
    missing_variance : float
        The same of ``missing``.
    """

    column: str
    names: tuple[str, ...]
    weights: FloatArray
    offsets: FloatArray
    variances: FloatArray
    missing_variance: float

    def measure(self, profile: ColumnProfile) -> tuple[FloatArray, FloatArray]:
        """Return values and standard errors, shape (s + 1,); NaN where no row is in a bin, or there is no row."""
        n, present = profile.n, profile.finite
        counts = np.asarray(profile.counts, dtype=np.float64)
        values = np.full(len(self.names) + 1, np.nan)
        errors = np.full(len(self.names) + 1, np.nan)
        if present:
            values[:-1] = counts @ self.weights / present - self.offsets
            errors[:-1] = np.sqrt(self.variances / present)
        if n:
            values[-1], errors[-1] = (n - present) / n, (self.missing_variance / n) ** 0.5
        return values, errors


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileSignals:
    """The signals of a model's profiles, prepared once from the reference and used for every window.

    Attributes
    ----------
    keys : tuple of SignalKey, length k
        Column by column.
    columns : tuple of ColumnSignals
        How each column is read.
    floor : float
        Smallest move that counts.
    """

    keys: tuple[SignalKey, ...]
    columns: tuple[ColumnSignals, ...]
    floor: float

    def measure(self, window: Profile) -> Signals:
        """Return the signals of a window; a column that its profile lacks is NaN."""
        found = [self._column(one, window) for one in self.columns]
        values = np.concatenate([np.zeros(0), *(values for values, _ in found)])
        errors = np.concatenate([np.zeros(0), *(errors for _, errors in found)])
        return Signals(keys=self.keys, values=values, errors=errors, floors=np.full(len(values), self.floor))

    def _column(self, one: ColumnSignals, window: Profile) -> tuple[FloatArray, FloatArray]:
        if one.column in window.columns:
            return one.measure(window.columns[one.column])
        unknown = np.full(len(one.names) + 1, np.nan)
        return unknown, unknown


def prepare_signals(
    reference: Profile, *, kind: DriftKind, columns: Sequence[str] | None = None, min_effect: float
) -> ProfileSignals:
    """Prepare the signals of the windows that will be profiled over the reference's grid.

    Numeric columns: ``location`` (mean mid-rank under the reference, less 0.5; a shift by d standard deviations of
    a normal column is about 0.28 d), ``spread`` (mean distance of the rank from 0.5, less the reference's),
    ``share:1`` … (the coarse groups of the grid). Categories: ``share:<category>`` of the eight most frequent,
    ``share:other``, ``unseen``; private ones by number. All of the rows that have a value; ``missing`` is the share
    of those that have none (or ±inf).

    Parameters
    ----------
    reference : Profile
        The model's reference.
    kind : DriftKind
        Kind of drift the signals belong to.
    columns : sequence of str, optional
        Columns to follow; default: all of the reference but those that begin with ``@``.
    min_effect : float
        Smallest move that counts, a share of rows or of rank.
    """
    chosen = [name for name in reference.columns if name[:1] != "@"] if columns is None else list(columns)
    prepared = tuple(_prepare(name, reference) for name in chosen)
    keys = tuple(SignalKey(kind, one.column, name) for one in prepared for name in (*one.names, "missing"))
    return ProfileSignals(keys=keys, columns=prepared, floor=min_effect)


def _prepare(name: str, reference: Profile) -> ColumnSignals:
    grid, profile = reference.grid.columns[name], reference.columns[name]
    counts = np.asarray(profile.counts, dtype=np.float64)
    names, weights, centred = _numeric(grid, counts) if grid.kind == "numeric" else _categorical(grid)
    if not profile.finite:
        names, weights, centred = (), np.zeros((len(counts), 0)), np.zeros(0)
    mass = counts / max(profile.finite, 1)
    means = mass @ weights
    variances = mass @ np.square(weights - means)
    least = _half_a_row(profile.finite)
    missing = (profile.n - profile.finite + 0.5) / (profile.n + 1)
    return ColumnSignals(
        column=name,
        names=names,
        weights=weights,
        offsets=np.where(centred > 0, centred, np.where(centred < 0, means, 0.0)),
        variances=np.maximum(variances, least * np.ptp(weights, axis=0) ** 2 if names else variances),
        missing_variance=missing * (1 - missing),
    )


def _numeric(grid: ColumnGrid, counts: FloatArray) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
    """Return names, each bin's numbers, and what they are centred at (negative: the reference's own mean)."""
    ranks = (np.cumsum(counts) - counts / 2) / max(counts.sum(), 1.0)
    groups = np.searchsorted(np.asarray(grid.cuts), np.arange(len(counts)), side="right") - 1
    shares = _indicators(groups, len(grid.cuts))
    names = tuple(f"share:{group + 1}" for group in range(len(grid.cuts)))
    weights = np.column_stack([ranks, np.abs(ranks - 0.5), shares])
    return ("location", "spread", *names), weights, np.r_[0.5, -1.0, np.zeros(len(names))]


def _categorical(grid: ColumnGrid) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
    """Return the same for categories: the frequent, *other* (which may be none), *unseen*."""
    own = len(grid.categories)
    named = min(own, _NAMED_CATEGORIES)
    groups = np.minimum(np.arange(own + 2), named)
    groups[-1] = named + 1
    shown = [str(place + 1) if grid.hashed else grid.categories[place] for place in range(named)]
    names = (*(f"share:{one}" for one in shown), "share:other", "unseen")
    weights = _indicators(groups, named + 2)
    if own <= _NAMED_CATEGORIES and not grid.pooled:
        return (*names[:-2], "unseen"), np.delete(weights, named, axis=1), np.zeros(named + 1)
    return names, weights, np.zeros(named + 2)


def _indicators(groups: np.ndarray, many: int) -> FloatArray:
    return (groups[:, None] == np.arange(many)).astype(np.float64)


def _half_a_row(n: int) -> float:
    """Return the variance of a yes or no that half a row of n has said yes to."""
    share = 0.5 / (n + 1)
    return share * (1 - share)
