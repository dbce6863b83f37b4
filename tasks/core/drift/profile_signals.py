"""Signals of a profile: where its columns lie over the bins of the reference, and their links with the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.drift.types import DriftKind, SignalKey, Signals
from evergreen.tasks.core.profiles.grid import ColumnGrid
from evergreen.tasks.core.profiles.profile import ColumnProfile, Profile
from evergreen.tasks.core.stats.association import group_scores, mutual_information, score_correlation

_NAMED_CATEGORIES = 8
"""Categories that are followed one by one, the most frequent first; the others together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSignals:
    """How one column's counts become signals: each is the mean of a number that every row gets by its bin."""

    column: str
    """Its name."""
    names: tuple[str, ...]
    """Length s: signals over the rows in a bin; ``missing`` comes on top."""
    weights: FloatArray
    """Shape (bins, s): the number of a row in each bin."""
    offsets: FloatArray
    """Shape (s,): taken off the mean: 0.5 of ``location``, the reference's own of ``spread``, else 0."""
    variances: FloatArray
    """Shape (s,): of one row's number among the reference's rows; never 0 (half a row more is thought of)."""
    missing_variance: float
    """The same of ``missing``."""

    def measure(self, profile: ColumnProfile | None) -> tuple[FloatArray, FloatArray]:
        """Return values and standard errors, shape (s + 1,); NaN without a profile, a row, or a row in a bin."""
        values, errors = np.full((2, len(self.names) + 1), np.nan)
        n, present = (profile.n, profile.finite) if profile is not None else (0, 0)
        if profile is not None and present:
            values[:-1] = np.asarray(profile.counts, dtype=np.float64) @ self.weights / present - self.offsets
            errors[:-1] = np.sqrt(self.variances / present)
        if n:
            values[-1], errors[-1] = (n - present) / n, (self.missing_variance / n) ** 0.5
        return values, errors


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileSignals:
    """The signals of a model's profiles, prepared once from the reference and used for every window."""

    keys: tuple[SignalKey, ...]
    """Length k: column by column."""
    columns: tuple[ColumnSignals, ...]
    """How each column is read."""
    floor: float
    """Smallest move that counts."""

    def measure(self, window: Profile) -> Signals:
        """Return the signals of a window; a column that its profile lacks is NaN."""
        measured = [one.measure(window.columns.get(one.column)) for one in self.columns]
        values = np.concatenate([np.zeros(0), *(values for values, _ in measured)])
        errors = np.concatenate([np.zeros(0), *(errors for _, errors in measured)])
        return Signals(keys=self.keys, values=values, errors=errors, floors=np.full(len(values), self.floor))


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
    half_a_row = 0.5 / (profile.finite + 1)
    least = half_a_row * (1 - half_a_row)  # variance of a yes or no that half a row has said yes to
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


# The link of each feature with the outcome, from joint tables of at most 10 x 10 cells. Two measures a feature:
#
# ``information``: mutual information in nats, corrected for its bias. It sees any change of how much a feature says,
# and not in which direction. A feature's missing values are a group of their own.
# ``correlation``: Fisher's z of the correlation of scores that the reference fixes. It sees a link that turns round.
# Missing values are left out.


GROUPS = 10
"""Most groups of a feature, and of the outcome, in a joint table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Links:
    """What the reference says of the links, prepared once and used for every window."""

    keys: tuple[SignalKey, ...]
    """Length 2 p: information, then correlation of the p features."""
    columns: tuple[str, ...]
    """The features."""
    rows: FloatArray
    columns_scores: FloatArray
    """``rows``, ``columns_scores`` (shapes (p, 10) and (p, 10)): fixed scores."""
    floors: FloatArray
    """Shape (2 p,): smallest change that counts."""

    def measure(self, profile: Profile | None) -> Signals:
        """Return information and correlation of a profile's features; NaN for one without labelled rows, or none."""
        values = errors = np.full(len(self.keys), np.nan)
        if profile is not None:
            values, errors = _statistics(_tables(profile, self.columns), self.rows, self.columns_scores)
        return Signals(keys=self.keys, values=values, errors=errors, floors=self.floors)


def prepare_links(reference: Profile, *, correlation_threshold: float, information_threshold: float) -> Links:
    """Prepare the links of the features of a reference with its outcome.

    Parameters
    ----------
    reference : Profile
        With joint tables with ``grid.outcome``.
    correlation_threshold : float
        Smallest change of Fisher's z that counts.
    information_threshold : float
        Smallest change of information that counts, as a share of the reference's; at least what a normal pair of
        correlation ``correlation_threshold`` would have, -ln(1 - r²) / 2.
    """
    names = tuple(name for name in reference.columns if name != reference.grid.outcome)
    tables = _tables(reference, names)
    rows, columns = _scores(reference, names, tables)
    values, _ = _statistics(tables, rows, columns)
    least = -np.log1p(-(correlation_threshold**2)) / 2
    information = information_threshold * np.abs(np.nan_to_num(values[: len(names)]))
    floors = np.concatenate([np.maximum(information, least), np.full(len(names), correlation_threshold)])
    measures = ("information", "correlation")
    keys = tuple(SignalKey(DriftKind.CONCEPT, name, measure) for measure in measures for name in names)
    return Links(keys=keys, columns=names, rows=rows, columns_scores=columns, floors=floors)


def _statistics(tables: FloatArray, rows: FloatArray, columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return information then correlation, and their errors, each shape (2 p,)."""
    both = (mutual_information(tables), score_correlation(tables, rows, columns))
    return np.concatenate([one.value for one in both]), np.concatenate([one.error for one in both])


def _tables(profile: Profile, names: tuple[str, ...]) -> FloatArray:
    """Return the joint tables of labelled rows, padded with zeros, shape (p, 10, 10); a feature's last row: missing."""
    tables = np.zeros((len(names), GROUPS, GROUPS))
    for place, name in enumerate(names):
        counted = np.asarray(profile.columns[name].joint, dtype=np.float64)
        if counted.ndim == 2:
            joint = counted[:, :-1]
            tables[place, : len(joint) - 1, : joint.shape[1]] = joint[:-1]
            tables[place, -1, : joint.shape[1]] = joint[-1]
    return tables


def _scores(reference: Profile, names: tuple[str, ...], tables: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return fixed scores of feature groups and outcome groups, each (p, 10); NaN for a feature's missing values."""
    rows, columns = np.full((len(names), GROUPS), np.nan), np.zeros((len(names), GROUPS))
    across = _is_ordered(reference, str(reference.grid.outcome))
    for place, name in enumerate(names):
        up = _is_ordered(reference, name)
        rows[place, :-1], columns[place] = group_scores(tables[place, :-1], up=up, across=across)
    return rows, columns


def _is_ordered(reference: Profile, name: str) -> bool:
    counts = np.asarray(reference.columns[name].counts)
    return reference.grid.columns[name].kind == "numeric" or int((counts > 0).sum()) <= 2
